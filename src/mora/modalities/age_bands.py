"""People by sex and ten-year age band: 10 bands of women, then 10 of men.

The bands are 0-9, 10-19, ..., 80-89, and 90 and older.
"""

import re

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from mora.errors import MissingColumnError, TableError, examples

SEXES = ("f", "m")
BANDS = tuple(range(0, 100, 10))
WORKING_AGES = (16, 75)  # first age, and the age at which work ends
WORKER_COLUMNS = ("CA01", "CA02", "CA03", "CS01", "CS02")
WORKER_AGES = (30, 55)  # where the second and the third age group of LODES begin


def band_columns(side: str) -> list[str]:
    """Name the 20 columns of a side (home or work): ``home_f_0`` ... ``home_m_90``."""
    return [f"{side}_{sex}_{age}" for sex in SEXES for age in BANDS]


def to_bands(frame: pd.DataFrame, side: str) -> Float[np.ndarray, "rows 20"]:
    """Sum columns of any age groups within decades to ten-year bands.

    A table that ends at an open group before 90 (WorldPop until 2020 ends at 80 and
    older) leaves the bands after it empty.

    Args:
        frame: counts in columns ``{side}_{f|m}_{first age}``, such as ``home_f_15``;
            leading zeros in the age do not matter.
        side: home or work.

    Returns:
        People; NaN in all bands of a row with an empty column. No rows are lost.

    Raises:
        MissingColumnError: if there is no such column, or a sex lacks an age that the
            other has.
        TableError: if a group crosses the border of a decade, an age is there twice
            or a count is negative.
    """
    name = re.compile(rf"{side}_([fm])_(\d+)")
    found: dict[tuple[str, int], str] = {}
    for column in map(str, frame.columns):
        group = name.fullmatch(column)
        if group and (group[1], int(group[2])) in found:
            raise TableError(f"column {column!r} is there twice, but for zeros.")
        if group:
            found[group[1], int(group[2])] = column
    ages = sorted({age for _, age in found}) or [0]
    missing = [f"{side}_{s}_{a}" for s in SEXES for a in ages if (s, a) not in found]
    if missing:
        raise MissingColumnError("people by sex and age", missing, list(frame.columns))
    crossed = [d for d in BANDS if ages[0] < d < ages[-1] and d not in ages]
    if crossed:
        raise TableError(
            f"the age groups begin at {examples(ages)}; expected one to begin at each "
            f"decade between the first and the last (missing: {examples(crossed)})."
        )
    bands = np.zeros((len(frame), len(SEXES) * len(BANDS)))
    for (sex, age), column in found.items():
        band = SEXES.index(sex) * len(BANDS) + min(age // 10, len(BANDS) - 1)
        bands[:, band] += frame[column].to_numpy(np.float64, na_value=np.nan)
    if (bands < 0).any():
        raise TableError(
            f"{(bands < 0).sum()} counts of people are negative; expected 0 or more."
        )
    bands[np.isnan(bands).any(axis=1)] = np.nan
    return bands


def years_within(first: int, end: int) -> Float[np.ndarray, " bands"]:
    """Give what part of each ten-year band lies in ages ``first`` <= age < ``end``.

    Returns:
        Parts in 0..1; the open band counts as 90-99. All 0 where ``end`` is not above
        ``first``.
    """
    begin = np.array(BANDS)
    years = np.minimum(begin + 10, end) - np.maximum(begin, first)
    return np.maximum(years, 0) / 10


def spread_workers(
    counts: Float[np.ndarray, "rows 5"],
    residents: Float[np.ndarray, "20"],
    working_ages: tuple[int, int] = WORKING_AGES,
) -> Float[np.ndarray, "rows 20"]:
    """Spread LODES' three age groups and two sexes over bands of sex and age.

    Sex and age are taken to be independent within a row, and a group's ages to be
    distributed as among the residents of the same sex, evenly within a band. LODES has
    no more; what is known of a row (its ages, its sexes) is kept as it is.

    Args:
        counts: workers of 29 or younger, 30 to 54, 55 or older, men, women: the
            columns :data:`WORKER_COLUMNS`.
        residents: people of the whole region by band; all alike if there are none.
        working_ages: first age of work, below 30, and the age at which it ends, above
            55.

    Returns:
        Workers by band, which sum to those of the three age groups; 0 in a row
        without workers, NaN in a row with an empty column.

    Raises:
        TableError: if a count is negative, or the ages do not fit.
    """
    first, end = working_ages
    if not 0 <= first < WORKER_AGES[0] or end <= WORKER_AGES[1]:
        raise TableError(
            f"working ages {working_ages}; expected the first below {WORKER_AGES[0]} "
            f"and the end above {WORKER_AGES[1]}."
        )
    if (counts < 0).any():
        raise TableError(f"{(counts < 0).sum()} counts of workers are negative.")
    edges = (first, *WORKER_AGES, end)
    sexes = counts[:, [4, 3]]  # women first, as everywhere here
    total = sexes.sum(axis=1, keepdims=True)
    share = np.divide(sexes, total, out=np.full(sexes.shape, 0.5), where=total > 0)
    share[np.isnan(total[:, 0])] = np.nan
    bands = np.zeros((len(counts), len(SEXES), len(BANDS)))
    for group in range(3):
        years = years_within(edges[group], edges[group + 1])
        people = residents.reshape(len(SEXES), len(BANDS)) * years
        known = people.sum(axis=1, keepdims=True) > 0
        people = np.where(known, people, years)
        profile = people / people.sum(axis=1, keepdims=True)
        bands += counts[:, group, None, None] * share[:, :, None] * profile
    return bands.reshape(len(counts), -1)


def work_from_flows(
    home: Float[np.ndarray, "tokens 20"],
    origin: Int[np.ndarray, " flows"],
    destination: Int[np.ndarray, " flows"],
    weight: Float[np.ndarray, " flows"],
    working_ages: tuple[int, int] = WORKING_AGES,
) -> Float[np.ndarray, "tokens 20"]:
    """Give who works in each token, if those who set out are as those who live there.

    Args:
        home: residents by band; a token without any sends nobody whose age is known.
        origin: token of home, of each flow.
        destination: token of work.
        weight: people on the way, >= 0, in any unit.
        working_ages: first age of work, and the age at which it ends; residents of
            other ages do not set out.

    Returns:
        Workers by band in the unit of ``weight``; 0 in a token where nobody arrives.
        The sum is that of the weights of flows from places with residents of working
        age.

    Raises:
        TableError: if there are no working ages, a weight is negative, or an end is
            no token.
    """
    ends = np.concatenate([origin, destination])
    if ((ends < 0) | (ends >= len(home))).any():
        raise TableError(
            f"{((ends < 0) | (ends >= len(home))).sum()} of {len(ends)} ends of flows "
            f"are no tokens in 0..{len(home) - 1}; expected positions in the order."
        )
    able = np.tile(years_within(*working_ages), len(SEXES))
    if not able.any() or (weight < 0).any():
        raise TableError(
            f"working ages {working_ages} and {(weight < 0).sum()} of {len(weight)} "
            f"weights negative; expected ages in order, and weights of 0 or more."
        )
    people = np.nan_to_num(home) * able
    total = people.sum(axis=1, keepdims=True)
    shares = np.divide(people, total, out=np.zeros(people.shape), where=total > 0)
    work = np.zeros(home.shape)
    np.add.at(work, destination, weight[:, None] * shares[origin])
    return work
