"""The fused vector beside what it is made of: ``python -m benchmarks.fused_study``.

Trains the default preset with several seeds, and scores its 128 numbers beside raw
features, baselines and vectors put together by hand: cells of the US (level 5) and
counties, on labels that nothing was chosen by; with few labels; where half of the
places lack a modality; in states that are left out of graph and training (both level
4); and, on the labels that it was chosen by, each of its sections. Resumable: runs and
scores stay below ``runs/fused``. Tables go to ``docs/study``.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.fused_tables import write_table
from benchmarks.learning import align_places, fuse_places, hide
from benchmarks.measure import shared_data
from mora.baselines import BaselineInput, find_baseline
from mora.benchmark import Report, ScoreFile, Task, evaluate
from mora.benchmark.protocols import Trial
from mora.config import RunConfig, load_config
from mora.experiments import make_experiment
from mora.fusion import fuse
from mora.fusion.section import leading
from mora.graph.storage import MobilityGraph
from mora.line import embed
from mora.pipeline import run
from mora.pipeline.display import Terminal
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import read_mobility
from mora.pipeline.models import baseline_input, run_features
from mora.pipeline.tasks import read_tasks

HOME = Path("runs/fused")
DEVELOPMENT = {  # what the design was chosen by
    "us_counties": ("unemployment",),
    "us_commute": ("income", "bachelors"),
    "us_commute_level4": ("income", "bachelors"),
}
HAND = ("raw", "flow_svd", "line", "volume", "line+volume", "geoclip", "lonlat")
FEW = [f"blocked@{percent}" for percent in (1, 5, 10, 50)]
STATES = 10  # left out together
MAIN = ("raw", "by hand", "geoclip")
FIRST = ("mora 0", "mora 1", "mora 2")  # seeds with few labels
Models = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Data:
    """A run that is done up to its features, and what is asked of it.

    Attributes:
        config: its configuration.
        folder: where it is kept.
        graph: its movement.
        given: what baselines are given.
        tasks: the reported labels.
    """

    config: RunConfig
    folder: Path
    graph: MobilityGraph
    given: BaselineInput
    tasks: list[Task]


def open_data(name: str, development: bool = False) -> Data:
    """Do a configuration's stages up to the features, and read what it has.

    Labels of coarser places are left out, and those that the design was chosen by; or
    all others, for ``development``.
    """
    config, folder = load_config(f"configs/{name}.yaml"), Path("runs") / name
    run(config, folder=folder, until="features", display=Terminal())
    context = RunContext(config, folder, Terminal())
    mobility = read_mobility(folder / "graph")
    given = baseline_input(context, mobility, HAND)
    tasks = [
        task
        for task in read_tasks(context, mobility)
        if task.leaky is None
        and task.pooling is None
        and (task.name in DEVELOPMENT[name]) == development
    ]
    return Data(config, folder, mobility.graph, given, tasks)


def seeds_of(data: Data, seeds: int) -> Models:
    """Train with each seed; give the exported and the aligned vectors."""
    models = {}
    for seed in range(seeds):
        folder = HOME / f"{data.config.name}-seed{seed}"
        config = load_config(data.config, {"seed": seed})
        run(config, folder=folder, until="embed", reuse=[data.folder])
        for name, stage in (("mora", "embed"), ("aligned alone", "train")):
            models[f"{name} {seed}"] = np.load(folder / stage / "vectors.npy")
    return models


def others(data: Data) -> Models:
    """Give what the vectors must beat."""
    given = data.given
    models = {name: find_baseline(name)(given) for name in HAND}
    features = given.require_features()
    raw = np.nan_to_num(models["raw"])
    models["raw + LINE + volume"] = np.hstack([models["raw"], models["line+volume"]])
    models["raw, 128 components"] = leading(raw, 128)
    return models | {"by hand": by_hand(data, features)}


def by_hand(data: Data, features: Mapping[str, np.ndarray]) -> np.ndarray:
    """Put 128 columns together: demographics, imagery, what was aligned, flows."""
    scaled = {name: _scaled(values) for name, values in features.items()}
    people = scaled["demographics"]
    people = leading(people, min(12, people.shape[1]))
    aligned = np.load(HOME / f"{data.config.name}-seed0" / "train" / "vectors.npy")
    both = find_baseline("flow_svd")(
        data.given, dim=20, power=1.0, scales=["log", "sqrt"]
    )
    parts = [leading(scaled["imagery"], 40), leading(aligned.astype(float), 56), both]
    return np.hstack([people, *parts])


def _scaled(values: np.ndarray) -> np.ndarray:
    values = values - np.nanmean(values, axis=0)
    spread = np.nanstd(values, axis=0)
    return np.nan_to_num(values / np.where(spread > 0, spread, 1))


def score(
    data: Data, models: Models, protocols: list[str], readouts: tuple[str, ...]
) -> Report:
    """Score models on the reported tasks; finished scores are kept."""
    HOME.mkdir(parents=True, exist_ok=True)
    file = ScoreFile(HOME / f"{data.config.name}-scores.jsonl")
    display = Terminal()
    with display.bar("Scoring", "scores") as progress:
        return evaluate(
            data.tasks,
            models,
            protocols=protocols,
            readouts=readouts,
            score_file=file,
            progress=lambda done, total, _: progress(done, total),
        )


def main_tables(name: str, seeds: int, output: Path) -> None:
    """Score all models under blocked splits, the main ones with others too."""
    data = open_data(name)
    models = seeds_of(data, seeds) | others(data)
    both, trees = ("lightgbm", "ridge"), ("lightgbm",)
    title = f"{name}: reported labels, blocked splits"
    write_table(
        output / f"fused-{name}.md", title, score(data, models, ["blocked"], both), both
    )
    main = {k: v for k, v in models.items() if k in MAIN or k.startswith("mora")}
    few = {k: v for k, v in main.items() if not k.startswith("mora") or k in FIRST}
    found = score(data, few, FEW, trees)
    write_table(output / f"fused-{name}-few.md", f"{name}: few labels", found, trees)
    found = score(data, main, ["random"], trees)
    write_table(output / f"fused-{name}-random.md", f"{name}: random", found, trees)


def missing(seeds: int, output: Path) -> None:
    """Hide each modality at half of the places, in training too."""
    data = open_data("us_commute_level4")
    features = run_features(RunContext(data.config, data.folder, Terminal()))
    heads = {name: m.head for name, m in data.config.modalities.items()}
    models: Models = {}
    for seed in range(seeds):
        line = embed(data.graph, "closed_form", dim=128, seed=seed)
        for name in features:
            drawn = np.random.default_rng([seed, len(name)]).random(len(line)) < 0.5
            rest = {**features, name: hide(features[name], drawn)}
            aligned = align_places(data.graph, line, rest, heads, seed=seed)
            fused = fuse_places(data.graph, aligned, rest, seed=seed)
            models[f"mora, half without {name} {seed}"] = fused
            gaps = [
                np.where(np.asarray(f.present)[:, None], f.values, np.nan)
                for f in rest.values()
            ]
            models[f"raw, half without {name} {seed}"] = np.hstack(gaps)
    models["raw"] = find_baseline("raw")(data.given)
    found = score(data, models, ["blocked"], ("lightgbm",))
    title = "Half of the places lack one modality (level 4)"
    hidden = [f"half without {name}" for name in features]
    pairs = tuple((f"mora, {half}", f"raw, {half}") for half in hidden)
    write_table(output / "fused-missing.md", title, found, ("lightgbm",), pairs=pairs)


def left_out(seeds: int, output: Path) -> None:
    """Take whole states out of graph and training; score in them alone."""
    data = open_data("us_commute_level4")
    features = run_features(RunContext(data.config, data.folder, Terminal()))
    heads = {name: m.head for name, m in data.config.modalities.items()}
    regions = data.tasks[0].regions
    if regions is None:
        raise SystemExit("the run has no states to leave out.")
    models, trials = {}, {t.name: {"states": []} for t in data.tasks}
    known = np.unique(regions[regions >= 0])
    for seed in range(seeds):
        out = np.isin(
            regions, np.random.default_rng(seed).choice(known, STATES, replace=False)
        )
        rows = data.graph.rows()
        kept = data.graph.select(~(out[rows] | out[data.graph.neighbour]))
        cut = MobilityGraph(
            *(getattr(kept, k) for k in ("indptr", "neighbour", "weight", "users")),
            *(np.where(out, 0, np.asarray(getattr(kept, k))) for k in TOTALS),
        )
        line = embed(cut, "closed_form", dim=128, seed=seed)
        seen = {name: hide(f, out) for name, f in features.items()}
        aligned = align_places(cut, line, seen, heads, seed=seed)
        models[f"mora {seed}"] = fuse_places(cut, aligned, features, seed=seed)
        for task in data.tasks:
            inside = out[task.units()]
            split = (np.flatnonzero(~inside), np.flatnonzero(inside))
            trials[task.name]["states"].append(Trial((split,), others=len(split[0])))
    models |= {k: find_baseline(k)(data.given) for k in ("raw", "harmonics", "line")}
    readouts = ("lightgbm", "ridge")
    found = evaluate(data.tasks, models, trials=trials, readouts=readouts)
    title = f"{STATES} states left out of graph and training, scored in them (level 4)"
    note = "Vectors of a draw are scored on its states; LINE alone has seen them."
    write_table(output / "fused-states.md", title, found, readouts, note, paired=True)


def sections(seeds: int, output: Path) -> None:
    """Leave each section out, and export it alone; development labels only."""
    data = open_data("us_commute_level4", development=True)
    seeds_of(data, seeds)
    features = run_features(RunContext(data.config, data.folder, Terminal()))
    experiment = make_experiment("fused", data.config, data.folder)
    models: Models = {}
    for variant in experiment.variants:
        export = load_config(data.config, variant.changes).export
        for seed in range(seeds):
            folder = HOME / f"{data.config.name}-seed{seed}"
            aligned = np.load(folder / "train" / "vectors.npy")
            if export.kind == "fused":
                aligned = fuse(
                    data.graph, aligned, features, export, dim=128, seed=seed
                ).vectors
            models[f"{variant.name} {seed}"] = aligned
    models["raw"] = find_baseline("raw")(data.given)
    both = ("lightgbm", "ridge")
    found = score(data, models, ["blocked"], both)
    title = "Each section left out and alone (level 4, development labels)"
    write_table(output / "fused-sections.md", title, found, both)


TOTALS = ("within", "outflow", "inflow")
STEPS: dict[str, Callable[[int, Path], None]] = {
    "sections": sections,
    "counties": lambda seeds, output: main_tables("us_counties", seeds, output),
    "missing": missing,
    "states": left_out,
    "cells": lambda seeds, output: main_tables("us_commute", seeds, output),
}


def main() -> None:
    """Do all steps, or those that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("steps", nargs="*", help=f"of {', '.join(STEPS)}")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("docs/study"))
    chosen = parser.parse_args()
    if shared_data("us_commute") is None:
        raise SystemExit("no data set us_commute; set MORA_SHARED to its folder.")
    for name in chosen.steps or STEPS:
        print(f"== {name}", flush=True)
        STEPS[name](chosen.seeds, chosen.output)


if __name__ == "__main__":
    main()
