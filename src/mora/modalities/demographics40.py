"""The paper's 40 columns: who lives and who works in a token, by sex and age."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from mora.errors import ConfigError, MissingColumnError
from mora.modalities.age_bands import (
    WORKER_COLUMNS,
    WORKING_AGES,
    band_columns,
    spread_workers,
    to_bands,
    work_from_flows,
)
from mora.modalities.demographics import histogram_shares, row_weights
from mora.modalities.features import Features, modality
from mora.modalities.population import count_age_sex
from mora.modalities.rows import fill_gaps, rows_inside
from mora.sources.worldpop import find_age_sex_rasters
from mora.tables.delimited import require_names
from mora.tokens import Tokens

FLOW_COLUMNS = ("origin", "destination", "weight")


@modality("demographics40")
def build_demographics40(
    tokens: Tokens,
    frame: pd.DataFrame | None = None,
    *,
    rasters: Mapping[str, Any] | None = None,
    flows: pd.DataFrame | None = None,
    working_ages: tuple[int, int] | list[int] = WORKING_AGES,
) -> Features:
    """Give the shares of ten-year age bands by sex, of residents and of workers.

    Source: the MoRA paper's demographic input has 40 columns: 10 age bands x 2 sexes x
    home and work; how its publishers made them is not public. Here residents and
    workers are two histograms, each of which sums to 1.

    What is known of residents (``home_``) and of workers (``work_``) may be either
    people by sex and age, ``home_f_0``, ``home_f_5``, ... (any groups within decades;
    see :func:`mora.modalities.population.count_age_sex`), or the columns of LODES,
    ``work_CA01`` ... ``work_CS02`` (see
    :func:`mora.sources.lodes_workers.read_lodes_workers`). Tables of both may stand
    below one another: a row with empty columns tells nothing on that side.

    Args:
        tokens: the row order of the features.
        frame: rows with ``token`` or ``lon`` and ``lat``, and counts as above;
            optionally ``share`` (0..1), the part of the row that lies in its token.
            Rows with ``origin`` and ``destination`` are ``flows``. None where rasters
            and flows tell everything.
        rasters: residents by sex and age from WorldPop: ``path``, a name with ``*``
            that all of one country's and year's rasters have, and optionally ``parts``
            (see :func:`mora.modalities.population.count_people`).
        flows: who goes from home (``origin``, a token) to work (``destination``), with
            ``weight``, where no column tells of workers: they are as old as where they
            come from. See :func:`mora.modalities.home_work.infer_commutes`.
        working_ages: first age of work, and the age at which it ends; used with LODES
            or flows.

    Returns:
        40 columns; only the 20 of residents where nothing tells of workers. Tokens
        without anyone are missing; a token with only residents or only workers gets
        the other side's mean over all tokens (counted in the notes).

    Raises:
        MissingColumnError: if nothing tells of residents, or ages or columns of one
            side are incomplete.
        ConfigError: if both rasters and columns tell of residents, both columns and
            flows of workers, or rasters have no path or unknown settings.
        TableError: if no row lies in a token, a count is negative or age groups cross
            decades.
    """
    ages = (working_ages[0], working_ages[1])
    rows, commutes = _apart(frame, flows)
    token, dropped = _places(tokens, rows)
    home = _count_side(tokens, rows, token, "home", None, ages)
    home = _one_of("home", "rasters", home, _count_rasters(tokens, rasters))
    if home is None:
        needed = ["home_f_0", f"home_{WORKER_COLUMNS[0]}"]
        raise MissingColumnError("residents", needed, list(rows.columns))
    work = _count_side(tokens, rows, token, "work", home, ages)
    work = _one_of("work", "flows", work, _count_commuters(home, commutes, ages))
    sides = {"home": home, "work": work}
    known = {side: counts for side, counts in sides.items() if counts is not None}
    columns = [name for side in known for name in band_columns(side)]
    people = np.column_stack([counts.sum(axis=1) for counts in known.values()])
    shares = np.hstack([histogram_shares(counts) for counts in known.values()])
    filled, present, gaps = fill_gaps(shares, people.sum(axis=1), columns)
    notes = {
        "rows": len(rows),
        "dropped": dropped,
        "filled_values": gaps,
        **{f"without_{s}": int((c.sum(axis=1) == 0).sum()) for s, c in known.items()},
    }
    return Features.from_values(filled, present, columns, notes)


def _apart(
    frame: pd.DataFrame | None, flows: pd.DataFrame | None
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Take the rows that are flows out of a table."""
    if frame is None:
        return pd.DataFrame(), flows
    if "origin" not in frame:
        return frame, flows
    moving = frame["origin"].notna()
    known = [name for name in FLOW_COLUMNS if name in frame]
    return frame[~moving].drop(columns=known), frame.loc[moving, known]


def _places(
    tokens: Tokens, frame: pd.DataFrame
) -> tuple[Int[np.ndarray, " rows"], int]:
    """Find the token of each row, and how many have none."""
    if frame.empty:
        return np.zeros(0, np.int64), 0
    return rows_inside(tokens, frame, "rows")


def _one_of(
    side: str,
    other: str,
    columns: Float[np.ndarray, "tokens 20"] | None,
    beside: Float[np.ndarray, "tokens 20"] | None,
) -> Float[np.ndarray, "tokens 20"] | None:
    """Take the one of two ways to know a side that is there."""
    if columns is not None and beside is not None:
        who = "residents" if side == "home" else "workers"
        raise ConfigError(
            f"columns `{side}_...` and {other} both tell of {who}; expected one of "
            f"them. Leave the other out."
        )
    return beside if columns is None else columns


def _count_rasters(
    tokens: Tokens, rasters: Mapping[str, Any] | None
) -> Float[np.ndarray, "tokens 20"] | None:
    """Sum the residents of rasters by band of sex and age."""
    if rasters is None:
        return None
    if "path" not in rasters or not set(rasters) <= {"path", "parts"}:
        raise ConfigError(
            f"demographics40: rasters {dict(rasters)}; expected `path` and optionally "
            f"`parts`, nothing else."
        )
    found = find_age_sex_rasters(rasters["path"])
    counts = count_age_sex(tokens, found, parts=rasters.get("parts", 1))
    return to_bands(counts, "home")


def _count_commuters(
    residents: Float[np.ndarray, "tokens 20"],
    flows: pd.DataFrame | None,
    working_ages: tuple[int, int],
) -> Float[np.ndarray, "tokens 20"] | None:
    """Bring workers to where they work, as old as where they come from."""
    if flows is None:
        return None
    require_names(FLOW_COLUMNS, [*map(str, flows.columns)], "flows")
    ends = (flows[end].to_numpy(np.int64) for end in FLOW_COLUMNS[:2])
    weight = flows["weight"].to_numpy(np.float64)
    return work_from_flows(residents, *ends, weight, working_ages)


def _count_side(
    tokens: Tokens,
    frame: pd.DataFrame,
    token: Int[np.ndarray, " rows"],
    side: str,
    residents: Float[np.ndarray, "tokens 20"] | None,
    working_ages: tuple[int, int],
) -> Float[np.ndarray, "tokens 20"] | None:
    """Sum the people of one side per token; None where no column tells of them."""
    lodes = [f"{side}_{name}" for name in WORKER_COLUMNS]
    if any(str(c).startswith((f"{side}_f_", f"{side}_m_")) for c in frame.columns):
        bands = to_bands(frame, side)
    elif any(column in frame for column in lodes):
        missing = [column for column in lodes if column not in frame]
        if missing:
            raise MissingColumnError("workers", missing, list(frame.columns))
        counts = frame[lodes].to_numpy(np.float64, na_value=np.nan)
        region = np.zeros(20) if residents is None else residents.sum(axis=0)
        bands = spread_workers(counts, region, working_ages)
    else:
        return None
    telling = (token >= 0) & ~np.isnan(bands).any(axis=1)
    people = bands[telling] * row_weights(frame, None)[telling, None]
    counts = np.zeros((len(tokens), bands.shape[1]))
    np.add.at(counts, token[telling], people)
    return counts
