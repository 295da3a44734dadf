"""Search in words for places whose own names nobody was told.

`python -m benchmarks.word_search` trains runs without the names of airports,
universities and beaches, then asks for them in words. What is measured is the recall
at 100 of the cells that hold such a place, beside chance, beside the match of the text
with the texts that are left, and beside the best that 100 answers can do.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.measure import print_ratio, shared_data
from mora.config import RunConfig, TableInput, load_config
from mora.explore.search import PlaceSearch
from mora.explore.words import read_word_search
from mora.pipeline import run
from mora.pipeline.display import Terminal

CONFIG = "configs/us_commute_level4.yaml"
TOP = 100
GOAL = 3.0  # times chance


@dataclass(frozen=True)
class Category:
    """Places that one searches for.

    Attributes:
        query: the words.
        withheld: names of this pattern are left out of training.
        sought: the withheld names whose cells count as found. Three cells in four hold
            some airfield, so that only airports with scheduled flights are sought.
    """

    query: str
    withheld: str
    sought: str


CATEGORIES = (
    Category("international airport", "airport", "international airport|regional air"),
    Category("university", "university|college", "university|college"),
    Category("beach", "beach", "beach"),
)
WITHHELD = "|".join(category.withheld for category in CATEGORIES)


def main() -> None:
    """Train, search, print a table and the smallest ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs that are trained")
    parser.add_argument("--quick", action="store_true", help="one run")
    parser.add_argument("--folder", type=Path, default=Path("runs/word_search"))
    given = parser.parse_args()
    if shared_data("places") is None:
        raise SystemExit("The names of places are not here; see docs/results.md.")
    seeds = range(1 if given.quick else given.seeds)
    found = pd.concat([search(given.folder, seed) for seed in seeds])
    summary = summarise(found)
    print(summary.to_string(float_format="%.3f"), flush=True)
    for name, by in (("word_search", "learned"), ("raw_text_match", "raw")):
        lift = summary[f"{by}_mean"] / summary["chance"]
        print_ratio(f"{name}_smallest", float(lift.min()), GOAL)
        print_ratio(f"{name}_mean", float(lift.mean()), GOAL)


def settings(seed: int, folder: Path) -> RunConfig:
    """Give the settings of a run; all runs share the vectors of texts."""
    options = {"cache_folder": str(folder / "text_cache")}
    changes = {"modalities": {"poi": {"options": options}}, "seed": seed}
    return load_config(CONFIG, changes)


def search(folder: Path, seed: int) -> pd.DataFrame:
    """Train a run without the withheld names and search it for each category."""
    config = settings(seed, folder)
    inputs = config.modalities["poi"].inputs
    frames = [read_names(table) for table in inputs]
    kept = {
        f"modalities.poi.inputs.{number}": frame[~matches(frame, WITHHELD)].rename(
            columns=table.columns
        )
        for number, (table, frame) in enumerate(zip(inputs, frames, strict=True))
    }
    home = folder / f"seed-{seed}"
    embeddings = run(
        config,
        tables=kept,
        folder=home,
        until="embed",
        reuse=[Path("runs/us_commute_level4"), folder / "seed-0"],
        display=Terminal(),
    )
    index = PlaceSearch(embeddings, words=read_word_search(home))
    names = pd.concat(frames)
    rows = [score(index, names, category) for category in CATEGORIES]
    return pd.DataFrame(rows).assign(seed=seed)


def read_names(table: TableInput) -> pd.DataFrame:
    """Read the names of places and where they are, under our column names."""
    path = Path(table.path)
    frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    theirs = {theirs: ours for ours, theirs in table.columns.items()}
    return frame.rename(columns=theirs)[["name", "lon", "lat"]]


def matches(frame: pd.DataFrame, pattern: str) -> np.ndarray:
    """Say which rows have a name of this pattern, whatever its case."""
    found = frame["name"].astype("string").str.contains(pattern, case=False)
    return found.fillna(False).to_numpy(bool)


def score(index: PlaceSearch, names: pd.DataFrame, category: Category) -> dict:
    """Give the recall among the first hundred, ours and by text."""
    sought = names[matches(names, category.sought)]
    token = index.tokens.locate(sought[["lon", "lat"]].to_numpy(float))
    cells = np.unique(token[token >= 0])
    learned = index.words(category.query, TOP).tokens
    by_text = np.nan_to_num(index.text_match(category.query), nan=-1)
    raw = np.argsort(-by_text, kind="stable")[:TOP]
    return {
        "query": category.query,
        "cells": len(cells),
        "chance": TOP / len(index),
        "best": min(TOP, len(cells)) / len(cells),
        "learned": np.isin(cells, learned).mean(),
        "raw": np.isin(cells, raw).mean(),
    }


def summarise(found: pd.DataFrame) -> pd.DataFrame:
    """Give the mean over the runs and its standard deviation."""
    kept = found.groupby("query", sort=False)[["cells", "chance", "best"]].first()
    over = found.groupby("query", sort=False)[["learned", "raw"]]
    mean, spread = over.mean(), over.std(ddof=1).fillna(0.0)
    return kept.join(mean.add_suffix("_mean")).join(spread.add_suffix("_std"))


if __name__ == "__main__":
    main()
