"""Label tables become tasks: labels of tokens or of zones, and honest blocks."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp
from jaxtyping import Float, Int

from mora.benchmark import Task, degree_blocks, group_blocks, pooling_matrix
from mora.config import EvaluationConfig, LabelsConfig
from mora.errors import MissingColumnError, TableError
from mora.modalities.rows import weighted_group_means
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import Mobility
from mora.pipeline.rows import read_numbers, token_of_rows
from mora.tables import Problem, TableReport
from mora.tokens import GridTokens, Tokens

GRID_BLOCK = 20  # cells a side


def read_tasks(context: RunContext, mobility: Mobility) -> Iterator[Task]:
    """Read every label table and bring its labels to their units."""
    config = context.config.evaluation
    blocks = token_blocks(config, mobility)
    for number, labels in enumerate(config.labels):
        place = f"evaluation.labels.{number}.table"
        frame = read_numbers(context, named_labels(labels).table, place, [])
        if labels.unit == "token":
            values = token_labels(mobility.tokens, frame, labels)
            unit_blocks, pooling = blocks, None
        else:
            values, unit_blocks, pooling = _zone_labels(mobility, frame, labels, config)
        _report_unmet(context, mobility, frame, labels)
        for column, name in enumerate(labels.values):
            yield Task(
                name,
                values[:, column],
                unit_blocks,
                pooling,
                labels.transform.get(name),
                labels.given_away.get(name),
            )


def _report_unmet(
    context: RunContext, mobility: Mobility, frame: pd.DataFrame, labels: LabelsConfig
) -> None:
    """Count the label rows that meet no place of the run."""
    if labels.unit == "zone":
        unmet = ~frame["id"].isin(mobility.zones["zone"]).to_numpy()
    else:
        unmet = token_of_rows(mobility.tokens, frame) < 0
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
    weight = frame["weight"] if "weight" in frame else pd.Series(1.0, frame.index)
    values = frame[list(labels.values)].to_numpy(np.float64)
    return weighted_group_means(place, values, weight.to_numpy(float), places)


def _zone_labels(
    mobility: Mobility,
    frame: pd.DataFrame,
    labels: LabelsConfig,
    config: EvaluationConfig,
) -> tuple[np.ndarray, Int[np.ndarray, " zones"], sp.csr_array]:
    """Give labels, blocks and pooling of zones that several tokens make up.

    Raises:
        MissingColumnError: if the labels have no ids.
        TableError: if the run has no zones, or none of the labels' zones is known.
    """
    zones = mobility.zones
    if zones.empty:
        raise TableError(
            "labels of zones need zones in the run; its mobility has none. Expected "
            "`unit: token`, or mobility kind gravity or radiation with a zone column."
        )
    if "id" not in frame:
        raise MissingColumnError("labels of zones", ["id"], list(frame.columns))
    names = np.unique(zones["zone"])
    zone_of_row = pd.Index(names).get_indexer(frame["id"])
    if (zone_of_row < 0).all():
        raise TableError(
            f"none of {len(frame)} labels names one of {len(names)} zones (first "
            f"labels: {', '.join(frame['id'].head(3))}; first zones: "
            f"{', '.join(names[:3])}). Check that both use the same ids."
        )
    values = _means(zone_of_row, frame, labels, len(names))
    zone = np.searchsorted(names, zones["zone"])
    token = zones["token"].to_numpy()
    weight = {
        "mean": np.ones(len(zones)),
        "population": zones["population"].to_numpy(),
        "area": mobility.tokens.areas_km2()[token],
    }[labels.pool]
    shape = (len(names), len(mobility.tokens))
    if config.blocks == "code":
        blocks = _code_blocks(names, config)
    else:
        middle = _zone_middles(mobility, zone, len(names))
        blocks = degree_blocks(middle, config.degrees)
    return values, blocks, pooling_matrix(zone, token, weight, shape)


def _zone_middles(
    mobility: Mobility, zone: np.ndarray, zones: int
) -> Float[np.ndarray, "zones 2"]:
    """Give the population-weighted middle of each zone."""
    token = mobility.zones["token"].to_numpy()
    people = mobility.zones["population"].to_numpy()
    centroids = mobility.tokens.centroids()[token]
    return weighted_group_means(zone, centroids, people, zones)


def token_blocks(
    config: EvaluationConfig, mobility: Mobility
) -> Int[np.ndarray, " tokens"]:
    """Give the block of each token; no block divides a zone that an input came from.

    Args:
        config: how blocks are made.
        mobility: tokens and, where there are any, zones. A token belongs to the zone
            with most of its people.

    Returns:
        Block numbers. On a grid without a place on Earth, squares of 20 x 20 cells.

    Raises:
        NoGeometryError: if the blocks need a place that the tokens do not have.
    """
    tokens = mobility.tokens
    if config.blocks == "parent":
        return _numbered(tokens.parents(config.parent_resolution))
    if isinstance(tokens, GridTokens):
        return _numbered((tokens.xy() - 1) // GRID_BLOCK @ [tokens.height, 1])
    if mobility.zones.empty:
        if config.blocks == "code":
            return _code_blocks(tokens.names(), config)
        return degree_blocks(tokens.centroids(), config.degrees)
    names, zone = np.unique(mobility.zones["zone"], return_inverse=True)
    order = np.argsort(mobility.zones["population"].to_numpy(), kind="stable")
    main = np.zeros(len(tokens), np.int64)  # every token of a run with zones is in one
    main[mobility.zones["token"].to_numpy()[order]] = zone[order]
    if config.blocks == "code":
        return _code_blocks(names, config)[main]
    middle = _zone_middles(mobility, zone, len(names))
    return group_blocks(main, middle, config.degrees)


def _numbered(blocks: np.ndarray) -> Int[np.ndarray, " n"]:
    return np.unique(blocks, return_inverse=True)[1]


def _code_blocks(
    names: Sequence[str] | np.ndarray, config: EvaluationConfig
) -> np.ndarray:
    return _numbered(np.array([name[: config.code_length] for name in names]))
