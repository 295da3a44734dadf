"""The tables of a run: found, identified by checksum, read and checked."""

from collections.abc import Iterator, Mapping
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
from mora.sources import read_source
from mora.tables import TableReport, check_areas, read_areas, read_frame
from mora.tables.schema import TEXT_COLUMNS
from mora.tokens import ZoneTokens

TEXT = TEXT_COLUMNS | {"zone"}


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
        """Find what a table is read from.

        Raises:
            ConfigError: if nothing was given.
        """
        if place in self.frames:
            return self.frames[place]
        if table.path is not None:
            return locate(table.path)
        if table.source is not None:
            return read_source(table.source)
        raise ConfigError(
            f"{place}: no table; expected `path:` or `source:` in the configuration, "
            f"or a frame handed to mora.run."
        )

    def frame(self, table: TableInput, place: str, kind: str) -> pd.DataFrame:
        """Read a table under our column names."""
        source = self.source(table, place)
        columns = table.columns
        if not columns and isinstance(source, pd.DataFrame):
            columns = {str(name): str(name) for name in source.columns}
        return read_frame(source, columns, kind, text_columns=TEXT)

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
        """Keep a report for the manifest, and show which rows were dropped and why."""
        self.reports.append(report)
        shown = [p for p in report.problems if p.action != "kept"]
        others = len(report.problems) - len(shown)
        if shown:
            text = replace(report, problems=tuple(shown)).describe()
            self.display.say("  " + text.replace("\n", "\n  "))
        if others:
            self.display.say(
                f"    {report.source}: {others} more findings on rows that were kept, "
                f"see the stage's manifest.json"
            )


def locate(path: str, purpose: str = "input") -> Path:
    """Find a file, or the file that an installed package carries.

    Args:
        path: may have a ``*`` in its name for several files.
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
    return sorted(path.parent.glob(path.name)) if "*" in path.name else [path]


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
    """
    return dict(_checksums(settings, frames, place))


def _checksums(
    settings: Any, frames: Mapping[str, pd.DataFrame], place: str
) -> Iterator[tuple[str, str]]:
    if place in frames:
        yield place, frame_checksum(frames[place])
    elif isinstance(settings, BaseModel):
        for name in type(settings).model_fields:
            yield from _checksums(getattr(settings, name), frames, f"{place}.{name}")
    elif isinstance(settings, Mapping):
        for name, part in settings.items():
            yield from _checksums(part, frames, f"{place}.{name}")
    elif isinstance(settings, list | tuple):
        for number, part in enumerate(settings):
            yield from _checksums(part, frames, f"{place}.{number}")
    elif isinstance(settings, str) and names_file(place):
        for number, file in enumerate(_files(locate(settings, place))):
            yield f"{place}[{number}]", file_checksum(file)


def names_file(place: str) -> bool:
    """Say whether the setting at a place, such as ``line.path``, names a file."""
    above, _, key = place.rpartition(".")
    return key in FILE_KEYS and above.rpartition(".")[2] not in OWN_WORDS
