"""Closed-form LINE on graphs that do not fit into memory, at any size.

``python -m benchmarks.line_scale`` embeds 200,000 places and 100 million edges.
``python -m benchmarks.line_scale --edges 1_200_000_000 --folder DISK`` is the paper's
scale: about 7.3 GB on the disk, and an hour of two cores.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
from rich.progress import Progress

from benchmarks.links import DIM
from benchmarks.measure import Cost, measure, print_ratio
from mora.graph.storage import MobilityGraph, read_graph
from mora.graph.synthetic import build_gravity_graph, make_country
from mora.line.closed_form import closed_form

PAPER_EDGES = 1_200_000_000
PASSES = 5
MEMORY_GOAL_GB = 3.0


def main() -> None:
    """Make the graph or open the one that is there, embed it, project to the paper."""
    options = read_options()
    folder = options.folder or Path(tempfile.mkdtemp())
    try:
        graph = prepare(options.places, options.edges, folder)
        vectors, cost = embed(graph)
        if np.isnan(vectors).any() or not vectors.any(axis=0).all():
            raise SystemExit("some vectors are empty or not numbers")
        print_scale(graph, folder, cost)
    finally:
        if options.folder is None:
            shutil.rmtree(folder)
    print_ratio("line_scale_memory", MEMORY_GOAL_GB * 1_000 / cost.peak_mb, 1.0)


def read_options() -> argparse.Namespace:
    """Read size and place of the graph."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 million edges")
    parser.add_argument("--places", type=int)
    parser.add_argument("--edges", type=int)
    parser.add_argument("--folder", type=Path, help="kept; used again if it is there")
    options = parser.parse_args()
    places, edges = (20_000, 2_000_000) if options.quick else (200_000, 100_000_000)
    options.places, options.edges = options.places or places, options.edges or edges
    return options


def prepare(places: int, edges: int, folder: Path) -> MobilityGraph:
    """Open the graph in the folder, or draw one there."""
    if (folder / "indptr.npy").exists():
        return read_graph(folder)
    with Progress() as bar:
        task = bar.add_task("Drawing the graph", total=places)
        graph, cost = measure(
            lambda: build_gravity_graph(
                make_country(places),
                edges,
                folder,
                progress=lambda done, _: bar.update(task, completed=done),
            )
        )
    print(f"drawn in {cost.cpu:.0f} CPU s, {cost.peak_mb:.0f} MB")
    return graph


def embed(graph: MobilityGraph) -> tuple[np.ndarray, Cost]:
    """Embed with a bar; the first, small call compiles."""
    with tempfile.TemporaryDirectory() as small:
        closed_form(build_gravity_graph(make_country(100), 500, Path(small)), dim=DIM)
    with Progress() as bar:
        task = bar.add_task("LINE", total=None)
        return measure(
            lambda: closed_form(
                graph,
                dim=DIM,
                progress=lambda done, total: bar.update(
                    task, completed=done, total=total
                ),
            )
        )


def print_scale(graph: MobilityGraph, folder: Path, cost: Cost) -> None:
    """Print what was measured, and the paper's scale from it."""
    size = sum(file.stat().st_size for file in folder.glob("*.npy"))
    factor = PAPER_EDGES / graph.edges
    print("\n| | measured | projected |\n|---|---|---|")
    print(f"| places | {len(graph):,} | 200,000 |")
    print(f"| edges | {graph.edges:,} | {PAPER_EDGES:,} |")
    print(f"| on disk, GB | {size / 1e9:.2f} | {size / 1e9 * factor:.1f} |")
    print(f"| passes | {PASSES} | {PASSES} |")
    one_pass = cost.cpu / PASSES
    print(f"| CPU s a pass | {one_pass:.1f} | {one_pass * factor:.0f} |")
    print(f"| CPU s | {cost.cpu:.0f} | {cost.cpu * factor:.0f} |")
    print(f"| seconds | {cost.seconds:.0f} | {cost.seconds * factor:.0f} |")
    print(f"| peak memory, GB | {cost.peak_mb / 1e3:.2f} | pages of the file aside |\n")


if __name__ == "__main__":
    main()
