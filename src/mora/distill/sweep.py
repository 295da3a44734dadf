"""Distilled encoders of several shapes or options, side by side."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean, stdev

from mora.config import TrainingConfig
from mora.distill.config import DISTILL_TRAINING, DistillConfig
from mora.distill.report import DistillReport
from mora.distill.training import distill
from mora.embeddings import Embeddings
from mora.errors import MoraError
from mora.progress import Progress, silent


@dataclass(frozen=True)
class SweepRow:
    """One variant on one kind of cells, over all seeds.

    Attributes:
        variant: its name.
        depth: number of hidden layers.
        width: of the hidden layers.
        parameters: weights and biases.
        cells: which were predicted: ``training``, ``random`` or ``blocked``.
        seeds: number of runs.
        r2: mean over the seeds.
        r2_std: deviation over the seeds; None for a single one.
        cosine: mean over the seeds.
        mse: mean over the seeds, in the vectors' own units.
        mse_std: deviation over the seeds; None for a single one.
        seconds: mean of what training took.
    """

    variant: str
    depth: int
    width: int
    parameters: int
    cells: str
    seeds: int
    r2: float
    r2_std: float | None
    cosine: float
    mse: float
    mse_std: float | None
    seconds: float


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found.

    Attributes:
        rows: one for each variant and kind of cells.
        epochs: the most that training could take.
        count: cells that were distilled.
    """

    rows: tuple[SweepRow, ...]
    epochs: int
    count: int

    def to_csv(self) -> str:
        """Write all rows as CSV."""
        text = io.StringIO()
        names = [field.name for field in fields(SweepRow)]
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in self.rows)
        return text.getvalue()

    def to_markdown(self) -> str:
        """Write one line a variant: fit to known cells, and error on held-out ones."""
        kinds = list(dict.fromkeys(row.cells for row in self.rows))
        heads = ["variant", "parameters", *(f"{k} R2" for k in kinds)]
        heads += [f"{k} MSE" for k in kinds] + ["seconds"]
        lines = [_line(heads), "|---|" + "---:|" * (len(heads) - 1)]
        for variant in dict.fromkeys(row.variant for row in self.rows):
            found = {row.cells: row for row in self.rows if row.variant == variant}
            first = found[kinds[0]]
            cells = [variant, f"{first.parameters:,}"]
            cells += [_spread(found[k].r2, found[k].r2_std, 3) for k in kinds]
            cells += [_spread(found[k].mse, found[k].mse_std, 4) for k in kinds]
            lines.append(_line([*cells, f"{first.seconds:.0f}"]))
        single = " A single seed is no result." if self.rows[0].seeds == 1 else ""
        note = (
            f"{self.count:,} cells, at most {self.epochs} epochs, "
            f"{self.rows[0].seeds} seeds, mean ± standard deviation.{single}"
        )
        return "\n".join([*lines, "", note]) + "\n"

    def write(self, folder: Path | str) -> list[Path]:
        """Write ``table.md`` and ``table.csv``; give their paths."""
        paths = [Path(folder) / "table.md", Path(folder) / "table.csv"]
        for path, text in zip(paths, (self.to_markdown(), self.to_csv()), strict=True):
            path.write_text(text)
        return paths


def depth_and_width(
    embeddings: Embeddings,
    folder: Path | str,
    *,
    depths: Sequence[int] = (2, 4, 8),
    widths: Sequence[int] = (128, 256, 512),
    config: DistillConfig | None = None,
    training: TrainingConfig = DISTILL_TRAINING,
    seeds: int = 3,
    progress: Progress = silent,
) -> SweepResult:
    """Distil into networks of several depths and widths; the paper says both help.

    Args:
        embeddings: what to distil.
        folder: for a folder of each run, and the tables.
        depths: numbers of hidden layers.
        widths: of the hidden layers.
        config: everything else.
        training: optimiser and epochs.
        seeds: runs of each shape, >= 1; a single one is no result.
        progress: told the runs done and all of them.

    Returns:
        Errors on cells that were seen and held out, parameters and seconds.
    """
    base = config or DistillConfig()
    variants = {
        f"{depth} x {width}": _changed(base, depth=depth, width=width)
        for depth in depths
        for width in widths
    }
    return compare(
        *(embeddings, variants, folder),
        training=training,
        seeds=seeds,
        progress=progress,
    )


def compare(
    embeddings: Embeddings,
    variants: Mapping[str, DistillConfig],
    folder: Path | str,
    *,
    training: TrainingConfig = DISTILL_TRAINING,
    seeds: int = 3,
    progress: Progress = silent,
) -> SweepResult:
    """Distil the same vectors in several ways; every run resumes where it stopped.

    Args:
        embeddings: what to distil.
        variants: settings by name; their seed is counted up from.
        folder: for a folder of each run, and the tables.
        training: optimiser and epochs.
        seeds: runs of each variant, >= 1.
        progress: told the runs done and all of them.

    Returns:
        One row for each variant and kind of cells.

    Raises:
        MoraError: if there is no variant or no seed.
    """
    if not variants or seeds < 1:
        raise MoraError(
            f"{len(variants)} variants and {seeds} seeds; expected at least one of "
            f"each."
        )
    folder, rows = Path(folder), []
    for place, (name, config) in enumerate(variants.items()):
        reports = []
        for seed in range(config.seed, config.seed + seeds):
            progress(place * seeds + len(reports), len(variants) * seeds)
            home = folder / f"{place}-seed{seed}"
            seeded = _changed(config, seed=seed)
            reports.append(distill(embeddings, seeded, training, home))
        rows += _rows(name, config, reports)
    progress(len(variants) * seeds, len(variants) * seeds)
    result = SweepResult(tuple(rows), training.epochs, len(embeddings))
    result.write(folder)
    return result


def _changed(config: DistillConfig, **changes: int) -> DistillConfig:
    """Change some settings, and check them."""
    return DistillConfig(**{**config.model_dump(), **changes})


def _rows(
    name: str, config: DistillConfig, reports: Sequence[DistillReport]
) -> list[SweepRow]:
    kinds = dict.fromkeys(score.cells for score in reports[0].scores)
    rows = []
    for cells in kinds:
        scores = [report.score_of(cells) for report in reports]
        r2, mse = [s.r2 for s in scores], [s.mse for s in scores]
        rows.append(
            SweepRow(
                name,
                config.depth,
                config.width,
                reports[0].parameters,
                cells,
                len(reports),
                mean(r2),
                _deviation(r2),
                mean(score.cosine for score in scores),
                mean(mse),
                _deviation(mse),
                mean(report.seconds for report in reports),
            )
        )
    return rows


def _deviation(values: Sequence[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None


def _spread(value: float, deviation: float | None, digits: int) -> str:
    spread = "" if deviation is None else f" ± {deviation:.{digits}f}"
    return f"{value:.{digits}f}{spread}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
