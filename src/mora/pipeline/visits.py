"""Visits become weekly co-visits, a batch at a time."""

import secrets
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import UInt64

from mora.config import TableInput, VisitsMobility
from mora.errors import TableError
from mora.graph.covisits import UserWeekBuilder, build_covisit_graph
from mora.graph.privacy import ThresholdTable
from mora.graph.storage import MobilityGraph
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import Mobility, keep_inside
from mora.pipeline.places import PlaceCoder
from mora.pipeline.spark.session import check_engine
from mora.tables import (
    Problem,
    TableReport,
    check_visits,
    count_rows,
    hash_users,
    iso_weeks,
)

USUAL_GB = 2.0  # more makes counting no faster


def mobility_from_visits(
    context: RunContext, mobility: VisitsMobility, folder: Path
) -> Mobility:
    """Build tokens and co-visit graph from visits.

    User ids are replaced by hashes under a secret that is never written; the hashes
    stand in temporary files, which are deleted when the graph is built.

    Args:
        context: the run.
        mobility: where the visits are and how many users an edge needs.
        folder: where the graph and the temporary files go.
    """
    check_engine(mobility)
    places = PlaceCoder.for_tokens(context)
    if mobility.engine == "spark":
        from mora.pipeline.spark.covisits import covisits_on_spark as covisits
    else:
        covisits = covisits_in_process
    graph, codes, table = covisits(context, mobility, places, folder)
    context.display.say("  " + table.describe().replace("\n", "\n  "))
    tokens = places.tokens(codes)
    ordered = graph.reorder(tokens.encode(places.names(codes)))
    return Mobility(tokens, ordered, facts={"privacy": table.to_json()})


def covisits_in_process(
    context: RunContext, mobility: VisitsMobility, places: PlaceCoder, folder: Path
) -> tuple[MobilityGraph, UInt64[np.ndarray, " places"], ThresholdTable]:
    """Count co-visits in this process.

    Returns:
        The graph, the codes of its places in their order, and what each threshold
        would lose.
    """
    records = folder / "records"
    shutil.rmtree(records, ignore_errors=True)
    memory_gb = context.config.memory_gb or USUAL_GB
    builder = UserWeekBuilder(records, memory_gb=memory_gb)
    try:
        context.report(_collect(context, mobility, places, builder))
        with context.display.bar("Grouping by user and week", "files") as progress:
            visits = builder.group(progress)
    finally:
        shutil.rmtree(records)
    with context.display.bar("Counting co-visits", "places") as progress:
        graph, kept, table = build_covisit_graph(
            visits,
            folder / "counted",
            min_users=mobility.min_users,
            memory_gb=memory_gb,
            progress=progress,
        )
    return graph, visits.places[kept], table


def _collect(
    context: RunContext,
    mobility: VisitsMobility,
    places: PlaceCoder,
    builder: UserWeekBuilder,
) -> TableReport:
    """Read, check and hash the visits batch by batch into the builder."""
    table, place = mobility.table, "mobility.table"
    sourced = table.source is not None and place not in context.frames
    total = None if sourced else count_rows(context.source(table, place))
    salt, reports, done = secrets.token_bytes(32), [], 0
    with context.display.bar("Reading visits", "visits") as progress:
        for raw in visit_batches(context, table, place, places):
            frame = places.with_token(raw)
            frame, found = check_visits(
                frame, timezone=mobility.timezone, source=_name(context, table, place)
            )
            frame, outside = keep_inside(frame, context.config.tokens.bounds, "visits")
            code, known = places.encode(frame)
            lost = Problem("in none of the zones", int((~known).sum()), (), "dropped")
            reports.append(_joined(found, outside, lost))
            users = hash_users(frame["user"], salt)[known]
            builder.add(users, weeks_of(frame, mobility)[known], code[known])
            done += len(raw)
            progress(done, total or done)
    report = reduce(TableReport.merge, reports)
    refuse_empty(report)
    return report


def refuse_empty(report: TableReport) -> None:
    """Refuse visits of which none is left.

    Raises:
        TableError: with what was found, if there is none.
    """
    if report.rows_kept == 0:
        raise TableError(
            f"{report.describe()}\nExpected at least one visit to a known place. Check "
            f"tokens.bounds and the ids or polygons of the zones."
        )


def visit_batches(
    context: RunContext, table: TableInput, place: str, places: PlaceCoder
) -> Iterator[pd.DataFrame]:
    """Read visits under our names, a batch at a time.

    Args:
        context: the run.
        table: where they are.
        place: of ``table`` in the configuration.
        places: tells the columns that a grid needs from those of other tokens.
    """
    usual = partial(usual_columns, places=places)
    return context.batches(table, place, places.kind, usual)


def usual_columns(source: Path | pd.DataFrame, places: PlaceCoder) -> dict[str, str]:
    """Take a frame's columns under their own names; guess a file's."""
    point = ("x", "y") if places.config.kind == "grid" else ("lon", "lat")
    if not isinstance(source, pd.DataFrame):
        return {name: name for name in ("user", "time", *point)}
    known = ("user", "time", "week", "token", *point)
    return {name: name for name in known if name in source}


def _joined(
    found: TableReport, outside: TableReport | None, lost: Problem
) -> TableReport:
    """Put the findings on one batch together."""
    kept = found.rows_kept if outside is None else outside.rows_kept
    problems = (*found.problems, *(outside.problems if outside else ()))
    problems += (lost,) if lost.count else ()
    return replace(found, rows_kept=kept - lost.count, problems=problems)


def _name(context: RunContext, table: TableInput, place: str) -> str:
    if place in context.frames:
        return "visits frame"
    return table.source or str(context.source(table, place))


def weeks_of(frame: pd.DataFrame, mobility: VisitsMobility) -> np.ndarray:
    """Give the week of each visit: as given, or of its time in the run's zone."""
    if "week" in frame:
        return frame["week"].to_numpy(np.int64)
    return iso_weeks(frame["time"], mobility.timezone or "UTC")
