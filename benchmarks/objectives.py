"""Training objectives on equal terms: `python -m benchmarks.objectives`, resumable.

Each objective alone, all together, and all but one, on the same graph, pre-encoding and
features, with the same epochs. What is scored is the trained vector by itself, on two
tasks of development (income and bachelors of cells, blocked splits); no other label is
read. A finished run is a line of `runs/objectives/results.jsonl`; stop it at any time
and start the same command again. It needs the data sets that docs/results.md names.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.labels import own_labels
from benchmarks.measure import shared_data
from mora.benchmark import compare_scores, evaluate
from mora.config import RunConfig, load_config
from mora.experiments import Variant
from mora.pipeline import run
from mora.pipeline.evaluation import chosen_readouts
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import read_mobility
from mora.pipeline.tasks import read_tasks

CONFIG = "configs/us_commute_level4.yaml"
TASKS = ("income", "bachelors")
QUICK_EPOCHS = 5
REFERENCE = "contrastive"
# Weights of the objectives together: each begins at about 7.5, the size of the
# contrastive loss (the others: 1, 102, 129, 41 and 1). Set from losses before the first
# step, seed 0; no label was seen.
TOGETHER = {
    "contrastive": 1.0,
    "masked": 7.5,
    "vicreg": 0.075,
    "barlow": 0.06,
    "flow": 0.18,
    "neighbours": 7.5,
}


def main() -> None:
    """Do the runs that are missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, five epochs")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", help="names of variants")
    parser.add_argument("--base", type=Path, default=Path("runs/us_commute_level4"))
    parser.add_argument("--output", type=Path, default=Path("runs/objectives"))
    given = parser.parse_args()
    known = [variant.name for variant in variants()]
    unknown = [name for name in given.only or [] if name not in known]
    if unknown:
        parser.error(
            f"no variant {', '.join(unknown)}; expected some of {', '.join(known)}"
        )
    if shared_data("us_commute") is None:
        raise SystemExit("The runs need data that is not here; see docs/results.md.")
    chosen = [v for v in variants() if v.name in (given.only or known)]
    home = given.output / "quick" if given.quick else given.output
    home.mkdir(parents=True, exist_ok=True)
    results = home / "results.jsonl"
    done = {(one["variant"], one["seed"]) for one in read(results)}
    for seed in range(1 if given.quick else given.seeds):
        for variant in chosen:
            if (variant.name, seed) in done:
                continue
            found = one_run(variant, seed, home, given.base, given.quick)
            with results.open("a") as file:
                file.write(json.dumps(found) + "\n")
            print(f"{variant.name}, seed {seed}: {found['cpu_seconds']} s", flush=True)
    text = table(read(results))
    (home / "table.md").write_text(text)
    print(text)


def variants() -> list[Variant]:
    """List what is compared, the reference first."""
    off = {name: {"weight": 0.0} for name in TOGETHER}
    every = {name: {"weight": weight} for name, weight in TOGETHER.items()}
    options = {
        "contrastive, learned temperature": {"temperature": "learned"},
        "contrastive, false negatives 0.95": {"false_negatives": 0.95},
    }
    chosen = {name: off | {name: {"weight": 1.0}} for name in TOGETHER}
    chosen |= {name: {REFERENCE: changed} for name, changed in options.items()}
    chosen |= {"all": every}
    chosen |= {f"all but {name}": every | {name: off[name]} for name in TOGETHER}
    return [Variant(name, {"objectives": change}) for name, change in chosen.items()]


def settings_of(variant: Variant, seed: int, quick: bool) -> RunConfig:
    """Give the configuration of a run: its objectives, and labels of two tasks."""
    labels = [own_labels(CONFIG, TASKS)]
    scored = {"labels": labels, "protocols": ["blocked"]}
    changes: dict[str, Any] = {"seed": seed, "evaluation": scored, **variant.changes}
    if quick:
        changes["training"] = {"epochs": QUICK_EPOCHS}
    return load_config(CONFIG, changes)


def one_run(
    variant: Variant, seed: int, home: Path, base: Path, quick: bool
) -> dict[str, Any]:
    """Train one variant with one seed, and score its vectors."""
    config = settings_of(variant, seed, quick)
    folder = home / variant.folder / f"seed{seed}"
    finished = base / "experiments" / "ablation" / "MoRA" / f"seed{seed}"
    own = [home / REFERENCE / f"seed{number}" for number in (seed, 0)]
    reuse = (base, finished, *own)
    run(config, folder=folder, until="features", reuse=reuse)
    new, begun = not (folder / "train" / "manifest.json").exists(), time.process_time()
    run(config, folder=folder, until="train")
    cpu = round(time.process_time() - begun, 1) if new else None
    manifest = json.loads((folder / "train" / "manifest.json").read_text())
    context = RunContext(config, folder)
    report = evaluate(
        list(read_tasks(context, read_mobility(folder / "graph"))),
        {"mora": np.load(folder / "train" / "vectors.npy", allow_pickle=False)},
        protocols=config.evaluation.protocols,
        repeats=config.evaluation.splits,
        seed=config.evaluation.seed,
        readouts=chosen_readouts(config.evaluation),
    )
    return {
        "variant": variant.name,
        "seed": seed,
        "cpu_seconds": cpu,
        "epochs": manifest["facts"]["epochs"],
        "best_validation_loss": manifest["facts"]["best_validation_loss"],
        "test_ratio": np.mean([report.test_ratio[t]["blocked"] for t in TASKS]),
        "r2": {
            readout: [list(report.scores[t]["mora"][readout]["blocked"]) for t in TASKS]
            for readout in report.readouts
        },
    }


def read(results: Path) -> list[dict[str, Any]]:
    """Give the finished runs."""
    lines = results.read_text().splitlines() if results.exists() else []
    return [json.loads(line) for line in lines]


def table(runs: list[dict[str, Any]]) -> str:
    """Write R2, mean ± deviation over seeds, and the difference to the reference.

    Differences are paired by seed, task and split, ± the standard error of Nadeau and
    Bengio (2003) over splits.
    """
    by_name: dict[str, dict[int, dict[str, Any]]] = {}
    for one in runs:
        by_name.setdefault(one["variant"], {})[one["seed"]] = one
    readouts = list(runs[0]["r2"])
    header = [f"{readout} | difference" for readout in readouts]
    lines = [
        f"| variant | seeds | {' | '.join(header)} | epochs | CPU s |",
        "|---|" + "---:|" * (2 * len(readouts) + 3),
    ]
    for name, found in by_name.items():
        cells = [name, str(len(found))]
        for readout in readouts:
            cells += [_score(found, readout)]
            cells += [_difference(found, by_name.get(REFERENCE, {}), readout)]
        seconds = [r["cpu_seconds"] for r in found.values() if r["cpu_seconds"]]
        cells += [f"{np.mean([r['epochs'] for r in found.values()]):.0f}"]
        cells += [f"{np.mean(seconds):.0f}" if seconds else ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _score(found: dict[int, dict[str, Any]], readout: str) -> str:
    means = [np.mean(one["r2"][readout]) for one in found.values()]
    spread = f" ± {np.std(means, ddof=1):.3f}" if len(means) > 1 else ""
    return f"{np.mean(means):.3f}{spread}"


def _difference(
    found: dict[int, dict[str, Any]], reference: dict[int, dict[str, Any]], readout: str
) -> str:
    seeds = sorted(found.keys() & reference.keys())
    if not seeds or found is reference:
        return ""
    sides = [
        np.mean([side[seed]["r2"][readout] for seed in seeds], axis=0)
        for side in (found, reference)
    ]
    compared = compare_scores(sides[0], sides[1], found[seeds[0]]["test_ratio"])
    return f"{compared.difference:+.3f} ± {compared.standard_error:.3f}"


if __name__ == "__main__":
    main()
