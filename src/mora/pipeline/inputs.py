"""The tables of a run: found, identified by checksum, read and checked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from mora.config import AreaInput, RunConfig, TableInput
from mora.config.loading import PACKAGE_SCHEME
from mora.errors import ConfigError, MissingExtraError, MissingFileError
from mora.pipeline.display import Display
from mora.pipeline.folder import file_checksum, frame_checksum
from mora.sources import read_source
from mora.tables import TableReport, check_areas, read_areas, read_frame
from mora.tables.schema import TEXT_COLUMNS
from mora.tokens import ZoneTokens

TEXT = TEXT_COLUMNS | {"zone"}
FILE_KEYS = ("path", "graph", "cells")


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
        """Keep a report for the manifest, and show it if it found something."""
        self.reports.append(report)
        if report.problems:
            self.display.say(f"  {report.describe()}")


def locate(path: str) -> Path:
    """Find a file, or the file that an installed package carries.

    Raises:
        MissingFileError: if there is no such file.
        MissingExtraError: if the package is not installed.
    """
    if not path.startswith(PACKAGE_SCHEME):
        found = Path(path)
    else:
        package, _, name = path.removeprefix(PACKAGE_SCHEME).partition("/")
        try:
            found = Path(str(resources.files(package))) / name
        except ModuleNotFoundError as error:
            raise MissingExtraError(package, "demo", f"the file {path}") from error
    if "*" not in found.name and not found.is_file():
        raise MissingFileError(found, "input")
    return found


def checksums(
    settings: Any, frames: Mapping[str, pd.DataFrame], place: str
) -> dict[str, str]:
    """Give the checksum of every file and frame that nested settings name.

    Args:
        settings: a section of the configuration, or nested ones.
        frames: tables handed over from Python.
        place: of ``settings`` in the configuration.
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
    elif isinstance(settings, str) and place.rsplit(".", 1)[-1] in FILE_KEYS:
        for file in _files(locate(settings)):
            yield str(file), file_checksum(file)


def _files(path: Path) -> list[Path]:
    return sorted(path.parent.glob(path.name)) if "*" in path.name else [path]
