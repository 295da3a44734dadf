"""Label tables become tasks: labels of their units, honest blocks, groups."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from mora.benchmark import Task
from mora.config import GroupConfig, LabelsConfig
from mora.errors import MissingColumnError
from mora.modalities.rows import weighted_group_means
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import Mobility
from mora.pipeline.restriction import named_places
from mora.pipeline.rows import read_numbers, token_of_rows
from mora.pipeline.units import Units, find_units
from mora.tables import Problem, TableReport
from mora.tokens import Tokens


def read_tasks(context: RunContext, mobility: Mobility) -> Iterator[Task]:
    """Read every label table and bring its labels to their units."""
    config = context.config.evaluation
    keep = None
    if config.only is not None:
        keep = named_places(context, config.only, "evaluation.only", mobility.tokens)
    values = {
        name: _group_values(context, name, group, mobility.tokens)
        for name, group in config.groups.items()
    }
    for number, labels in enumerate(config.labels):
        place = f"evaluation.labels.{number}.table"
        frame = read_numbers(context, named_labels(labels).table, place, [])
        units = find_units(context, mobility, frame, labels)
        _report_unmet(context, units, frame, labels)
        yield from _tasks(
            labels, frame, units, _groups(config.groups, values, units), keep
        )


def _tasks(
    labels: LabelsConfig,
    frame: pd.DataFrame,
    units: Units,
    groups: dict[str, np.ndarray],
    keep: Bool[np.ndarray, " tokens"] | None,
) -> Iterator[Task]:
    values = _means(units.row, frame, labels, units.count)
    if keep is not None:
        values = np.where(units.inside(keep)[:, None], values, np.nan)
    for column, name in enumerate(labels.values):
        yield Task(
            name,
            values[:, column],
            units.blocks,
            units.pooling,
            labels.transform.get(name),
            labels.given_away.get(name),
            scale_of(labels),
            labels.domains.get(name, ""),
            units.regions,
            groups,
            units.lonlat,
        )


def about_tasks(context: RunContext) -> dict[str, dict[str, Any]]:
    """Say of each task of a run what it is: the columns of the paper's Table 1."""
    tables = context.config.evaluation.labels
    return {k: said for labels in tables for k, said in about_labels(labels).items()}


def about_labels(labels: LabelsConfig) -> dict[str, dict[str, Any]]:
    """Say of each label of a table what it is."""
    return {
        name: {
            "description": labels.descriptions.get(name, column),
            "domain": labels.domains.get(name, ""),
            "unit": labels.unit,
            "scale": scale_of(labels),
            "transform": labels.transform.get(name, ""),
            "source": labels.source,
            "licence": labels.licence,
            "year": labels.year,
            "public": labels.public,
        }
        for name, column in labels.values.items()
    }


def scale_of(labels: LabelsConfig) -> Literal["grid", "county", "city"]:
    """Give the scale that chooses a readout's settings."""
    return labels.scale or ("county" if labels.unit in ("zone", "area") else "grid")


def _report_unmet(
    context: RunContext, units: Units, frame: pd.DataFrame, labels: LabelsConfig
) -> None:
    """Count the label rows that meet no place of the run."""
    unmet = units.row < 0
    if unmet.any():
        shown = tuple(f"row {row + 1}" for row in frame.index[unmet][:3])
        problem = Problem("label meets no place", int(unmet.sum()), shown, "dropped")
        kept = len(frame) - problem.count
        source = labels.table.path or "labels"
        context.report(TableReport("labels", source, len(frame), kept, (problem,)))


def named_labels(labels: LabelsConfig) -> LabelsConfig:
    """Read the labels under their own names, beside the keys."""
    columns = {**labels.table.columns, **labels.values}
    table = labels.table.model_copy(update={"columns": columns})
    return labels.model_copy(update={"table": table})


def token_labels(
    tokens: Tokens, frame: pd.DataFrame, labels: LabelsConfig
) -> Float[np.ndarray, "tokens labels"]:
    """Average the rows of each token, by ``weight`` where there is one."""
    return _means(token_of_rows(tokens, frame), frame, labels, len(tokens))


def _means(
    place: Int[np.ndarray, " rows"],
    frame: pd.DataFrame,
    labels: LabelsConfig,
    places: int,
) -> Float[np.ndarray, "places labels"]:
    values = frame[list(labels.values)].to_numpy(np.float64)
    return weighted_group_means(place, values, _weight(frame), places)


def _weight(frame: pd.DataFrame) -> Float[np.ndarray, " rows"]:
    weight = frame["weight"] if "weight" in frame else pd.Series(1.0, frame.index)
    return weight.to_numpy(float)


# -------------------------------------------------------------------- groups


def _group_values(
    context: RunContext, name: str, group: GroupConfig, tokens: Tokens
) -> Float[np.ndarray, " tokens"]:
    """Average the column that groups are made from, for each token.

    Raises:
        MissingColumnError: if the table does not have it.
    """
    columns = {**group.table.columns, "value": group.value}
    table = group.table.model_copy(update={"columns": columns})
    frame = read_numbers(context, table, f"evaluation.groups.{name}.table", [])
    if "value" not in frame:
        raise MissingColumnError(f"groups {name}", [group.value], list(frame.columns))
    values = frame[["value"]].to_numpy(np.float64)
    token = token_of_rows(tokens, frame)
    return weighted_group_means(token, values, _weight(frame), len(tokens))[:, 0]


def _groups(
    config: dict[str, GroupConfig],
    values: dict[str, Float[np.ndarray, " tokens"]],
    units: Units,
) -> dict[str, np.ndarray]:
    """Name the group of each unit."""
    found = {}
    for name, group in config.items():
        of_unit = values[name]
        if units.pooling is not None:
            known = np.isfinite(of_unit)
            total = units.pooling @ np.where(known, of_unit, 0.0)
            share = units.pooling @ known.astype(np.float64)
            of_unit = np.where(share > 0, total / np.where(share > 0, share, 1), np.nan)
        found[name] = cut_groups(of_unit, group)
    return found


def cut_groups(values: Float[np.ndarray, " units"], group: GroupConfig) -> np.ndarray:
    """Name the group of each value; empty where it is unknown.

    Args:
        values: NaN where unknown.
        group: cuts and names; quartiles of the known values without cuts.
    """
    known = np.isfinite(values)
    cuts = group.at
    if cuts is None:
        cuts = np.quantile(values[known], [0.25, 0.5, 0.75]) if known.any() else [0] * 3
    names = np.array(group.names)[
        np.searchsorted(cuts, values, side="right").clip(max=len(group.names) - 1)
    ]
    return np.where(known, names, "")
