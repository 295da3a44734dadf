"""The city protocol: check-ins and crime of 180 regions of Manhattan, read by Ridge.

``python -m benchmarks.manhattan180 [--quick] [--seeds N] [--output FOLDER]``

As in the released code of HREP: Ridge with alpha 1 on the vectors as they come, five
folds in the order of the regions, R2 of all predictions together. Beside it ten folds,
as HAFusion has, and five folds of whole squares of 0.02 degrees. HREP's code also sets
predictions below 0 to 0, which ``results.csv`` has as "clipped". Nothing is chosen by a
score: every method has its default settings. Finished runs stay in ``runs.jsonl``; a
run that was stopped goes on from there.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.manhattan_city import BLOCKS, LABELS, mora_vectors, read_city
from benchmarks.measure import shared_data
from mora.baselines import BASELINES, BaselineInput
from mora.benchmark.splits import block_folds
from mora.errors import MoraError

FOLDS = 5
SQUARE = 0.02  # degrees; 31 squares hold regions
KINDS = ("", " 10-fold", " blocked")  # columns of the table, for each label
QUICK: dict[str, dict[str, Any]] = {
    "hrep": {"epochs": 100},
    "recp": {"steps": 100},
    "mora": {"epochs": 20},
}
# The range that is reported for these regions and labels.
PUBLISHED = {"hrep": {"check-in": "0.70-0.75", "crime": "0.64-0.69"}}
PUBLISHED_SOURCE = (
    "hrep: Zhou et al. 2023, Heterogeneous Region Embedding (AAAI 37). HAFusion (Sun "
    "et al. 2024, ICDE) reports 0.84 and 0.73 in ten folds"
)
UNLEARNED = ("input", "analytical")

Embed = Callable[[BaselineInput], np.ndarray]


@dataclass(frozen=True)
class Method:
    """A way to make vectors of the regions.

    Attributes:
        name: row of the table.
        group: what kind it is, as of a baseline.
        embed: input to vectors.
        options: what differs from the defaults.
    """

    name: str
    group: str
    embed: Embed
    options: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One method with one seed.

    Attributes:
        method: its name.
        group: its kind.
        options: what differed from the defaults, as JSON.
        seed: of everything that it drew.
        dim: columns of the vectors.
        seconds: on the clock.
        scores: R2 by column of the table; empty if it could not run.
        reason: why it could not run.
    """

    method: str
    group: str
    options: str
    seed: int
    dim: int = 0
    seconds: float = 0.0
    scores: dict[str, float] | None = None
    reason: str = ""

    @property
    def key(self) -> tuple[str, str, int]:
        """Tell which work it is the result of."""
        return self.method, self.options, self.seed


def trip_totals(given: BaselineInput) -> np.ndarray:
    """Give trips out of and into each region, as they come."""
    volume = given.require_volume()
    return np.column_stack([volume.outflow, volume.inflow])


def list_methods(quick: bool = False) -> Iterator[Method]:
    """List what is compared: totals, blocks of features, all baselines, and Mora."""
    yield Method("trip totals", "input", trip_totals, {})
    for name in BLOCKS:
        yield Method(f"{name} as it comes", "input", partial(_block, name), {})
    for name, chosen in BASELINES.items():
        options = QUICK.get(name, {}) if quick else {}
        yield Method(name, chosen.group, partial(chosen, **options), options)
    both: dict[str, Any] = {"power": 1.0, "scales": ["log", "sqrt"]}
    svd = partial(BASELINES["flow_svd"], **both)
    yield Method("flow_svd, log and sqrt", "analytical", svd, both)
    options = QUICK["mora"] if quick else {}
    yield Method("mora", "ours", partial(mora_vectors, **options), options)
    options = {**options, "export": "anchor"}
    name = "mora, aligned vector alone"
    yield Method(name, "ours", partial(mora_vectors, **options), options)


def _block(name: str, given: BaselineInput) -> np.ndarray:
    return given.require_features()[name]


def city_scores(
    vectors: np.ndarray, labels: dict[str, np.ndarray], lonlat: np.ndarray
) -> dict[str, float]:
    """Give the R2 of each label under each way of dividing the regions.

    Args:
        vectors: of the regions.
        labels: by name.
        lonlat: centroids, which blocks are made of.
    """
    from sklearn.linear_model import Ridge
    from sklearn.metrics import r2_score
    from sklearn.model_selection import KFold, cross_val_predict

    def predict(truth: np.ndarray, cv: Any) -> np.ndarray:
        return cross_val_predict(Ridge(alpha=1.0), vectors, truth, cv=cv)

    _, squares = np.unique(np.floor(lonlat / SQUARE), axis=0, return_inverse=True)
    blocked = block_folds(squares.ravel(), FOLDS)
    scores = {}
    for name, truth in labels.items():
        predicted, log = predict(truth, KFold(FOLDS)), np.log1p(truth)
        scores[name] = r2_score(truth, predicted)
        scores[f"{name} 10-fold"] = r2_score(truth, predict(truth, KFold(10)))
        scores[f"{name} blocked"] = r2_score(truth, predict(truth, blocked))
        scores[f"{name} clipped"] = r2_score(truth, np.maximum(predicted, 0))
        scores[f"{name} log1p"] = r2_score(log, predict(log, KFold(FOLDS)))
    return {name: float(score) for name, score in scores.items()}


def run_once(
    method: Method, given: BaselineInput, labels: dict[str, np.ndarray]
) -> Run:
    """Embed and score; a method that lacks what it needs gives the reason."""
    options = json.dumps(method.options, sort_keys=True)
    begun = Run(method.name, method.group, options, given.seed)
    clock = time.perf_counter()
    try:
        vectors = method.embed(given)
    except MoraError as reason:
        return replace(begun, reason=str(reason))
    seconds = time.perf_counter() - clock
    scores = city_scores(vectors.astype(np.float64), labels, given.lonlat)
    return replace(begun, dim=vectors.shape[1], seconds=seconds, scores=scores)


def read_runs(file: Path) -> dict[tuple[str, str, int], Run]:
    """Read the finished runs; a last line that a kill cut short is dropped."""
    if not file.exists():
        return {}
    lines = file.read_text().split("\n")
    file.write_text("".join(f"{line}\n" for line in lines[:-1]))
    runs = [Run(**json.loads(line)) for line in lines[:-1]]
    return {run.key: run for run in runs}


def run_all(
    file: Path, seeds: int, output: Path, methods: list[Method]
) -> dict[str, list[Run]]:
    """Do what is not done yet; give the runs of each method."""
    output.mkdir(parents=True, exist_ok=True)
    done_file = output / "runs.jsonl"
    done = read_runs(done_file)
    runs: dict[str, list[Run]] = {method.name: [] for method in methods}
    for seed in range(seeds):
        given, labels = read_city(file, seed)
        for method in methods:
            key = method.name, json.dumps(method.options, sort_keys=True), seed
            run = done.get(key)
            if run is None:
                run = run_once(method, given, labels)
                outcome = run.reason or f"{run.seconds:.1f} s"
                print(f"seed {seed}, {method.name}: {outcome}", flush=True)
                if run.scores:  # what lacked something is tried again next time
                    with done_file.open("a") as lines:
                        lines.write(json.dumps(asdict(run)) + "\n")
            runs[method.name].append(run)
    return runs


def summarise(runs: dict[str, list[Run]]) -> pd.DataFrame:
    """Give mean and sample deviation over seeds, the best mean of the labels first."""
    rows = []
    for name, of_method in runs.items():
        scored = [run for run in of_method if run.scores]
        first = of_method[0]
        row = {"method": name, "group": first.group, "seeds": len(scored)}
        row |= {"dim": first.dim, "reason": first.reason}
        if scored:
            table = pd.DataFrame([run.scores for run in scored])
            spread = table.std(ddof=1) if len(scored) > 1 else table.mean() * np.nan
            row |= table.mean().to_dict() | spread.add_suffix(" std").to_dict()
        rows.append(row)
    summary = pd.DataFrame(rows)
    order = summary.reindex(columns=[*LABELS]).mean(axis=1)
    return summary.loc[order.sort_values(ascending=False, kind="stable").index]


def winners(summary: pd.DataFrame) -> list[str]:
    """Say what has the best score of each label, and whether it learned anything."""
    lines = []
    for label in LABELS:
        best = summary.loc[summary[label].idxmax()]
        trivial = "; it learns nothing" if best["group"] in UNLEARNED else ""
        lines.append(
            f"Best on {label}: {best['method']}, R2 {best[label]:.3f}{trivial}."
        )
    return lines


def to_markdown(summary: pd.DataFrame, quick: bool) -> str:
    """Write the winners, the table and the reasons of what is not in it."""
    columns = [f"{label}{kind}" for kind in KINDS for label in LABELS]
    published = [f"{label} published" for label in LABELS]
    lines = ["# Manhattan, 180 regions", "", *winners(summary), ""]
    if quick:
        lines += [f"Quick, with less training than published: {QUICK}.", ""]
    head = ["method", "dim", "seeds", *columns, *published]
    lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in summary[summary["seeds"] > 0].to_dict("records"):
        cells = [row["method"], str(row["dim"]), str(row["seeds"])]
        cells += [_with_spread(row[name], row[f"{name} std"]) for name in columns]
        known = PUBLISHED.get(row["method"], {})
        cells += [known.get(label, "") for label in LABELS]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"Mean ± deviation over seeds. Published: {PUBLISHED_SOURCE}.", ""]
    left_out = summary[summary["seeds"] == 0]
    lines += [f"- {r.method}: {r.reason}" for r in left_out.itertuples()]
    return "\n".join(lines).rstrip() + "\n"


def _with_spread(mean: float, spread: float) -> str:
    return f"{mean:.3f}" if np.isnan(spread) else f"{mean:.3f} ± {spread:.3f}"


def write_results(summary: pd.DataFrame, text: str, output: Path) -> None:
    """Write ``results.json``, ``results.csv`` and ``results.md``."""
    summary.to_json(output / "results.json", orient="records", indent=1)
    summary.to_csv(output / "results.csv", index=False)
    (output / "results.md").write_text(text, encoding="utf-8")


def run_study(output: Path, seeds: int, quick: bool = False) -> str:
    """Score every method on the city, or go on with what was stopped.

    Args:
        output: where runs and tables are kept.
        seeds: runs of each method that draws by chance.
        quick: train for a moment only.

    Returns:
        The table in Markdown.
    """
    folder = shared_data("manhattan180")
    if folder is None:
        sys.exit("no data set manhattan180; set MORA_SHARED to the folder above data/.")
    methods = list(list_methods(quick))
    summary = summarise(run_all(folder / "regions.npz", seeds, output, methods))
    text = to_markdown(summary, quick)
    write_results(summary, text, output)
    return text


def main() -> None:
    """Score every method on the city."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few epochs, one seed")
    parser.add_argument("--seeds", type=int, help="5, or 1 with --quick")
    parser.add_argument("--output", type=Path, default=Path("runs/manhattan180"))
    chosen = parser.parse_args()
    seeds = chosen.seeds or (1 if chosen.quick else 5)
    print(f"\n{run_study(chosen.output, seeds, chosen.quick)}\nwrote {chosen.output}")


if __name__ == "__main__":
    main()
