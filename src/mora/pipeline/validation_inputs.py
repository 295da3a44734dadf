"""Checks of what a run reads: its files, where its records lie and when they are."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mora.config import (
    FlowsMobility,
    GravityMobility,
    RunConfig,
    VisitsMobility,
)
from mora.errors import MissingExtraError, MissingFileError, MoraError
from mora.pipeline.folder import MANIFEST, read_json
from mora.pipeline.inputs import RunContext, checksums, locate, names_file
from mora.pipeline.mobility import keep_inside
from mora.pipeline.opening import open_run
from mora.pipeline.places import PlaceCoder
from mora.pipeline.validation_report import Check, Level
from mora.pipeline.visits import usual_columns
from mora.tables import (
    TableReport,
    check_flows,
    check_visits,
    iso_weeks,
    read_batches,
)

FEWEST_WEEKS = 2  # co-visits are counted by week
OLDEST_YEAR = 1990  # earlier ones are usually a wrong unit or a missing value
FIRST_MONDAY = np.datetime64("1969-12-29")  # of week 0, see mora.tables.iso_weeks


@dataclass
class Scan:
    """What reading the records of movement once has shown.

    Attributes:
        reports: of the tables, as plain values.
        weeks: distinct ISO weeks, or running weeks of the table.
        dated: whether the weeks are those of a calendar.
        first: earliest time, UTC; None without times.
        last: latest time.
    """

    reports: list[dict[str, Any]] = field(default_factory=list)
    weeks: set[int] = field(default_factory=set)
    dated: bool = False
    first: pd.Timestamp | None = None
    last: pd.Timestamp | None = None

    def add(self, frame: pd.DataFrame, timezone: str | None) -> None:
        """Take in the times of a batch of checked visits."""
        if "week" in frame:
            self.weeks.update(frame["week"].unique().tolist())
        elif len(frame):
            self.dated = True
            weeks = iso_weeks(frame["time"], timezone or "UTC")
            self.weeks.update(np.unique(weeks).tolist())
            times = [frame["time"].min(), frame["time"].max()]
            known = [t for t in (self.first, self.last) if t is not None]
            self.first, self.last = min(times + known), max(times + known)


def check_files(settings: RunConfig, level: Level = "error") -> Check:
    """Look whether every file that the settings name is there.

    Args:
        settings: of a run.
        level: of a missing file; a finished run needs its inputs no more.
    """
    missing, total = [], 0
    for place, path in _files(settings.model_dump(mode="json"), ""):
        total += 1
        try:
            locate(path, place)
        except (MissingFileError, MissingExtraError):
            missing.append(place)
    return Check(
        "input files",
        level if missing else "ok",
        f"{len(missing)} of {total} files are missing",
        tuple(missing),
        "Correct these paths in the configuration.",
    )


def _files(settings: Any, place: str) -> Iterator[tuple[str, str]]:
    """Give the place and the path of every file in nested settings."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from _files(value, f"{place}.{key}".lstrip("."))
    elif isinstance(settings, list | tuple):
        for number, value in enumerate(settings):
            yield from _files(value, f"{place}.{number}")
    elif isinstance(settings, str) and names_file(place):
        yield place, settings


def scan_mobility(settings: RunConfig) -> Scan | None:
    """Read the records of movement once, visits a batch at a time.

    Args:
        settings: of the run.

    Returns:
        What was found; None where movement is no table, or its file is not there.

    Raises:
        MoraError: if the table cannot be used, as in a run.
    """
    mobility = settings.mobility
    if not isinstance(mobility, VisitsMobility | FlowsMobility | GravityMobility):
        return None
    context = RunContext(settings, Path())
    table = mobility.table
    try:
        source = context.source(table, "mobility.table")
    except MissingFileError:
        return None  # said by check_files
    if isinstance(mobility, VisitsMobility):
        return _scan_visits(context, mobility, source)
    frame = context.frame(table, "mobility.table", "flows")
    _, report = check_flows(frame, source=table.path or "flows")
    return Scan([report.to_json()])


def _scan_visits(
    context: RunContext, mobility: VisitsMobility, source: Path | pd.DataFrame
) -> Scan:
    places = PlaceCoder.for_tokens(context)
    columns = mobility.table.columns or usual_columns(source, places)
    name = mobility.table.path or "visits"
    scan, merged = Scan(), None
    for raw in read_batches(source, columns, places.kind):
        frame, found = check_visits(
            places.with_token(raw), timezone=mobility.timezone, source=name
        )
        frame, outside = keep_inside(frame, context.config.tokens.bounds, "visits")
        if outside is not None:
            problems = (*found.problems, *outside.problems)
            kept = outside.rows_kept
            found = TableReport("visits", name, found.rows_read, kept, problems)
        merged = found if merged is None else merged.merge(found)
        scan.add(frame, mobility.timezone)
    if merged is not None:
        scan.reports.append(merged.to_json())
    return scan


def check_span(scan: Scan) -> Check:
    """Say when the records are, and which weeks within have none."""
    name = "time span"
    if not scan.weeks:
        return Check(name, "ok", "the records carry no times")
    weeks = np.array(sorted(scan.weeks))
    gaps = int(weeks[-1] - weeks[0] + 1 - len(weeks))
    before_gap = weeks[:-1][np.diff(weeks) > 1]  # where a gap of any length begins
    found = f"{len(weeks):,} weeks with records, {gaps:,} without in between"
    odd = False
    if scan.dated and scan.first is not None and scan.last is not None:
        found = f"{scan.first:%Y-%m-%d} to {scan.last:%Y-%m-%d} (UTC): {found}"
        old = scan.first.year < OLDEST_YEAR
        future = scan.last > pd.Timestamp.now("UTC")
        odd = old or future
        found += f"; some are before {OLDEST_YEAR}" if old else ""
        found += "; some are in the future" if future else ""
    few = len(weeks) < FEWEST_WEEKS
    level: Level = "warning" if gaps or few or odd else "ok"
    return Check(
        name,
        level,
        found,
        tuple(_week_name(week + 1, scan.dated) for week in before_gap[:3]),
        "Check the unit and zone of the times, and whether records are missing; give "
        "two weeks or more.",
    )


def _week_name(week: np.int64, dated: bool) -> str:
    return f"week of {FIRST_MONDAY + 7 * week}" if dated else f"week {week}"


def days_of_records(run: Path) -> tuple[date, date] | None:
    """Give the first and the last day of a run's visits, in its time zone.

    The run does not keep them: its table is read again, if it is still the same and
    one computer can read it.

    Args:
        run: folder of a finished run.

    Returns:
        None if the days are not known.
    """
    place = "mobility.table"
    inputs = (read_json(run / "graph" / MANIFEST) or {}).get("inputs", {})
    learned_from = {at: c for at, c in inputs.items() if at.startswith(place)}
    try:
        context = open_run(run)
        if context is None:
            return None
        mobility = context.config.mobility
        if not isinstance(mobility, VisitsMobility) or mobility.engine == "spark":
            return None
        same = checksums(mobility.table, {}, place) == learned_from
        scan = scan_mobility(context.config) if same else None
    except MoraError:  # the table was handed over from Python, or is gone
        return None
    if scan is None or scan.first is None or scan.last is None:
        return None
    zone = mobility.timezone or "UTC"
    return scan.first.tz_convert(zone).date(), scan.last.tz_convert(zone).date()
