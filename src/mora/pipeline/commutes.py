"""Who goes from which token to which: from records of visits, or from flows."""

import secrets
from collections.abc import Iterator

import numpy as np
import pandas as pd

from mora.config import TableInput, VisitsMobility
from mora.errors import TableError
from mora.modalities.home_work import infer_commutes
from mora.modalities.rows import rows_to_tokens
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import keep_inside
from mora.pipeline.places import PlaceCoder
from mora.pipeline.visits import visit_batches
from mora.sources.flows import ENDS
from mora.sources.registry import SOURCES
from mora.tables import Problem, TableReport, check_flows, check_visits, hash_users
from mora.tokens import Tokens

MIN_USERS = 5  # where a run does not say how many hide one


def kind_of_table(context: RunContext, table: TableInput, place: str) -> str:
    """Tell visits and flows from numbers, by their source or their columns.

    Args:
        context: the run.
        table: any table of a modality.
        place: of ``table`` in the configuration.

    Returns:
        visits, flows or numbers.
    """
    if table.source is not None and place not in context.frames:
        gives = SOURCES[table.source].gives
        return gives if gives in ("visits", "flows") else "numbers"
    columns = {*table.columns, *context.frames.get(place, pd.DataFrame()).columns}
    if "user" in columns:
        return "visits"
    return "flows" if columns & {"origin", "origin_lon"} else "numbers"


def read_commutes(
    context: RunContext, table: TableInput, place: str, tokens: Tokens
) -> pd.DataFrame:
    """Read who goes from home to work, or infer it from visits.

    Args:
        context: the run.
        table: visits, whose homes and work places are inferred as by
            :func:`mora.modalities.home_work.infer_commutes`; or flows from home to
            work.
        place: of ``table`` in the configuration.
        tokens: the places.

    Returns:
        origin, destination (tokens) and weight.

    Raises:
        TableError: if nobody commutes between tokens, or visits have no times.
    """
    if kind_of_table(context, table, place) == "visits":
        flows = _inferred(context, table, place, tokens)
    else:
        flows = _given(context, table, place, tokens)
    if flows.empty:
        raise TableError(
            f"{place}: nobody is known to go from one of {len(tokens)} tokens to work "
            f"in one; expected at least one commute. Give more records, or leave the "
            f"table out: residents alone are then described."
        )
    return flows


def _inferred(
    context: RunContext, table: TableInput, place: str, tokens: Tokens
) -> pd.DataFrame:
    mobility = context.config.mobility
    timezone, min_users = None, MIN_USERS
    if isinstance(mobility, VisitsMobility):
        timezone, min_users = mobility.timezone, mobility.min_users
    parts = list(read_sightings(context, table, place, tokens, timezone))
    if not parts:
        raise TableError(
            f"{place}: visits have weeks but no times; expected `time`, which tells "
            f"homes from work places."
        )
    users, token, clock = (np.concatenate(part) for part in zip(*parts, strict=True))
    return infer_commutes(users, token, pd.DatetimeIndex(clock), min_users=min_users)


def _given(
    context: RunContext, table: TableInput, place: str, tokens: Tokens
) -> pd.DataFrame:
    source = table.path or table.source or place
    flows, report = check_flows(context.frame(table, place, "flows"), source=source)
    named = "origin" in flows
    found = {end: rows_to_tokens(tokens, _points(flows, end, named)) for end in ENDS}
    inside = (found["origin"] >= 0) & (found["destination"] >= 0)
    lost = Problem("an end in no token", int((~inside).sum()), (), "dropped")
    context.report(report)
    if lost.count:
        kept = int(inside.sum())
        context.report(TableReport("flows", source, len(flows), kept, (lost,)))
    return pd.DataFrame({**found, "weight": flows["weight"].to_numpy(float)})[inside]


def _points(flows: pd.DataFrame, end: str, named: bool) -> pd.DataFrame:
    if named:
        return pd.DataFrame({"token": flows[end]})
    return pd.DataFrame({"lon": flows[f"{end}_lon"], "lat": flows[f"{end}_lat"]})


def read_sightings(
    context: RunContext,
    table: TableInput,
    place: str,
    tokens: Tokens,
    timezone: str | None,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Read who was seen in which token at what local time, a batch at a time.

    Args:
        context: the run.
        table: of visits.
        place: of ``table`` in the configuration.
        tokens: the places.
        timezone: of the clock, and of times without one; UTC if None.

    Returns:
        Users (hashed under a secret of this reading alone), tokens (-1 outside) and
        clock times; nothing if the visits have weeks only.
    """
    places = PlaceCoder.for_tokens(context)
    salt = secrets.token_bytes(32)
    for raw in visit_batches(context, table, place, places):
        frame, _ = check_visits(
            places.with_token(raw), timezone=timezone, source="visits"
        )
        frame, _ = keep_inside(frame, context.config.tokens.bounds, "visits")
        if "time" not in frame:
            return
        code, known = places.encode(frame)
        names = places.names(code[known])
        local = pd.DatetimeIndex(frame["time"][known]).tz_convert(timezone or "UTC")
        users = hash_users(frame["user"], salt)[known]
        yield users, tokens.find(names), local.tz_localize(None).to_numpy()
