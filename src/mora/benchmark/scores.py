"""One score, and the file that keeps finished ones through a kill."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from mora.errors import MoraError


class ScoreKey(NamedTuple):
    """Which fit a score is of."""

    task: str
    model: str
    readout: str
    protocol: str
    split: int


class FoldScore(NamedTuple):
    """How well one named fold, such as a region, is predicted by itself.

    Attributes:
        units: number of units in it.
        r2: around the fold's own mean; None where its labels are all equal.
        rmse: root mean squared error, in units of the label.
    """

    units: int
    r2: float | None
    rmse: float


class Score(NamedTuple):
    """What a trial gives.

    Attributes:
        r2: of the predictions of all folds.
        chosen: which candidate was taken for each fold; empty without a choice.
        folds: score of each named fold; empty where folds are no places.
    """

    r2: float
    chosen: tuple[int, ...] = ()
    folds: Mapping[str, FoldScore] = {}


def r_squared(
    truth: Float[np.ndarray, " n"], predicted: Float[np.ndarray, " n"]
) -> float:
    """Give the share of the variance that is explained.

    Source: Pearson; as scikit-learn's ``r2_score``.

    Args:
        truth: measured values, not all equal.
        predicted: predictions in the same unit and order.

    Returns:
        1 for exact predictions, 0 for their mean, negative for worse than that.
    """
    error = np.sum((truth - predicted) ** 2)
    return float(1 - error / np.sum((truth - truth.mean()) ** 2))


def fold_score(
    truth: Float[np.ndarray, " n"], predicted: Float[np.ndarray, " n"]
) -> FoldScore:
    """Score one fold by itself.

    Args:
        truth: measured values.
        predicted: predictions in the same unit and order.
    """
    r2 = r_squared(truth, predicted) if np.ptp(truth) > 0 else None
    rmse = float(np.sqrt(np.mean((truth - predicted) ** 2)))
    return FoldScore(len(truth), r2, rmse)


class ScoreFile:
    """Finished scores in a file of JSON lines, one appended after each fit.

    A score is found again only under the fingerprint it was stored with, so one of
    other vectors, labels or settings never stands in for it. A last line that a kill
    cut short is dropped.

    Args:
        path: made with its first score.

    Raises:
        MoraError: if a line before the last is no score.
    """

    def __init__(self, path: Path):
        self.path = path
        self._scores: dict[tuple[ScoreKey, str], Score] = {}
        if path.exists():
            self._read()

    def get(self, key: ScoreKey, fingerprint: str) -> Score | None:
        """Give a finished score, or None."""
        return self._scores.get((key, fingerprint))

    def add(self, key: ScoreKey, fingerprint: str, score: Score) -> None:
        """Append a score; one that is there already is not written twice."""
        if (key, fingerprint) in self._scores:
            return
        record = {**key._asdict(), "fingerprint": fingerprint, "r2": score.r2}
        if score.chosen:
            record["chosen"] = list(score.chosen)
        if score.folds:
            record["folds"] = {name: list(fold) for name, fold in score.folds.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self._scores[key, fingerprint] = score

    def _read(self) -> None:
        text = self.path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:  # the torn line must not join the next one
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                record = json.loads(line)
                key = ScoreKey(*(record[field] for field in ScoreKey._fields))
                self._scores[key, record["fingerprint"]] = _read_score(record)
            except (ValueError, KeyError, TypeError) as error:
                raise MoraError(
                    f"{self.path}, line {number} is no score ({error}). Delete the "
                    f"line, or the file to evaluate anew."
                ) from error


def _read_score(record: dict[str, Any]) -> Score:
    """Read a score from its line."""
    folds = {name: FoldScore(*fold) for name, fold in record.get("folds", {}).items()}
    return Score(float(record["r2"]), tuple(record.get("chosen", ())), folds)


def fingerprint(*parts: Any) -> str:
    """Digest arrays (dtype, shape and bytes) and anything whose text says it all."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype} {part.shape};".encode())
            digest.update(np.ascontiguousarray(part))
        else:
            digest.update(f"{part!r};".encode())
    return digest.hexdigest()[:32]
