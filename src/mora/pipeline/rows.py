"""Rows of places and numbers for modalities, labels and names."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mora.config import ModalityConfig, TableInput
from mora.errors import ConfigError
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import keep_inside
from mora.tables import check_places, check_rows
from mora.tokens import Tokens


def read_modality(
    context: RunContext, name: str, config: ModalityConfig, tokens: Tokens
) -> pd.DataFrame | None:
    """Read and check the tables of a modality; their rows are put together.

    Args:
        context: the run.
        name: of the modality.
        config: its inputs.
        tokens: ids in the rows are names of these.

    Returns:
        The rows, with ``token`` or ``lon`` and ``lat``; None for rasters.

    Raises:
        ConfigError: if a modality that needs tables has none.
    """
    if config.kind == "imagery":
        return None
    place = f"modalities.{name}.inputs"
    if not config.inputs:
        raise ConfigError(f"{place}: none; kind {config.kind!r} needs a table.")
    if config.kind == "poi":
        frames = [
            _read_places(context, table, f"{place}.{number}")
            for number, table in enumerate(config.inputs)
        ]
    else:
        weight = config.options.get("weight", "weight")
        extra = [weight] if weight else []
        wanted = [*(config.options.get("columns") or []), *extra]
        frames = [
            read_numbers(context, table, f"{place}.{number}", wanted)
            for number, table in enumerate(config.inputs)
        ]
    frame = pd.concat(frames, ignore_index=True)
    return frame.rename(columns={"id": "token"}) if tokens.kind else frame


def _read_places(context: RunContext, table: TableInput, place: str) -> pd.DataFrame:
    frame = context.frame(table, place, "places")
    if "population" in frame:
        frame = frame.drop(columns="population")
    frame, report = check_places(frame, source=table.path or table.source or place)
    context.report(report)
    frame, outside = keep_inside(frame, context.config.tokens.bounds, "places")
    if outside is not None:
        context.report(outside)
    return frame.drop(columns="id", errors="ignore")


def read_numbers(
    context: RunContext, table: TableInput, place: str, wanted: Sequence[str]
) -> pd.DataFrame:
    """Read rows of numbers keyed by id or by point.

    Args:
        context: the run.
        table: where they are.
        place: of ``table`` in the configuration.
        wanted: columns to take where the mapping does not name them.
    """
    columns = dict(table.columns)
    if columns:
        columns |= {name: name for name in wanted if name not in columns}
    named = table.model_copy(update={"columns": columns})
    frame = context.frame(named, place, "rows")
    frame, report = check_rows(frame, source=table.path or table.source or place)
    context.report(report)
    frame, outside = keep_inside(frame, context.config.tokens.bounds, "rows")
    if outside is not None:
        context.report(outside)
    return frame


def token_of_rows(tokens: Tokens, frame: pd.DataFrame) -> np.ndarray:
    """Find the token of each row by its id, or else by its point; -1 outside."""
    if "id" in frame:
        return tokens.find(frame["id"].to_numpy(str))
    return tokens.locate(frame[["lon", "lat"]].to_numpy(np.float64))
