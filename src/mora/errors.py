"""Errors a user can act on: each says what was got, what was expected, what to do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


class MoraError(ValueError):
    """Base of every error raised on bad user input."""


class ConfigError(MoraError):
    """A configuration file that cannot be followed."""


class TableError(MoraError):
    """A table whose rows or columns cannot be used."""


class MissingColumnError(TableError):
    """A column that the mapping names and the file does not have."""

    def __init__(
        self,
        source: str,
        missing: Sequence[str],
        found: Sequence[str],
        remedy: str = "Map them under `columns:` (ours: theirs).",
    ):
        """Name the missing columns beside those that exist, and what to do."""
        super().__init__(
            f"{source}: no column {', '.join(map(repr, missing))}; the columns are "
            f"{', '.join(map(repr, found))}. {remedy}"
        )
        self.source, self.missing, self.found = source, missing, found


class UnknownTokenError(MoraError):
    """Places that the token order was not built from."""

    def __init__(self, missing: Sequence[Any], *, total: int, known: int, kind: str):
        """Name up to three of the places, so that one can be looked up."""
        super().__init__(
            f"{len(missing)} of {total} places are not among the {known} known "
            f"{kind} (first: {examples(missing)}). Check the resolution or the id "
            f"format, or rebuild the tokens from these records."
        )
        self.missing = missing


class NoGeometryError(MoraError):
    """A question that needs to know where the places are."""

    def __init__(self, kind: str, question: str, remedy: str):
        """Name the kind of token and what would supply its geometry."""
        super().__init__(
            f"{kind} tokens have no known {question}; expected geometry. {remedy}"
        )


class GraphError(MoraError):
    """A mobility graph that cannot be built, read or used."""


class RunError(MoraError):
    """A run folder that does not hold what a stage needs."""


class MissingExtraError(ImportError, MoraError):
    """An optional package that the configuration asks for."""

    def __init__(self, package: str, extra: str, purpose: str):
        """Name the package, what needs it, and the extra that brings it."""
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed. "
            f'Install it with: pip install "mora[{extra}]"'
        )


class MissingFileError(FileNotFoundError, MoraError):
    """An input file that is not where the configuration says."""

    def __init__(self, path: Path | str, purpose: str):
        """Name the path and what it was wanted for."""
        super().__init__(
            f"{purpose}: no file at {path}. Check the path (in a configuration, "
            f"relative paths start at the folder that it lies in)."
        )


class PersonalDataError(PermissionError, MoraError):
    """Data of single people, where only what can be shared may go."""

    def __init__(self, path: Path | str, marker: Path | str):
        """Name the path and the marker that says what it is."""
        super().__init__(
            f"{path} holds data of single people ({marker} says so); expected vectors "
            f"of places. Pool users over regions first, and take the result."
        )


def examples(values: Sequence[Any], most: int = 3) -> str:
    """Join the first few values for a message; more than ``most`` is never shown."""
    shown = ", ".join(str(value) for value in list(values)[:most])
    return shown + (", ..." if len(values) > most else "")
