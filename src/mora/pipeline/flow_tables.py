"""Flows and populations as a run's tables give them: read, checked, added up."""

from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
import pandas as pd

from mora.config import FlowsMobility, GravityMobility, TableInput
from mora.errors import ConfigError, TableError, examples
from mora.geometry import cells_at
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import keep_inside
from mora.sources.flows import ENDS, sum_flows
from mora.tables import Problem, TableReport, check_flows, check_rows


def read_flows(
    context: RunContext, mobility: FlowsMobility | GravityMobility, folder: Path
) -> pd.DataFrame:
    """Read flows with the engine that is asked for.

    Args:
        context: the run.
        mobility: where the flows are.
        folder: where Spark leaves what it exchanges.

    Returns:
        origin, destination and weight, each pair of ends once; between points they are
        cells.

    Raises:
        ConfigError: if flows between points are to join anything but cells.
        TableError: if they cannot be used.
    """
    if mobility.engine == "spark":
        from mora.pipeline.spark.flows import read_flows as read_on_spark

        flows, report = read_on_spark(context, mobility, folder)
        if "origin_lon" in flows:
            flows, report = _point_ends(context, flows, report)
        context.report(report)
        return flows
    return _sum_batches(context, mobility.table)


def _sum_batches(context: RunContext, table: TableInput) -> pd.DataFrame:
    """Add up flows as they are read, so that only pairs of places are in memory."""
    name = "flows frame" if "mobility.table" in context.frames else None
    name = name or table.path or table.source or "flows"
    reports: list[TableReport] = []

    def checked() -> Iterator[pd.DataFrame]:
        for batch in context.batches(table, "mobility.table", "flows"):
            flows, report = check_flows(batch, source=name)
            if "origin_lon" in flows:
                flows, report = _point_ends(context, flows, report)
            reports.append(report)
            yield flows

    flows = sum_flows(checked(), name)
    context.report(reduce(TableReport.merge, reports))
    return flows


def _point_ends(
    context: RunContext, flows: pd.DataFrame, report: TableReport
) -> tuple[pd.DataFrame, TableReport]:
    """Name the ends of flows between points by their cells."""
    config = context.config.tokens
    if config.kind != "h3":
        raise ConfigError(
            f"tokens.kind: {config.kind!r}; flows between points need 'h3'."
        )
    for end in ENDS:
        point = {f"{end}_lon": "lon", f"{end}_lat": "lat"}
        flows, outside = keep_inside(
            flows.rename(columns=point), config.bounds, f"{end}s of flows"
        )
        if outside is not None:
            found = replace(outside.problems[0], name=f"{end} outside the study area")
            report = replace(
                report,
                rows_kept=outside.rows_kept,
                problems=(*report.problems, found),
            )
        cells = cells_at(flows[["lon", "lat"]].to_numpy(), config.resolution)
        flows = flows.drop(columns=["lon", "lat"]).assign(**{end: cells})
    return flows, report


def read_people(
    context: RunContext, table: TableInput, place: str, zoned: bool
) -> pd.DataFrame:
    """Read who lives where.

    Args:
        context: the run.
        table: where they are.
        place: of ``table`` in the configuration.
        zoned: whether people belong to zones. Where the table names none, they belong
            to that of ``tokens.areas`` in which they live.

    Returns:
        population (above 0), lon, lat and, where asked for, zone.

    Raises:
        TableError: if a population is negative, or no row has people.
    """
    frame = context.frames.get(place, pd.DataFrame())
    named = "zone" in {*table.columns, *frame.columns}
    located = zoned and not named and context.config.tokens.areas is not None
    wanted = ["population", "lon", "lat", *(["zone"] if zoned and not located else [])]
    columns = {name: table.columns.get(name, name) for name in wanted}
    read = table.model_copy(update={"columns": columns})
    frame = context.frame(read, place, "population")
    if located:
        frame["zone"] = _zones_of(context, frame)
    numbers = frame.drop(columns="zone", errors="ignore").assign(row=range(len(frame)))
    source = table.path or table.source or place
    checked, report = check_rows(numbers, source=source)
    context.report(report)
    if zoned:
        checked["zone"] = frame["zone"].to_numpy(object)[checked["row"].to_numpy(int)]
    checked, outside = keep_inside(checked, context.config.tokens.bounds, "rows")
    if outside is not None:
        context.report(outside)
    return _with_people(context, checked, source)


def _zones_of(context: RunContext, people: pd.DataFrame) -> np.ndarray:
    """Name the zone that each point lies in; None where it lies in none."""
    areas = context.config.tokens.areas
    if areas is None:
        raise ConfigError("tokens.areas: expected the outlines of the zones.")
    zones = context.zones(areas)
    found = zones.locate(people[["lon", "lat"]].to_numpy(np.float64))
    return np.where(found >= 0, zones.ids[found].astype(object), None)


def _with_people(context: RunContext, frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Leave out rows without people or without a zone.

    Raises:
        TableError: if a population is negative, or no row has people.
    """
    negative = frame["population"] < 0
    used = frame["population"] > 0
    if negative.any() or not used.any():
        raise TableError(
            f"{source}: {negative.sum():,} of {len(frame):,} populations are negative "
            f"(first: {examples(frame['population'][negative].tolist())}) and "
            f"{used.sum():,} positive; expected people, 0 or more."
        )
    if "zone" in frame:
        used &= frame["zone"].notna()
    lost = Problem("no people or no zone", int((~used).sum()), (), "dropped")
    problems = (lost,) if lost.count else ()
    kept = int(used.sum())
    context.report(TableReport("rows", source, len(frame), kept, problems))
    return frame[used]
