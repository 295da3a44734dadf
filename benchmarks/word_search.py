"""Search in words for places whose own names nobody was told.

`python -m benchmarks.word_search` trains runs without the names of airports,
universities and beaches, then asks for them in words. What is measured is the recall
at 100 of the cells that hold such a place, beside chance, beside one prompt that is not
centred, beside the match of the text with the texts that are left, and beside the best
that 100 answers can do.

How a text becomes a query was chosen on other categories, whose names were left out of
runs of their own: `--development` does much the same again.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.measure import print_ratio, shared_data
from mora.config import RunConfig, TableInput, load_config
from mora.explore.search import PlaceSearch
from mora.explore.words import WordSearch, read_word_search
from mora.pipeline import run
from mora.pipeline.display import Terminal

CONFIG = "configs/us_commute_level4.yaml"
TOP = 100
GOAL = 3.0  # times chance
FIRST_SEED = 1  # 0 was looked at before the query was chosen
METHODS = {
    "word_search": "learned",
    "one_prompt": "one_prompt",
    "raw_text_match": "raw",
}


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
DEVELOPMENT_WORDS = {
    "lake": r"\blakes?\b",
    "island": r"\bisland|\bisle\b",
    "military base": r"air force|\barmy\b|\bnaval\b|\bmarine corps\b|\bafb\b|\baaf\b"
    r"|\bfort\b|national guard",
    "harbor": r"harbor|marina|\bport\b",
    "ski resort": r"\bski\b|\bsnow|aspen|vail\b",
    "dam": r"\bdam\b|reservoir",
    "mine": r"\bmines?\b|mining|quarry|\bcoal\b|copper|gold\b|silver\b",
    "ranch": r"\branch",
    "farm": r"\bfarms?\b",
    "canyon": "canyon",
    "mountain": r"mountain|\bmt\b|\bmount\b|\bpeak\b",
    "church": r"church|chapel|abbey|mission\b",
    "golf club": "golf|country club",
    "hot springs": r"springs?\b",
    "park": r"\bpark\b",
    "prairie": r"prairie|plains?\b",
    "desert": r"desert|sands?\b|cactus|mesa\b",
}
DEVELOPMENT = tuple(Category(q, names, names) for q, names in DEVELOPMENT_WORDS.items())


def main() -> None:
    """Train, search, print a table and the smallest ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs that are trained")
    parser.add_argument("--quick", action="store_true", help="one run")
    parser.add_argument("--config", default=CONFIG, help="the run; its cells matter")
    parser.add_argument(
        "--development", action="store_true", help="the categories that chose"
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/word_search"))
    given = parser.parse_args()
    if shared_data("places") is None:
        raise SystemExit("The names of places are not here; see docs/results.md.")
    seeds = range(FIRST_SEED, FIRST_SEED + (1 if given.quick else given.seeds))
    asked = DEVELOPMENT if given.development else CATEGORIES
    found = pd.concat([search(given.config, asked, given.folder, s) for s in seeds])
    summary = summarise(found)
    print(summary.to_string(float_format="%.3f"), flush=True)
    print_margin(found)
    for name, by in METHODS.items():
        lift = summary[f"{by}_mean"] / summary["chance"]
        print_ratio(f"{name}_smallest", float(lift.min()), GOAL)
        print_ratio(f"{name}_mean", float(lift.mean()), GOAL)


def print_margin(found: pd.DataFrame) -> None:
    """Print by how many times chance the query is ahead of one prompt, paired."""
    ahead = (found["learned"] - found["one_prompt"]) / found["chance"]
    each = ahead.groupby(found["query"]).mean()
    print(
        f"ahead of one prompt by {each.mean():+.2f} x chance, standard error "
        f"{each.sem():.2f} over {len(each)} categories",
        flush=True,
    )


def settings(path: str, seed: int, folder: Path) -> RunConfig:
    """Give the settings of a run; all runs share the vectors of texts."""
    options = {"cache_folder": str(folder / "text_cache")}
    changes = {"modalities": {"poi": {"options": options}}, "seed": seed}
    return load_config(path, changes)


def search(
    path: str, asked: Sequence[Category], folder: Path, seed: int
) -> pd.DataFrame:
    """Train a run without the withheld names and search it for each category."""
    config = settings(path, seed, folder)
    withheld = "|".join(category.withheld for category in asked)
    inputs = config.modalities["poi"].inputs
    frames = [read_names(table) for table in inputs]
    kept = {
        f"modalities.poi.inputs.{number}": frame[~matches(frame, withheld)].rename(
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
        reuse=[Path("runs") / config.name, folder / f"seed-{FIRST_SEED}"],
        display=Terminal(),
    )
    words = read_word_search(home)
    index = PlaceSearch(embeddings, words)
    names = pd.concat(frames)
    rows = [score(index, words, names, category) for category in asked]
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


def score(
    index: PlaceSearch, words: WordSearch, names: pd.DataFrame, category: Category
) -> dict[str, Any]:
    """Give the recall among the first hundred, ours and by simpler ways."""
    sought = names[matches(names, category.sought)]
    token = index.tokens.locate(sought[["lon", "lat"]].to_numpy(float))
    cells = np.unique(token[token >= 0])
    learned = index.words(category.query, TOP).tokens
    one_prompt = index.aligned(words.embed(category.query), TOP).tokens
    by_text = np.nan_to_num(index.text_match(category.query), nan=-1)
    raw = np.argsort(-by_text, kind="stable")[:TOP]
    return {
        "query": category.query,
        "cells": len(cells),
        "chance": TOP / len(index),
        "best": min(TOP, len(cells)) / len(cells),
        "learned": np.isin(cells, learned).mean(),
        "one_prompt": np.isin(cells, one_prompt).mean(),
        "raw": np.isin(cells, raw).mean(),
    }


def summarise(found: pd.DataFrame) -> pd.DataFrame:
    """Give the mean over the runs and its standard deviation."""
    kept = found.groupby("query", sort=False)[["cells", "chance", "best"]].first()
    over = found.groupby("query", sort=False)[[*METHODS.values()]]
    mean, spread = over.mean(), over.std(ddof=1).fillna(0.0)
    return kept.join(mean.add_suffix("_mean")).join(spread.add_suffix("_std"))


if __name__ == "__main__":
    main()
