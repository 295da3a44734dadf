"""Are like places alike in other ways? ``python -m benchmarks.likeness``.

A place's label is guessed from the ten places most like it by cosine, of those outside
its own squares of one degree (five blocked splits; development labels, on which the
vectors were chosen). Beside the fused vectors with every kind of section counting the
same (:mod:`mora.likeness`): the same vectors as they are, the aligned ones, and all
features standardised. Trains what ``benchmarks.fused_study`` has not trained yet.
"""

import argparse

import numpy as np
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsRegressor

from benchmarks.fused_study import HOME, Data, open_data, seeds_of
from benchmarks.measure import shared_data
from mora.benchmark.splits import blocked_splits
from mora.embeddings import read_embeddings
from mora.nearest import unit_rows

NEIGHBOURS = 10


def main() -> None:
    """Print the mean R2 of each way to compare places."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default="us_commute_level4", help="of configs/")
    parser.add_argument("--seeds", type=int, default=5, help="runs, at least 2")
    given = parser.parse_args()
    if shared_data("us_commute") is None:
        raise SystemExit("no data set us_commute; set MORA_SHARED to its folder.")
    data = open_data(given.config, development=True)
    seeds_of(data, given.seeds)
    found: dict[str, list[float]] = {}
    for seed in range(given.seeds):
        for name, vectors in ways(data, seed).items():
            found.setdefault(name, []).append(score(data, vectors))
    print(f"R2 of the mean of the {NEIGHBOURS} most alike, {given.config}")
    for name, scores in found.items():
        print(f"{name:24} {np.mean(scores):.3f} ± {np.std(scores, ddof=1):.3f}")


def ways(data: Data, seed: int) -> dict[str, np.ndarray]:
    """Give vectors to take cosines of."""
    folder = HOME / f"{data.config.name}-seed{seed}"
    fused = read_embeddings(folder / "embeddings.parquet")
    raw = np.hstack(list(data.given.require_features().values()))
    spread = np.nanstd(raw, axis=0)
    raw = (raw - np.nanmean(raw, axis=0)) / np.where(spread > 0, spread, 1)
    return {
        "fused, sections alike": fused.comparable(),
        "fused, as it is": fused.vectors,
        "aligned": np.load(folder / "train" / "vectors.npy", allow_pickle=False),
        "raw features": np.nan_to_num(raw),
    }


def score(data: Data, vectors: np.ndarray) -> float:
    """Guess every label from the places most alike; mean R2 over labels and splits."""
    unit, scores = unit_rows(np.asarray(vectors, np.float64)), []
    for task in data.tasks:
        rows, label = task.units(), task.targets()
        for train, test in blocked_splits(task.blocks[rows], seed=0):
            guess = KNeighborsRegressor(NEIGHBOURS)
            guess.fit(unit[rows[train]], label[train])
            scores.append(r2_score(label[test], guess.predict(unit[rows[test]])))
    return float(np.mean(scores))


if __name__ == "__main__":
    main()
