"""How near a distilled encoder comes to the vectors it stands in for."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

REPORT = "report.json"
NETWORK = "distilled encoder"  # beside the trivial methods


@dataclass(frozen=True)
class Score:
    """How near predicted vectors are to those of some cells.

    Attributes:
        method: what predicted them.
        cells: which cells: ``training``, ``validation``, ``random``, ``blocked`` or
            ``all``.
        count: number of the cells.
        r2: part of the variance of all dimensions together that is explained; at
            most 1, and 0 for the cells' own mean.
        cosine: mean cosine.
        mse: mean squared error of a number, in the vectors' own units.
    """

    method: str
    cells: str
    count: int
    r2: float
    cosine: float
    mse: float


def score(
    method: str,
    cells: str,
    predicted: Float[np.ndarray, "n dim"],
    vectors: Float[np.ndarray, "n dim"],
) -> Score:
    """Compare predicted vectors with the true ones; every cell counts alike.

    Args:
        method: what predicted them.
        cells: what the cells are called.
        predicted: one row a cell.
        vectors: the true ones.

    Returns:
        The score; ``r2`` is NaN where all vectors are the same.
    """
    errors = ((predicted - vectors) ** 2).sum(dtype=np.float64)
    variance = ((vectors - vectors.mean(axis=0)) ** 2).sum(dtype=np.float64)
    lengths = np.linalg.norm(predicted, axis=1) * np.linalg.norm(vectors, axis=1)
    cosines = (predicted * vectors).sum(axis=1) / np.maximum(lengths, 1e-12)
    return Score(
        method,
        cells,
        len(vectors),
        float(1 - errors / variance) if variance > 0 else float("nan"),
        float(cosines.mean()),
        float(errors / vectors.size),
    )


@dataclass(frozen=True)
class DistillReport:
    """What a distillation found.

    Attributes:
        scores: of the network and of the trivial methods, by kind of cells.
        training_loss: mean squared error on the training cells, in the vectors' own
            units (the paper reports 0.0857 for its own).
        epochs: that were trained.
        best_epoch: whose weights are kept, by the loss on validation cells.
        parameters: weights and biases of the network.
        seconds: that this call took; less where it went on from a checkpoint.
        settings: of the network and its training.
    """

    scores: tuple[Score, ...]
    training_loss: float
    epochs: int
    best_epoch: int
    parameters: int
    seconds: float
    settings: Mapping[str, Any]

    def score_of(self, cells: str, method: str = NETWORK) -> Score:
        """Give one score.

        Raises:
            KeyError: if there is none.
        """
        for one in self.scores:
            if (one.cells, one.method) == (cells, method):
                return one
        raise KeyError((cells, method))

    def to_markdown(self) -> str:
        """Write the scores as a table, with what must be known to read them."""
        lines = [
            "| cells | method | n | R2 | cosine | MSE |",
            "|---|---|---:|---:|---:|---:|",
        ]
        lines += [
            f"| {s.cells} | {s.method} | {s.count:,} | {s.r2:.3f} | {s.cosine:.3f} | "
            f"{s.mse:.4f} |"
            for s in self.scores
        ]
        return "\n".join(
            [
                "## How near it comes to the vectors it was distilled from",
                "",
                *lines,
                "",
                f"Best epoch {self.best_epoch} of {self.epochs}, "
                f"{self.seconds:.0f} s, {self.parameters:,} parameters. Test cells "
                f"(random, blocked) chose nothing; blocked ones lie in whole blocks "
                f"that the network never saw.",
            ]
        )

    def write(self, folder: Path) -> None:
        """Write ``report.json``."""
        (folder / REPORT).write_text(json.dumps(asdict(self), indent=1) + "\n")
