"""Rows of places and numbers for modalities, labels and names."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int
from pandas.api.types import is_numeric_dtype

from mora.config import ModalityConfig, TableInput
from mora.errors import ConfigError
from mora.geometry import cover_with_cells
from mora.modalities import WITHOUT_TABLE
from mora.modalities.rows import rows_to_tokens
from mora.pipeline.commutes import kind_of_table, read_commutes
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import keep_inside
from mora.tables import check_known, check_places, check_rows, column_names
from mora.tokens import H3Tokens, Tokens

KEYS = ("id", "lon", "lat", "weight")  # they place or weigh a row


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
        The rows, with ``token`` or ``lon`` and ``lat``, and for ``demographics40``
        commutes from ``origin`` to ``destination`` (tokens); None for modalities that
        read files of their own.

    Raises:
        ConfigError: if a modality that needs tables has none.
    """
    if config.kind in WITHOUT_TABLE:
        return None
    place = f"modalities.{name}.inputs"
    if not config.inputs:
        if config.options.get("rasters"):
            return None
        raise ConfigError(f"{place}: none; kind {config.kind!r} needs a table.")
    frames = [
        _read_input(context, config, table, f"{place}.{number}", tokens)
        for number, table in enumerate(config.inputs)
    ]
    frame = pd.concat(frames, ignore_index=True)
    if config.areas is not None:
        return _allocate(context, name, config, tokens, frame)
    return frame.rename(columns={"id": "token"})


def _read_input(
    context: RunContext,
    config: ModalityConfig,
    table: TableInput,
    place: str,
    tokens: Tokens,
) -> pd.DataFrame:
    if config.kind == "poi":
        return _read_places(context, table, place)
    moving = kind_of_table(context, table, place) != "numbers"
    if config.kind == "demographics40" and moving:
        return read_commutes(context, table, place, tokens)
    weighed = config.kind == "demographics"
    weight = config.options.get("weight", "weight") if weighed else None
    extra = [weight] if weight else []
    wanted = config.options.get("columns")
    return read_numbers(context, table, place, wanted, extra)


def _allocate(
    context: RunContext,
    name: str,
    config: ModalityConfig,
    tokens: Tokens,
    frame: pd.DataFrame,
) -> pd.DataFrame:
    """Give each area's row to the cells that it covers, with their share of it."""
    if config.areas is None or config.kind != "demographics" or "id" not in frame:
        raise ConfigError(
            f"modalities.{name}.areas: rows are allocated by area for kind "
            f"'demographics' with an `id` column; got kind {config.kind!r}, columns "
            f"{', '.join(frame.columns)}."
        )
    if not isinstance(tokens, H3Tokens):
        raise ConfigError(
            f"modalities.{name}.areas: areas are allocated to H3 cells; the tokens "
            f"are {tokens.kind}. Leave `areas` out and name the tokens under `id`."
        )
    zones = context.zones(config.areas)
    known, report = check_known(frame["id"], zones.ids, "rows")
    context.report(report)
    zone, cell, share = cover_with_cells(zones.polygons(), tokens.resolution)
    pieces = pd.DataFrame({"id": zones.ids[zone], "token": cell, "share": share})
    return frame[known].merge(pieces, on="id").drop(columns="id")


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
    context: RunContext,
    table: TableInput,
    place: str,
    wanted: Sequence[str] | None,
    besides: Sequence[str] = (),
) -> pd.DataFrame:
    """Read rows of numbers keyed by id or by point.

    Args:
        context: the run.
        table: where they are.
        place: of ``table`` in the configuration.
        wanted: columns to take where the mapping does not name them; None for every
            numeric one if the mapping names no values.
        besides: further columns that are needed and are no values.
    """
    sourced = table.source is not None and place not in context.frames
    header = [] if sourced else column_names(context.source(table, place))
    columns = _named_columns(table.columns, header, wanted, besides)
    guessed = set(columns) - {*table.columns, *KEYS, *besides, *(wanted or ())}
    named = table.model_copy(update={"columns": columns})
    frame = context.frame(named, place, "rows")
    text = [c for c in frame if c in guessed and not is_numeric_dtype(frame[c])]
    if text:
        context.display.say(f"  {place}: left out, no numbers: {', '.join(text)}")
    frame = frame.drop(columns=text)
    frame, report = check_rows(frame, source=table.path or table.source or place)
    context.report(report)
    frame, outside = keep_inside(frame, context.config.tokens.bounds, "rows")
    if outside is not None:
        context.report(outside)
    return frame


def _named_columns(
    mapping: Mapping[str, str],
    header: Sequence[str],
    wanted: Sequence[str] | None,
    besides: Sequence[str],
) -> dict[str, str]:
    """Complete a mapping by columns that have our names; none without a header."""
    columns = dict(mapping)
    left = [name for name in header if name not in (*columns, *columns.values())]
    if not columns:
        columns = {name: name for name in left if name in KEYS}
    if columns:
        needed = [*(wanted or ()), *besides]
        columns |= {name: name for name in needed if name not in columns}
    if wanted is None and set(columns) <= {*KEYS, *besides}:
        columns |= {name: name for name in left}
    return columns


def token_of_rows(tokens: Tokens, frame: pd.DataFrame) -> Int[np.ndarray, " rows"]:
    """Find the token of each row by its id, or else by its point; -1 outside."""
    return rows_to_tokens(tokens, frame.rename(columns={"id": "token"}))
