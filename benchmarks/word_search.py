"""Search in words for places whose own names nobody was told.

`python -m benchmarks.word_search` trains runs without the names of airports,
universities and beaches, then asks for them in words. What is measured is the recall
at 100 of the cells that hold such a place, as a multiple of chance, beside answers that
may be right without understanding: the 100 places with the most movement, and those to
other words. The rest is what the search is made of, and the match of the text with the
texts that are left.

How places are ranked was chosen on other categories, whose names were left out of runs
of their own: `--development` does the same again.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.measure import print_ratio, shared_data
from benchmarks.word_categories import (
    NEW_YORK_DEVELOPMENT,
    US_DEVELOPMENT,
    Category,
    categories,
    cells_of,
    matches,
    read_places,
)
from mora.config import RunConfig, load_config
from mora.explore.search import PlaceSearch
from mora.explore.word_reading import read_word_search
from mora.explore.words import WordSearch
from mora.pipeline import run
from mora.pipeline.display import Terminal

CONFIG = "configs/us_commute_level4.yaml"
TOP = 100
GOAL = 3.0  # times chance
LEAST, MOST = 10, 0.25  # cells of a category; more, and there is little to find
FIRST_SEED = 1  # 0 was looked at before the query was chosen
METHODS = {
    "most_movement": "the same 100 places whatever is asked: those with most movement",
    "other_words": "the search, asked for other things",
    "search": "PlaceSearch.words",
    "meaning": "the search without movement",
    "one_vector": "cosine with one vector of the text alone",
    "texts": "cosine of the text with the mean text of each place",
}


def main() -> None:
    """Train, search, print a table and the smallest ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs that are trained")
    parser.add_argument("--quick", action="store_true", help="one run")
    parser.add_argument("--config", default=CONFIG, help="the run; its cells matter")
    parser.add_argument("--encoder", help="of texts; by default the run's own")
    parser.add_argument(
        "--development", action="store_true", help="the categories that chose"
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/word_search"))
    given = parser.parse_args()
    if shared_data("places") is None:
        raise SystemExit("The names of places are not here; see docs/results.md.")
    config = settings(given.config, given.encoder, given.folder)
    asked = categories(config, given.development)
    encoder = config.modalities["poi"].options.get("encoder", "")
    kind = "development" if given.development else "asked"
    folder = given.folder / config.name / "-".join(filter(None, [kind, encoder]))
    seeds = range(FIRST_SEED, FIRST_SEED + (1 if given.quick else given.seeds))
    found = pd.concat([search(config, asked, folder, seed) for seed in seeds])
    print("\n".join(f"{name}: {what}" for name, what in METHODS.items()), "\n")
    print(summarise(found).to_string(float_format="%.2f"), flush=True)
    print_margins(found)
    each = found.groupby("query")["search"].mean()
    print_ratio("word_search_smallest", float(each.min()), GOAL)
    print_ratio("word_search_mean", float(each.mean()), GOAL)


def settings(path: str, encoder: str | None, folder: Path) -> RunConfig:
    """Give the settings of a run; all runs share the vectors of texts."""
    options = {"cache_folder": str(folder / "text_cache")}
    if encoder is not None:
        options["encoder"] = encoder
    return load_config(path, {"modalities": {"poi": {"options": options}}})


def search(
    config: RunConfig, asked: Sequence[Category], folder: Path, seed: int
) -> pd.DataFrame:
    """Train a run without the withheld names and search it for each category."""
    config = config.model_copy(update={"seed": seed})
    withheld = "|".join(category.withheld for category in asked)
    inputs = config.modalities["poi"].inputs
    frames = [read_places(table) for table in inputs]
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
    places = pd.concat(frames)
    sought = {c: cells_of(c, places, index.tokens) for c in asked}
    every = [c.query for c in (*US_DEVELOPMENT, *NEW_YORK_DEVELOPMENT, *asked)]
    answers = {text: index.words(text, TOP).tokens for text in dict.fromkeys(every)}
    rows = [
        score(index, words, category.query, cells, answers)
        | {"query": category.label, "seed": seed}
        for category, cells in sought.items()
        if LEAST <= len(cells) <= MOST * len(index)
    ]
    return pd.DataFrame(rows)


def score(
    index: PlaceSearch,
    words: WordSearch,
    query: str,
    cells: np.ndarray,
    answers: dict[str, np.ndarray],
) -> dict[str, Any]:
    """Give the recall among the first hundred over chance, ours and by simpler ways."""

    def lift(tokens: np.ndarray) -> float:
        return float(np.isin(cells, tokens).mean() * len(index) / TOP)

    def first(values: np.ndarray) -> np.ndarray:
        return np.argsort(-values, kind="stable")[:TOP]

    others = [lift(found) for text, found in answers.items() if text != query]
    return {
        "cells": len(cells),
        "best": len(index) / max(TOP, len(cells)),
        "most_movement": lift(first(words.movement)),
        "other_words": np.mean(others),
        "search": lift(answers[query]),
        "meaning": lift(index.words(query, TOP, movement=0).tokens),
        "one_vector": lift(index.aligned(words.query(query), TOP).tokens),
        "texts": lift(first(np.nan_to_num(index.text_match(query), nan=-1))),
    }


def summarise(found: pd.DataFrame) -> pd.DataFrame:
    """Give means over the runs, with the standard deviation of the search."""
    by = found.groupby("query", sort=False)
    table = by[["cells", "best", *METHODS]].mean()
    at = table.columns.get_loc("search") + 1
    table.insert(at, "±", by["search"].std(ddof=1).fillna(0.0))
    return pd.concat([table, table.mean().rename("mean").to_frame().T])


def print_margins(found: pd.DataFrame) -> None:
    """Print how far the search is ahead, in multiples of chance, paired."""
    for name in METHODS:
        if name != "search":
            ahead = (found["search"] - found[name]).groupby(found["query"]).mean()
            print(
                f"ahead of {name} by {ahead.mean():+.2f} x chance, standard error "
                f"{ahead.sem():.2f} over {len(ahead)} categories",
                flush=True,
            )


if __name__ == "__main__":
    main()
