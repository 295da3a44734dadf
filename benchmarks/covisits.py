"""Visits to the weighted edges of weekly co-visits, beside DuckDB and scipy.

All three get the same arrays and make the edges of two users or more, with weight and
distinct users; ours alone writes its records and its edges to disk.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import duckdb
import numba
import numpy as np
import pandas as pd
import pyarrow as pa
import scipy.sparse as sp

from benchmarks.measure import in_turn, print_costs, print_ratio, quick_mode, ratio
from benchmarks.synthetic_visits import FIRST_CELL, Visits, synthetic_visits
from mora.graph.covisits import RowBlocks, build_covisit_graph
from mora.graph.privacy import ThresholdTable
from mora.graph.storage import MobilityGraph
from mora.graph.user_weeks import UserWeekBuilder, UserWeeks

MIN_USERS = 2
BATCH = 1_000_000  # visits, as the pipeline reads them
ROWS = 500  # places whose products scipy holds at once
THREADS = 2
MEMORY_GB = 2.0
PEER_MEMORY = "6GB"  # then DuckDB spills

DISTINCT = "CREATE OR REPLACE TEMP TABLE was AS SELECT DISTINCT user, week, cell FROM t"
# Grouping by user first is faster than count(DISTINCT user).
EDGES = f"""
CREATE OR REPLACE TEMP TABLE edge AS
WITH was AS (SELECT DISTINCT user, week, cell FROM t),
of_user AS (
    SELECT a.cell AS low, b.cell AS high, count(*) AS weeks
    FROM was a JOIN was b
      ON a.user = b.user AND a.week = b.week AND a.cell < b.cell
    GROUP BY a.user, low, high
)
SELECT low, high, sum(weeks)::BIGINT AS weight, count(*) AS users
FROM of_user GROUP BY low, high HAVING count(*) >= {MIN_USERS}
"""

Fingerprint = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """How many visits of whom, and how often they are measured."""

    visits: int
    users: int
    heavy_tailed: bool
    repeats: int

    @property
    def name(self) -> str:
        """Tell the case from the others."""
        return f"covisits_{'heavy_tailed' if self.heavy_tailed else 'uniform'}"

    def make(self) -> Visits:
        """Make the visits."""
        return synthetic_visits(
            self.visits, users=self.users, heavy_tailed=self.heavy_tailed
        )


# For all sides, and then for ours alone, because the peers take too long.
QUICK = [Case(1_000_000, 10_000, False, 1), Case(100_000, 1_000, True, 1)]
QUICK_ALONE = Case(1_000_000, 10_000, True, 2)
FULL = [Case(20_000_000, 200_000, False, 3), Case(5_000_000, 50_000, True, 1)]
FULL_ALONE = Case(20_000_000, 200_000, True, 3)


def main() -> None:
    """Print a table and the ratios of each case; the last is the least end to end."""
    quick = quick_mode(__doc__)
    numba.set_num_threads(min(THREADS, numba.config.NUMBA_NUM_THREADS))
    measure_alone(QUICK_ALONE if quick else FULL_ALONE)
    least = min(map(compare, QUICK if quick else FULL))
    print_ratio("covisits_end_to_end_duckdb", least, 2.5)


def measure_alone(case: Case) -> None:
    """Measure how fast pairs are counted, and time and memory from end to end."""
    visits = case.make()
    grouped = compare_distinct(case, visits, connect(visits))
    with tempfile.TemporaryDirectory() as scratch:
        table = ThresholdTable.empty(grouped.visitors, MIN_USERS)
        kept = grouped.visitors >= MIN_USERS
        blocks = RowBlocks(grouped, kept, table, MEMORY_GB)
        sides = {
            "mora, pairs alone": lambda: sum(1 for _ in blocks.counted()),
            "mora, end to end": partial(our_edges, visits, Path(scratch)),
        }
        _, costs = in_turn(sides, case.repeats)
    print_costs(costs)
    cpu = median(cost.cpu for cost in costs["mora, pairs alone"])
    print_ratio("covisits_million_pairs_a_second", grouped.pairs() / cpu / 1e6, 80)
    whole = costs["mora, end to end"]
    print_ratio("covisits_one_minute", min(60 / cost.seconds for cost in whole), 1)
    print_ratio("covisits_2_gb", min(2000 / cost.peak_mb for cost in whole), 1)


def compare(case: Case) -> float:
    """Measure all sides on one case; give the end-to-end ratio against DuckDB."""
    visits = case.make()
    database = connect(visits)
    compare_distinct(case, visits, database)
    with tempfile.TemporaryDirectory() as scratch:
        sides = {
            "mora": partial(our_edges, visits, Path(scratch)),
            "DuckDB": partial(duckdb_edges, database),
            "scipy": partial(scipy_edges, visits),
        }
        results, costs = in_turn(sides, case.repeats)
        edges = {name: fingerprint() for name, fingerprint in results.items()}
    if len(set(edges.values())) != 1:
        raise SystemExit(f"{case.name}: the sides give different edges: {edges}")
    print_costs(costs)
    ours, by_name = costs["mora"], f"{case.name}_end_to_end"
    print_ratio(f"{by_name}_scipy", ratio(costs["scipy"], ours), 1.2)
    print_ratio(f"{by_name}_duckdb", against := ratio(costs["DuckDB"], ours), 2.5)
    return against


def compare_distinct(
    case: Case, visits: Visits, database: duckdb.DuckDBPyConnection
) -> UserWeeks:
    """Measure the step from visits to distinct user, week and cell."""
    with tempfile.TemporaryDirectory() as scratch:
        sides = {
            "mora, distinct": partial(group, visits, Path(scratch)),
            "DuckDB, distinct": partial(database.execute, DISTINCT),
        }
        results, costs = in_turn(sides, case.repeats)
    grouped = results["mora, distinct"]
    visitors = "SELECT count(DISTINCT user) AS n FROM was GROUP BY cell ORDER BY cell"
    weeks = "SELECT count(*) AS n FROM was GROUP BY user, week"
    same = np.array_equal(
        database.execute(visitors).fetchnumpy()["n"], grouped.visitors
    )
    size = database.execute(weeks).fetchnumpy()["n"]
    if not same or (size * (size - 1) // 2).sum() != grouped.pairs():
        raise SystemExit(f"{case.name}: mora and DuckDB give different records")
    print(f"{case.name}: {case.visits:,} visits, {grouped.pairs():,} pairs\n")
    print_costs(costs)
    if case.visits >= QUICK_ALONE.visits:  # opening files costs more than few visits
        value = ratio(costs["DuckDB, distinct"], costs["mora, distinct"])
        print_ratio(f"{case.name}_distinct_of_{case.visits}", value, 3)
    return grouped


def fingerprint(
    low: np.ndarray, high: np.ndarray, weight: np.ndarray, users: np.ndarray
) -> Fingerprint:
    """Sum up edges so that two sides can be compared; ``low`` and ``high`` are cells.

    Returns:
        Their number, weight, users, and the same weighted by where they are.
    """
    low, high = ((cell - np.uint64(FIRST_CELL)) >> np.uint64(8) for cell in (low, high))
    sums = (weight, users, low * weight.astype(np.uint64), high * users.astype("u8"))
    return len(low), *(int(values.sum(dtype=np.uint64)) for values in sums)


def group(visits: Visits, scratch: Path) -> UserWeeks:
    """Let Mora group the visits, in batches as the pipeline reads them."""
    builder = UserWeekBuilder(scratch / "records", memory_gb=MEMORY_GB)
    for first in range(0, len(visits[0]), BATCH):
        builder.add(*(column[first : first + BATCH] for column in visits))
    return builder.group()


def our_edges(visits: Visits, scratch: Path) -> Callable[[], Fingerprint]:
    """Let Mora build the graph on disk; give what tells its fingerprint."""
    grouped = group(visits, scratch)
    folder = Path(tempfile.mkdtemp(dir=scratch))
    graph, kept, _ = build_covisit_graph(
        grouped, folder, min_users=MIN_USERS, memory_gb=MEMORY_GB
    )
    return partial(fingerprint_of_graph, graph, grouped.places[kept])


def fingerprint_of_graph(graph: MobilityGraph, cells: np.ndarray) -> Fingerprint:
    """Sum up the edges of a graph whose nodes are the ``cells``."""
    ends = (cells[graph.rows()], cells[graph.neighbour])
    return fingerprint(*ends, np.asarray(graph.weight), graph.users)


def connect(visits: Visits) -> duckdb.DuckDBPyConnection:
    """Show the visits to DuckDB as the table ``t``."""
    database = duckdb.connect()
    database.execute(
        f"SET threads = {THREADS}; SET memory_limit = '{PEER_MEMORY}'; "
        f"SET temp_directory = '{tempfile.gettempdir()}/mora_duckdb'"
    )
    user, week, cell = visits
    week = week.astype(np.int32)
    database.register("t", pa.table({"user": user, "week": week, "cell": cell}))
    return database


def duckdb_edges(database: duckdb.DuckDBPyConnection) -> Callable[[], Fingerprint]:
    """Let DuckDB make the table of edges with one statement."""
    database.execute(EDGES)
    columns = "SELECT low, high, weight, users FROM edge"
    return lambda: fingerprint(*database.execute(columns).fetchnumpy().values())


def scipy_edges(visits: Visits) -> Callable[[], Fingerprint]:
    """Make the edges with sparse products, some rows at a time."""
    place, start, user, cells = distinct_records(visits)
    ones = np.ones(len(place), np.int32)
    shape = (len(start) - 1, len(cells))
    was = sp.csr_array((ones, place, start), shape=shape)  # user-weeks x places
    # Rows (place, user) x user-weeks: their product with `was` has a non-zero for each
    # user of an edge, and the user's weeks in it.
    week = np.repeat(np.arange(len(user)), np.diff(start))
    pair = place * np.int64(user.max() + 1) + user[week]
    order = np.argsort(pair, kind="stable")
    begins = np.flatnonzero(np.diff(pair[order], prepend=-1))
    ends = np.append(begins, len(order))
    visited = sp.csr_array((ones, week[order], ends), shape=(len(begins), shape[0]))
    first = np.searchsorted(place[order][begins], np.arange(len(cells) + 1))
    blocks = [
        rows_of_edges(visited, was, first[low : low + ROWS + 1], low)
        for low in range(0, len(cells), ROWS)
    ]
    row, column, weight, users = map(np.concatenate, zip(*blocks, strict=True))
    return lambda: fingerprint(cells[row], cells[column], weight, users)


def rows_of_edges(
    visited: sp.csr_array, was: sp.csr_array, first: np.ndarray, low: int
) -> tuple[np.ndarray, ...]:
    """Give both ends, weight and users of the edges of the places from ``low`` on."""
    by_user = sp.csr_array(visited[first[0] : first[-1]] @ was)
    ones = np.ones(by_user.shape[0], np.int32)
    columns = np.arange(by_user.shape[0])
    to_place = sp.csr_array(
        (ones, columns, first - first[0]), shape=(len(first) - 1, by_user.shape[0])
    )
    weight = sp.triu(to_place @ by_user, low + 1, format="csr")
    by_user.data[:] = 1
    users = sp.triu(to_place @ by_user, low + 1, format="csr")
    for matrix in (weight, users):
        matrix.sort_indices()
    kept = users.data >= MIN_USERS
    row = np.repeat(np.arange(len(first) - 1) + low, np.diff(users.indptr))[kept]
    return row, users.indices[kept], weight.data[kept], users.data[kept]


def distinct_records(
    visits: Visits,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Give places, begins and users of the user-weeks, and the cells, by one sort."""
    user, _ = pd.factorize(visits[0])
    cell, cells = pd.factorize(visits[2], sort=True)
    weeks = int(visits[1].max()) + 1
    key = np.sort((user * weeks + visits[1]) * len(cells) + cell)
    key = key[np.diff(key, prepend=-1) > 0]
    week = key // len(cells)
    begins = np.flatnonzero(np.diff(week, prepend=-1))
    place = (key % len(cells)).astype(np.int32)
    return place, np.append(begins, len(key)), week[begins] // weeks, np.asarray(cells)


if __name__ == "__main__":
    main()
