"""Tables of models that were trained with several seeds, beside those that were not."""

from pathlib import Path

import numpy as np

from mora.benchmark import Report, compare_scores


def by_model(report: Report, readout: str, protocol: str) -> dict[str, np.ndarray]:
    """Gather R2 of each model: an array of seeds, tasks and splits.

    Models whose names end in a number are seeds of one model.
    """
    found: dict[str, list[np.ndarray]] = {}
    for name in report.models:
        bare, _, last = name.rpartition(" ")
        own = bare if last.isdigit() else name
        found.setdefault(own, []).append(report.table(name, readout, protocol))
    return {name: np.stack(tables) for name, tables in found.items()}


def write_table(
    path: Path,
    title: str,
    report: Report,
    readouts: tuple[str, ...],
    note: str = "",
    *,
    paired: bool = False,
    pairs: tuple[tuple[str, str], ...] = (),
) -> None:
    """Write mean R2 of every model, and how far the first is ahead of each.

    Args:
        path: Markdown file.
        title: its heading.
        report: the scores.
        readouts: which to show.
        note: said below.
        paired: seed number n is scored on split number n alone.
        pairs: models to be compared with each other, the first protocol alone.
    """
    tasks = list(report.scores)
    lines = [f"# {title}", ""]
    for readout in readouts:
        for protocol in report.protocols:
            lines += _one_table(report, tasks, readout, protocol, paired)
    lines += [
        "Mean over splits and seeds; ± is the deviation over seeds. `ahead` is how far",
        "the first model is ahead on the same splits, with its standard error (Nadeau",
        "and Bengio 2003).",
    ]
    if pairs:
        lines += ["", *_pairs(report, readouts[0], pairs)]
    if note:
        lines += ["", note]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines), f"\nwrote {path}", flush=True)


def _one_table(
    report: Report, tasks: list[str], readout: str, protocol: str, paired: bool
) -> list[str]:
    models = by_model(report, readout, protocol)
    if paired:  # of each seed its own split
        models = {n: _own_split(s, report.trials(protocol)) for n, s in models.items()}
    first = next(iter(models))
    ratio = float(np.mean([report.test_ratio[task][protocol] for task in tasks]))
    lines = [f"**{readout}, {protocol}**", ""]
    lines += [f"| model | dim | {' | '.join(tasks)} | mean | ahead |"]
    lines += ["|---|---:|" + "---:|" * (len(tasks) + 2)]
    dims = {name.rpartition(" ")[0]: dim for name, dim in report.dims.items()}
    dims |= report.dims
    order = sorted(models, key=lambda name: -models[name].mean())
    for name in order:
        scores = models[name]
        by_seed = scores.mean(axis=(1, 2))
        spread = f" ± {by_seed.std(ddof=1):.3f}" if len(by_seed) > 1 else ""
        cells = [f"{value:.3f}" for value in scores.mean(axis=(0, 2))]
        ahead = ""
        if name != first:
            found = compare_scores(
                models[first].mean(axis=0), scores.mean(axis=0), ratio
            )
            ahead = f"{found.difference:+.3f} ± {found.standard_error:.3f}"
        shown = f"**{name}**" if name == first else name
        mean = f"{by_seed.mean():.3f}{spread}"
        row = [shown, str(dims.get(name, "")), *cells, mean, ahead]
        lines.append(f"| {' | '.join(row)} |")
    return [*lines, ""]


def _pairs(
    report: Report, readout: str, pairs: tuple[tuple[str, str], ...]
) -> list[str]:
    """Say how far the first of each pair is ahead of the second."""
    protocol = report.protocols[0]
    models = by_model(report, readout, protocol)
    ratio = float(
        np.mean([of_task[protocol] for of_task in report.test_ratio.values()])
    )
    lines = []
    for one, other in pairs:
        sides = (models[name].mean(axis=0) for name in (one, other))
        found = compare_scores(*sides, ratio)
        lines.append(
            f"- {one} - {other}: {found.difference:+.3f} ± {found.standard_error:.3f}"
        )
    return lines


def _own_split(scores: np.ndarray, splits: int) -> np.ndarray:
    """Take of seed n split n; of a model without seeds all splits."""
    if len(scores) == 1:
        return scores
    return np.stack([scores[n, :, n] for n in range(splits)], axis=-1)[None]
