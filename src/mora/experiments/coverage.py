"""Nested coverages: what places outside an area add to the vectors inside it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from mora.config import RunConfig
from mora.errors import ConfigError
from mora.experiments.variants import Experiment, Variant
from mora.geometry import great_circle_km
from mora.pipeline.mobility import read_mobility
from mora.pipeline.units import lonlat_of, token_regions

SIZES = 4  # coverages at least
# MoRA, Table 5: mean R2 over the nine tasks in Jiangsu, by places trained on.
TABLE_5 = {3_904: 0.687, 28_855: 0.757, 195_574: 0.767}


def scaling(config: RunConfig, folder: Path) -> Experiment:
    """Train on nested coverages and score all of them in the smallest.

    The smallest area is the region (a state, where zones' codes name one) with most
    places; each larger coverage adds the places nearest to it, up to all. A control
    adds as many places as the second coverage does, but the farthest ones.

    Args:
        config: the run that is varied.
        folder: of a run that has its graph; tables of places are written into it.

    Raises:
        ConfigError: if the run's places are not known, or too few for four sizes.
    """
    mobility = read_mobility(folder / "graph")
    lonlat = lonlat_of(mobility.tokens)
    regions = token_regions(config.evaluation, mobility)
    if lonlat is None or regions is None:
        raise ConfigError(
            "the scaling experiment needs to know where places are; expected H3 "
            "cells, or zones with outlines."
        )
    smallest = np.flatnonzero(regions == np.bincount(regions).argmax())
    order = by_distance(lonlat, smallest)
    sizes = nested_sizes(len(smallest), len(lonlat))
    names = mobility.tokens.names()
    area = _write(folder, "area", names, smallest)
    whole = Variant("all places", {"evaluation": {"only": area}}, size=len(lonlat))
    nested = [
        _variant(folder, f"{size:,} places", names, order[:size], area)
        for size in sizes[:-1]
    ]
    added = sizes[1] - sizes[0]
    distant = np.concatenate([smallest, order[-added:]])
    name = f"{sizes[0]:,} + {added:,} distant places"
    control = replace(_variant(folder, name, names, distant, area), control=True)
    return Experiment(
        "scaling",
        "What places outside an area add to the vectors inside it",
        "MoRA, section 4.3, figure 2 and Table 5",
        (nested[0], *nested[1:], whole, control),
        paper_unit="R2",
        figure="curve",
        axis="places trained on",
        notes=(
            f"All are scored on the same {len(smallest):,} places, the largest region. "
            f"Movement with places left out is left out. The paper's mean R2 in "
            f"Jiangsu: " + ", ".join(f"{v} ({k:,} places)" for k, v in TABLE_5.items()),
            "The control has as many places as the second size; those it adds are the "
            "farthest away.",
        ),
    )


def nested_sizes(smallest: int, whole: int) -> list[int]:
    """Give the sizes of at least four coverages, each about as many times the last.

    Args:
        smallest: places of the smallest area.
        whole: places of all.

    Raises:
        ConfigError: if the whole is less than twice the smallest.
    """
    if smallest < 2 or whole < 2 * smallest:
        raise ConfigError(
            f"the largest region has {smallest:,} of {whole:,} places; expected at "
            f"least twice as many outside. Use smaller regions "
            f"(evaluation.region_code_length or region_resolution)."
        )
    return np.geomspace(smallest, whole, SIZES + 1).round().astype(int).tolist()


def by_distance(
    lonlat: Float[np.ndarray, "tokens 2"], area: Int[np.ndarray, " inside"]
) -> Int[np.ndarray, " tokens"]:
    """Order tokens by how far they are from an area: its own first.

    Args:
        lonlat: middle of each token in degrees.
        area: tokens of the area.
    """
    middle = lonlat[area].mean(axis=0, keepdims=True)
    far = great_circle_km(np.repeat(middle, len(lonlat), axis=0), lonlat)
    far[area] = -1.0
    return np.argsort(far, kind="stable")


def _variant(
    folder: Path, name: str, names: list[str], tokens: np.ndarray, area: dict[str, Any]
) -> Variant:
    only = _write(folder, name, names, tokens)
    changes = {"tokens": {"only": only}, "evaluation": {"only": area}}
    return Variant(name, changes, size=len(tokens))


def _write(
    folder: Path, name: str, names: list[str], tokens: np.ndarray
) -> dict[str, Any]:
    """Write a table of places and give it as a setting."""
    path = folder / "experiments" / "coverages" / f"{Variant(name).folder}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    chosen = [names[token] for token in np.sort(tokens)]
    pd.DataFrame({"id": chosen}).to_csv(path, index=False)
    return {"path": str(path.resolve()), "columns": {"id": "id"}}
