"""The tables of a run: found, identified by checksum, read and checked."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

from mora.config import AreaInput, RunConfig, TableInput
from mora.config.inputs import FILE_KEYS, OWN_WORDS
from mora.config.loading import PACKAGE_SCHEME
from mora.errors import ConfigError, MissingExtraError, MissingFileError
from mora.pipeline.display import Display
from mora.pipeline.folder import file_checksum, frame_checksum
from mora.pipeline.sourced import check_sourced, stream_sourced
from mora.tables import Problem, TableReport, check_areas, read_areas, read_batches
from mora.tables.schema import TEXT_COLUMNS
from mora.tokens import ZoneTokens

TEXT = TEXT_COLUMNS | {"zone"}
Columns = dict[str, str]
MOST_NAMED = 4  # findings of one table that are shown


def every_column(source: Path | pd.DataFrame) -> Columns:
    """Take all columns of a frame under their own names; a file's must be named."""
    if not isinstance(source, pd.DataFrame):
        return {}
    return {str(name): str(name) for name in source.columns}


@dataclass
class RunContext:
    """What every stage is given.

    Attributes:
        config: the run's settings.
        folder: the run's folder.
        display: what shows text and progress.
        frames: tables handed over from Python, by the place of their
            :class:`TableInput` in the configuration.
        reports: what the checks of this stage's tables found.
    """

    config: RunConfig
    folder: Path
    display: Display = field(default_factory=Display)
    frames: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    reports: list[TableReport] = field(default_factory=list)

    def source(self, table: TableInput, place: str) -> Path | pd.DataFrame:
        """Find what a table is read from; an open data source is read whole.

        Raises:
            ConfigError: if nothing was given.
        """
        if place in self.frames:
            return self.frames[place]
        if table.path is not None:
            return locate(table.path)
        if table.source is not None:
            return pd.concat(list(self._sourced(table)), ignore_index=True)
        raise ConfigError(
            f"{place}: no table; expected `path:` or `source:` in the configuration, "
            f"or a frame handed to mora.run."
        )

    def batches(
        self,
        table: TableInput,
        place: str,
        kind: str,
        usual: Callable[[Path | pd.DataFrame], Columns] = every_column,
    ) -> Iterator[pd.DataFrame]:
        """Read a table under our column names a batch at a time, never whole.

        Args:
            table: where it is.
            place: of ``table`` in the configuration.
            kind: see :func:`mora.tables.read_batches`.
            usual: gives the columns of a table for which none are named.

        Returns:
            Frames whose rows are numbered on from one to the next, from 0.
        """
        sourced = table.source is not None and place not in self.frames
        parts = self._sourced(table) if sourced else [self.source(table, place)]
        start = 0
        for part in parts:
            columns = table.columns or usual(part)
            for batch in read_batches(part, columns, kind, text_columns=TEXT):
                yield batch.set_axis(pd.RangeIndex(start, start + len(batch)))
                start += len(batch)

    def frame(self, table: TableInput, place: str, kind: str) -> pd.DataFrame:
        """Read a table under our column names."""
        return pd.concat(list(self.batches(table, place, kind)), ignore_index=True)

    def _sourced(self, table: TableInput) -> Iterator[pd.DataFrame]:
        files = [str(locate(file)) for file in table.files]
        options = {key: _located(part, key) for key, part in table.options.items()}
        bounds = self.config.tokens.bounds
        return stream_sourced(table.source or "", files, options, bounds, self.report)

    def zones(self, areas: AreaInput) -> ZoneTokens:
        """Read polygons as zones."""
        path = locate(areas.path)
        frame = read_areas(path, id_column=areas.id, geometry_column=areas.geometry)
        frame, report = check_areas(frame, source=str(path))
        self.report(report)
        return ZoneTokens.from_zones(
            frame["id"].to_numpy(str), frame["geometry"].to_numpy(object)
        )

    def report(self, report: TableReport) -> None:
        """Keep a report for the manifest, and show what was found."""
        self.reports.append(report)
        shown = [p for p in report.problems if p.action != "kept"]
        kept = [p for p in report.problems if p.action == "kept"]
        if shown:
            text = replace(report, problems=tuple(shown)).describe()
            self.display.say("  " + text.replace("\n", "\n  "))
        if kept:
            self.display.say(f"    {report.source}: rows kept with {_in_short(kept)}")


def _in_short(problems: list[Problem]) -> str:
    """Name findings, those on most rows first, in one line."""
    most = sorted(problems, key=lambda problem: -problem.count)
    named = [f"{p.name} ({p.count:,})" for p in most[:MOST_NAMED]]
    if len(most) > MOST_NAMED:
        named.append(f"{len(most) - MOST_NAMED} more findings (manifest.json)")
    return "; ".join(named)


def locate(path: str, purpose: str = "input") -> Path:
    """Find a file, or the file that an installed package carries.

    Args:
        path: may have a ``*`` in its name for several files, or be a folder.
        purpose: what it is wanted for, for the message.

    Raises:
        MissingFileError: if there is no such file.
        MissingExtraError: if the package is not installed.
    """
    if not path.startswith(PACKAGE_SCHEME):
        found = Path(path)
    else:
        package, _, name = path.removeprefix(PACKAGE_SCHEME).partition("/")
        try:
            found = Path(str(resources.files(package).joinpath(name)))
        except ModuleNotFoundError as error:
            raise MissingExtraError(package, "demo", f"the file {path}") from error
    if not any(file.is_file() for file in _files(found)):
        raise MissingFileError(found, purpose)
    return found


def _files(path: Path) -> list[Path]:
    if path.is_dir():  # a folder of map tiles
        return sorted(file for file in path.rglob("*") if file.is_file())
    return sorted(path.parent.glob(path.name)) if "*" in path.name else [path]


def _located(value: Any, key: str) -> Any:
    """Find the files that an option of a source names."""
    if key not in FILE_KEYS:
        return value
    if isinstance(value, list | tuple):
        return [str(locate(file)) for file in value]
    return str(locate(value))


def read_array(path: str) -> np.ndarray:
    """Load an ``.npy`` file; pickled objects are refused.

    Raises:
        MissingFileError: if there is no such file.
        ConfigError: if it is no array of plain values.
    """
    file = locate(path)
    try:
        with file.open("rb") as opened:
            return np.lib.format.read_array(opened, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}); expected numbers as numpy.save writes "
            f"them, without pickled objects."
        ) from error


def checksums(
    settings: Any, frames: Mapping[str, pd.DataFrame], place: str
) -> dict[str, str]:
    """Give the checksum of every file and frame that nested settings name.

    Args:
        settings: a section of the configuration, or nested ones.
        frames: tables handed over from Python.
        place: of ``settings`` in the configuration.

    Returns:
        Checksums by place; files count by content, not by name, so a run may move
        with its inputs.

    Raises:
        MissingFileError: if a file is not there.
        ConfigError: if a source cannot be read as it is asked for.
    """
    return dict(_checksums(settings, frames, place, None))


def _checksums(
    settings: Any,
    frames: Mapping[str, pd.DataFrame],
    place: str,
    owner: BaseModel | None,
) -> Iterator[tuple[str, str]]:
    if place in frames:
        yield place, frame_checksum(frames[place])
    elif isinstance(settings, BaseModel):
        check_sourced(settings, place, owner)
        for name in type(settings).model_fields:
            at = f"{place}.{name}"
            yield from _checksums(getattr(settings, name), frames, at, settings)
    elif isinstance(settings, Mapping):
        for name, part in settings.items():
            yield from _checksums(part, frames, f"{place}.{name}", owner)
    elif isinstance(settings, list | tuple):
        for number, part in enumerate(settings):
            yield from _checksums(part, frames, f"{place}.{number}", owner)
    elif isinstance(settings, str) and names_file(place):
        for number, file in enumerate(_files(locate(settings, place))):
            yield f"{place}[{number}]", file_checksum(file)


def names_file(place: str) -> bool:
    """Say whether the setting at a place, such as ``line.path``, names a file.

    Args:
        place: steps between dots; a number is one of a list, such as ``table.files.0``.
    """
    steps = ["", *place.split(".")]
    while steps[-1].isdigit():
        steps.pop()
    return steps[-1] in FILE_KEYS and steps[-2] not in OWN_WORDS
