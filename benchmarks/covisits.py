"""Visits to the weighted edges of weekly co-visits, beside DuckDB and scipy.

All three get the same arrays and give the edges of two users or more, with weight and
distinct users; ours alone writes its records and its edges to disk.
"""

import tempfile
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


@dataclass(frozen=True)
class Case:
    """How many visits of whom, and how often all sides do them."""

    name: str
    visits: int
    users: int
    heavy_tailed: bool
    repeats: int


QUICK = [
    Case("uniform", 1_000_000, 10_000, False, 1),
    Case("heavy-tailed", 200_000, 2_000, True, 1),
]
QUICK_KERNEL = (2_000_000, 20_000)  # visits and users
FULL = [
    Case("uniform", 20_000_000, 200_000, False, 3),
    Case("heavy-tailed", 20_000_000, 200_000, True, 1),
]
FULL_KERNEL = (20_000_000, 200_000)


def main() -> None:
    """Print a table and the ratios of each case; the last is the least end to end."""
    cases, kernel = (
        (QUICK, QUICK_KERNEL) if quick_mode(__doc__) else (FULL, FULL_KERNEL)
    )
    numba.set_num_threads(min(THREADS, numba.config.NUMBA_NUM_THREADS))
    measure_kernel(*kernel)
    print_ratio("covisits_end_to_end_duckdb", min(map(compare, cases)), 2.5)


def compare(case: Case) -> float:
    """Measure all steps of one case; give the end-to-end ratio against DuckDB."""
    visits = synthetic_visits(
        case.visits, users=case.users, heavy_tailed=case.heavy_tailed
    )
    database = connect(visits)
    name = f"covisits_{case.name.replace('-', '_')}"
    grouped = compare_distinct(name, visits, database, case)
    print(f"{case.name}: {case.visits:,} visits, {grouped.pairs():,} pairs\n")
    sides = {
        "mora": partial(our_edges, visits),
        "DuckDB": partial(duckdb_edges, database),
        "scipy": partial(scipy_edges, visits),
    }
    results, costs = in_turn(sides, case.repeats)
    require_same(results)
    print_costs(costs)
    ours = costs["mora"]
    if case in FULL:
        print_ratio(f"{name}_minute", min(60 / cost.seconds for cost in ours), 1)
        print_ratio(f"{name}_2_gb", min(2000 / cost.peak_mb for cost in ours), 1)
    print_ratio(f"{name}_end_to_end_scipy", ratio(costs["scipy"], ours), 1.2)
    against = ratio(costs["DuckDB"], ours)
    print_ratio(f"{name}_end_to_end_duckdb", against, 2.5)
    return against


def compare_distinct(
    name: str, visits: Visits, database: duckdb.DuckDBPyConnection, case: Case
) -> UserWeeks:
    """Measure the step from visits to distinct user, week and cell."""
    sides = {
        "mora, distinct": partial(group, visits),
        "DuckDB, distinct": partial(database.execute, DISTINCT),
    }
    results, costs = in_turn(sides, case.repeats)
    grouped = results["mora, distinct"]
    places = database.execute(
        "SELECT count(DISTINCT user) FROM was GROUP BY cell ORDER BY cell"
    ).fetchnumpy()
    pairs = database.execute(
        "SELECT sum(n * (n - 1) // 2) FROM "
        "(SELECT count(*) AS n FROM was GROUP BY user, week)"
    ).fetchone()[0]
    same = np.array_equal(next(iter(places.values())), grouped.visitors)
    if not same or pairs != grouped.pairs():
        raise SystemExit(f"{name}: mora and DuckDB give different distinct records")
    print_costs(costs)
    if case in FULL or not case.heavy_tailed:  # few visits cost less than the files
        print_ratio(f"{name}_distinct", ratio(*reversed(list(costs.values()))), 3)
    return grouped


def measure_kernel(visits: int, users: int) -> None:
    """Measure the counting of pairs alone, in million pairs a CPU second."""
    grouped = group(synthetic_visits(visits, users=users, heavy_tailed=True))
    table = ThresholdTable.empty(grouped.visitors, MIN_USERS)
    kept = grouped.visitors >= MIN_USERS
    blocks = RowBlocks(grouped, kept, table, MEMORY_GB)
    print(f"pairs alone: {grouped.pairs():,} pairs\n")
    _, costs = in_turn({"mora": lambda: sum(1 for _ in blocks.counted())}, 3)
    print_costs(costs)
    cpu = median(cost.cpu for cost in costs["mora"])
    print_ratio("covisits_million_pairs_a_second", grouped.pairs() / cpu / 1e6, 80)


def require_same(results: dict[str, tuple[int, ...]]) -> None:
    """Stop if the sides do not give the same edges."""
    if len(set(results.values())) != 1:
        raise SystemExit(f"the sides give different edges: {results}")


def fingerprint(
    low: np.ndarray, high: np.ndarray, weight: np.ndarray, users: np.ndarray
) -> tuple[int, ...]:
    """Sum up edges so that two sides can be compared; ``low`` and ``high`` are cells.

    Returns:
        Their number, weight, users, and the same weighted by where they are.
    """
    low, high = ((cell - np.uint64(FIRST_CELL)) >> np.uint64(8) for cell in (low, high))
    sums = (weight, users, low * weight.astype(np.uint64), high * users.astype("u8"))
    return len(low), *(int(values.sum(dtype=np.uint64)) for values in sums)


def group(visits: Visits) -> UserWeeks:
    """Let Mora group the visits, in batches as the pipeline reads them."""
    with tempfile.TemporaryDirectory() as folder:
        builder = UserWeekBuilder(Path(folder), memory_gb=MEMORY_GB)
        for first in range(0, len(visits[0]), BATCH):
            builder.add(*(column[first : first + BATCH] for column in visits))
        return builder.group()


def our_edges(visits: Visits) -> tuple[int, ...]:
    """Let Mora build the graph on disk."""
    grouped = group(visits)
    with tempfile.TemporaryDirectory() as folder:
        graph, kept, _ = build_covisit_graph(
            grouped, Path(folder), min_users=MIN_USERS, memory_gb=MEMORY_GB
        )
        cells = grouped.places[kept]
        weight = np.asarray(graph.weight)
        return fingerprint(
            cells[graph.rows()], cells[graph.neighbour], weight, graph.users
        )


def connect(visits: Visits) -> duckdb.DuckDBPyConnection:
    """Show the visits to DuckDB as the table ``t``."""
    database = duckdb.connect()
    database.execute(
        f"SET threads = {THREADS}; SET memory_limit = '{PEER_MEMORY}'; "
        f"SET temp_directory = '{tempfile.gettempdir()}/mora_duckdb'"
    )
    names = ("user", "week", "cell")
    columns = (visits[0], visits[1].astype(np.int32), visits[2])
    database.register("t", pa.table(dict(zip(names, columns, strict=True))))
    return database


def duckdb_edges(database: duckdb.DuckDBPyConnection) -> tuple[int, ...]:
    """Let DuckDB make the edges with one statement."""
    database.execute(EDGES)
    edges = database.execute("SELECT low, high, weight, users FROM edge").fetchnumpy()
    return fingerprint(*edges.values())


def scipy_edges(visits: Visits) -> tuple[int, ...]:
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
    sums = np.zeros(5, np.uint64)
    for low in range(0, len(cells), ROWS):
        high = min(low + ROWS, len(cells))
        sums += rows_of_edges(visited, was, first[low : high + 1], low, cells)
    return tuple(map(int, sums))


def rows_of_edges(
    visited: sp.csr_array,
    was: sp.csr_array,
    first: np.ndarray,
    low: int,
    cells: np.ndarray,
) -> np.ndarray:
    """Give the fingerprint of the edges of the places from ``low`` on."""
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
    ends = (cells[row], cells[users.indices[kept]])
    return np.array(fingerprint(*ends, weight.data[kept], users.data[kept]), np.uint64)


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
