"""Where the users of visit records live, counted per place."""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int, Real, Shaped

from mora.errors import MoraError, examples

NIGHT = (21, 6)  # from 9 in the evening to 6 in the morning


def infer_homes(
    user: Shaped[np.ndarray, " records"],
    token: Int[np.ndarray, " _"],
    local_hour: Real[np.ndarray, " _"],
    *,
    tokens: int,
    night: tuple[int, int] = NIGHT,
    min_records: int = 10,
    min_users: int = 5,
) -> Int[np.ndarray, " tokens"]:
    """Count the users whose home is each place.

    A user's home is the place with most of their records at night, or of all their
    records where none is at night; among equals the lower token. Ids leave no trace in
    the result.

    Source: the criterion of most records at night is one of those that Vanhoof et al.
    2018 compare (Assessing the quality of home detection from mobile phone data for
    official statistics).

    Args:
        user: id of each record's user, of any kind that can be compared.
        token: place of each record; -1 where it lies outside all places.
        local_hour: hour of the day at the place, 0 <= hour < 24, whole or not.
        tokens: number of places.
        night: first hour of the night, and the hour at which it ends.
        min_records: users with fewer records, those outside all places left out, have
            no home; >= 1.
        min_users: smaller counts are hidden, that is 0; 1 hides nothing.

    Returns:
        Users per place; 0 everywhere without records. The sum is at most the number
        of users.

    Raises:
        MoraError: if lengths differ, a token, an hour or a threshold is out of range.
    """
    _check(user, token, local_hour, tokens, night, min(min_records, min_users))
    inside = token >= 0
    codes, distinct = pd.factorize(user[inside])
    if (codes < 0).any():
        raise MoraError(
            f"{(codes < 0).sum()} of {len(codes)} records have no user; expected an id "
            f"in each. Drop these records."
        )
    users, at_night = len(distinct), _is_night(local_hour[inside], night)
    del distinct  # ids are not needed any more
    enough = np.bincount(codes, minlength=users) >= min_records
    sleeps = np.bincount(codes[at_night], minlength=users) > 0
    telling = enough[codes] & (at_night | ~sleeps[codes])
    homes = _most_visited(codes[telling], token[inside][telling], tokens)
    count = np.bincount(homes, minlength=tokens)
    return np.where(count >= min_users, count, 0)


def _is_night(
    hour: Real[np.ndarray, " n"], night: tuple[int, int]
) -> Bool[np.ndarray, " n"]:
    """Say which hours are at night; a night may run over midnight or not."""
    begin, end = night
    if begin < end:
        return (hour >= begin) & (hour < end)
    return (hour >= begin) | (hour < end)


def _most_visited(
    user: Int[np.ndarray, " n"], token: Int[np.ndarray, " n"], tokens: int
) -> Int[np.ndarray, " users"]:
    """Give the place that each user was seen at most, the lowest among equals."""
    # One number a pair: sorting it is faster than grouping by two columns.
    pair = user.astype(np.int64) * tokens + token
    pair.sort()
    first = np.flatnonzero(np.diff(pair, prepend=-1))
    count = np.diff(first, append=len(pair))
    user, token = np.divmod(pair[first], max(tokens, 1))
    del pair
    begin = np.flatnonzero(np.diff(user, prepend=-1))
    most = np.maximum.reduceat(count, begin)
    top = np.flatnonzero(count == np.repeat(most, np.diff(begin, append=len(user))))
    # Pairs are in the order of tokens, so the first of a user's best is the lowest.
    return token[top[np.diff(user[top], prepend=-1) != 0]]


def _check(
    user: np.ndarray,
    token: np.ndarray,
    hour: np.ndarray,
    tokens: int,
    night: tuple[int, int],
    threshold: int,
) -> None:
    """Refuse records that cannot be counted."""
    if not len(user) == len(token) == len(hour):
        raise MoraError(
            f"{len(user)} users, {len(token)} tokens and {len(hour)} hours; expected "
            f"one of each a record."
        )
    if threshold < 1:
        raise MoraError(
            f"min_records or min_users is {threshold}; expected 1 (hides nothing) or "
            f"more."
        )
    if night[0] == night[1] or not set(night) <= set(range(24)):
        raise MoraError(
            f"the night is {night}; expected two different hours in 0..23, such as "
            f"{NIGHT}."
        )
    wrong = (token < -1) | (token >= tokens)
    if wrong.any():
        raise MoraError(
            f"{wrong.sum()} of {len(token)} tokens are not in 0..{tokens - 1} (first: "
            f"{examples(token[wrong][:4].tolist())}); expected positions in the token "
            f"order, or -1 outside all places."
        )
    wrong = ~((hour >= 0) & (hour < 24))
    if wrong.any():
        raise MoraError(
            f"{wrong.sum()} of {len(hour)} hours are not in 0..24 (first: "
            f"{examples(hour[wrong][:4].tolist())}); expected local hours of the day."
        )
