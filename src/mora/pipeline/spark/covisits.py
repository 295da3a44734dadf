"""Co-visits counted by Spark, and streamed into the graph on disk."""

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int, UInt64
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mora.config import VisitsMobility
from mora.errors import GraphError
from mora.graph.array_file import ArrayFile
from mora.graph.privacy import ThresholdTable
from mora.graph.storage import MobilityGraph
from mora.pipeline.inputs import RunContext
from mora.pipeline.places import PlaceCoder
from mora.pipeline.spark.session import spark_session
from mora.pipeline.spark.tables import fetch, fetch_batches, open_table, require_files
from mora.pipeline.spark.visits import user_weeks
from mora.pipeline.visits import refuse_empty, usual_columns

MAX_COUNT = np.iinfo(np.uint32).max


def covisits_on_spark(
    context: RunContext, mobility: VisitsMobility, places: PlaceCoder, folder: Path
) -> tuple[MobilityGraph, UInt64[np.ndarray, " places"], ThresholdTable]:
    """Count co-visits as :func:`mora.pipeline.visits.covisits_in_process` does.

    Args:
        context: the run.
        mobility: where the visits are, how many users an edge needs, and Spark's
            settings.
        places: knows the token of each place.
        folder: where the graph's files go; driver and workers must share it.

    Returns:
        The graph, the codes of its places in their order, and what each threshold
        would lose; the same to the bit.
    """
    source = require_files(context.source(mobility.table, "mobility.table"))
    columns = mobility.table.columns or usual_columns(source, places)
    exchange = folder / "spark"
    shutil.rmtree(exchange, ignore_errors=True)
    say = context.display.say
    try:
        with spark_session(mobility.spark, context.display) as spark:
            table = open_table(spark, source, columns, places.kind)
            say("  Spark: checking visits and looking up their places")
            found, report = user_weeks(table, mobility, places, secrets.token_hex(32))
            context.report(report)
            refuse_empty(report)
            say("  Spark: grouping by user and week, and counting co-visits")
            return _count(found, mobility.min_users, exchange, folder / "counted")
    finally:
        shutil.rmtree(exchange, ignore_errors=True)


def _count(
    visits: DataFrame, min_users: int, exchange: Path, folder: Path
) -> tuple[MobilityGraph, UInt64[np.ndarray, " places"], ThresholdTable]:
    """Count pairs in Spark and build the graph from them.

    Args:
        visits: distinct ``user``, ``week`` and ``code``, spread by user.
        min_users: distinct users per edge and per place.
        exchange: where Spark leaves what it counted.
        folder: where the graph's files go.
    """
    visits = visits.persist(StorageLevel.MEMORY_AND_DISK)
    seen = visits.select("code", "user").distinct().groupBy("code")
    counted = seen.agg(F.count("*").alias("users"))
    places = fetch(counted, exchange / "places", "code")
    visitors = places["users"].to_numpy()
    kept = visitors >= min_users
    if not kept.any():
        raise GraphError(
            f"none of {len(kept)} places has {min_users} distinct users (at most "
            f"{visitors.max()}); use larger places or a lower min_users."
        )
    edges = _pairs(visits).persist(StorageLevel.MEMORY_AND_DISK)
    table = _thresholds(edges, visitors, min_users)
    _require_complete(visits, table)
    enough = edges.where(F.col("users") >= min_users)
    codes = places["code"].to_numpy()[kept]
    batches = fetch_batches(enough, exchange / "edges", "low", "high")
    return _stream(batches, codes, table, folder), codes.astype(np.uint64), table


def _pairs(visits: DataFrame) -> DataFrame:
    """Join each user's places of a week with one another, each pair once.

    Returns:
        ``low`` < ``high``, the codes of two places; ``weight``, the user-weeks that
        join them; ``users``, how many different users.
    """
    low = visits.withColumnRenamed("code", "low")
    high = visits.withColumnRenamed("code", "high")
    joined = low.join(high, ["user", "week"]).where("low < high")
    weeks = joined.groupBy("user", "low", "high").agg(F.count("*").alias("weeks"))
    return weeks.groupBy("low", "high").agg(
        F.sum("weeks").alias("weight"), F.count("*").alias("users")
    )


def _thresholds(
    edges: DataFrame, visitors: Int[np.ndarray, " places"], min_users: int
) -> ThresholdTable:
    """Say what each minimum number of users would keep."""
    table = ThresholdTable.empty(places=visitors, chosen=min_users)
    users, weight = F.col("users"), F.col("weight")
    kept = [users >= least for least in table.thresholds]
    counts = [F.count_if(stays) for stays in kept]
    weights = [F.sum(F.when(stays, weight)) for stays in kept]
    row = edges.agg(*counts, *weights).first()
    found = [value or 0 for value in row]
    table.edges, table.weight = found[: len(kept)], found[len(kept) :]
    return table


def _require_complete(visits: DataFrame, table: ThresholdTable) -> None:
    """Check that every pair of every user-week is in an edge.

    Raises:
        GraphError: if some are lost.
    """
    size = visits.groupBy("user", "week").agg(F.count("*").alias("n"))
    pairs = size.agg(F.sum(F.expr("n * (n - 1) div 2"))).first()[0]
    if pairs != table.weight[0]:
        raise GraphError(
            f"the edges weigh {table.weight[0]}, but the user-weeks make {pairs} "
            f"pairs; the graph is not complete. Report this."
        )


def _stream(
    batches: Iterator[pa.RecordBatch],
    codes: Int[np.ndarray, " places"],
    table: ThresholdTable,
    folder: Path,
) -> MobilityGraph:
    """Write edges into the files of a graph as they come.

    Args:
        batches: edges sorted by ``low`` and ``high``.
        codes: of the kept places, ascending; their places are the rows.
        table: what is kept in all.
        folder: where the files go.

    Raises:
        GraphError: if edges are missing, out of order or too heavy for 32 bits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    row_edges, degree = np.zeros(len(codes), np.int64), np.zeros(len(codes))
    latest, total = -1, 0
    with (
        ArrayFile(folder / "neighbour.npy", np.int32) as neighbours,
        ArrayFile(folder / "weight.npy", np.uint32) as weights,
        ArrayFile(folder / "users.npy", np.uint32) as users,
    ):
        for batch in batches:
            low, high = (np.searchsorted(codes, batch[x]) for x in ("low", "high"))
            weight = batch["weight"].to_numpy()
            place = np.append(latest, low * len(codes) + high)
            latest, total = place[-1], total + int(weight.sum())
            if (np.diff(place) <= 0).any() or weight.max(initial=0) > MAX_COUNT:
                raise GraphError("edges out of order or too heavy. Report this.")
            row_edges += np.bincount(low, minlength=len(codes))
            for end in (low, high):
                degree += np.bincount(end, weight, len(codes))
            neighbours.append(high.astype(np.int32))
            weights.append(weight)
            users.append(batch["users"].to_numpy())
    chosen = table.thresholds.index(table.chosen)
    if (int(row_edges.sum()), total) != (table.edges[chosen], table.weight[chosen]):
        raise GraphError(
            f"{row_edges.sum()} edges of weight {total} came back from Spark; expected "
            f"{table.edges[chosen]} of {table.weight[chosen]}. Report this."
        )
    stored = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r")
        for name in ("neighbour", "weight", "users")
    }
    indptr = np.append(0, np.cumsum(row_edges))
    within = np.zeros(len(codes))
    return MobilityGraph(
        indptr=indptr, within=within, outflow=degree, inflow=degree.copy(), **stored
    )
