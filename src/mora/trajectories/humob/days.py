"""Days to be compared event by event, and the two ways in which HuMob did that."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from mora.errors import MoraError, examples
from mora.tokens import GridTokens, Tokens
from mora.trajectories.events import Events, plane_coordinates


@dataclass(frozen=True)
class Variant:
    """How one year of the challenge worked its metrics out.

    Attributes:
        longest_ngram: N of GEO-BLEU.
        per_match: divide the sum of proximities by the number of matches, as the code
            of 2023 and 2024 did; otherwise by the number of generated n-grams. The
            same where both sides have as many events, as in the challenge.
        open_beginning: in DTW, let the first generated event meet any event of the
            reference and pass over the earlier ones for nothing. This rewards
            predictions that never move.
    """

    longest_ngram: int
    per_match: bool
    open_beginning: bool


VARIANTS = {
    "humob2024": Variant(longest_ngram=3, per_match=True, open_beginning=True),
    "giscup2025": Variant(longest_ngram=5, per_match=False, open_beginning=False),
}


def find_variant(name: str) -> Variant:
    """Look a variant up.

    Raises:
        MoraError: if there is none of that name.
    """
    if name not in VARIANTS:
        raise MoraError(
            f"no variant {name!r} of the metrics; expected one of {list(VARIANTS)}."
        )
    return VARIANTS[name]


@dataclass(frozen=True, eq=False)
class PairedDays:
    """Generated and reference events of many days.

    Attributes:
        generated: places in a plane whose unit is one cell, in order of time.
        reference: the same for the true places.
        generated_bounds: generated events of day ``i`` are rows
            ``generated_bounds[i]:generated_bounds[i + 1]``; a day has at least one.
        reference_bounds: the same for the reference.
    """

    generated: Float64[np.ndarray, "generated 2"]
    reference: Float64[np.ndarray, "reference 2"]
    generated_bounds: Int[np.ndarray, " bounds"]
    reference_bounds: Int[np.ndarray, " bounds"]

    def __len__(self) -> int:
        return len(self.generated_bounds) - 1


def pair_one_day(
    generated: Int[np.ndarray, "generated 2"] | Float[np.ndarray, "generated 2"],
    reference: Int[np.ndarray, "reference 2"] | Float[np.ndarray, "reference 2"],
) -> PairedDays:
    """Pair one day, whose two sides may differ in length.

    Args:
        generated: column and row of the generated events in order of time.
        reference: the same of the true events.

    Raises:
        MoraError: if one of them has no events.
    """
    if len(generated) == 0 or len(reference) == 0:
        raise MoraError(
            f"{len(generated)} generated and {len(reference)} reference events; "
            f"expected at least one of each."
        )
    return PairedDays(
        np.ascontiguousarray(generated, np.float64),
        np.ascontiguousarray(reference, np.float64),
        np.array([0, len(generated)]),
        np.array([0, len(reference)]),
    )


def pair_user(
    generated: Int[np.ndarray, "generated 4"], reference: Int[np.ndarray, "reference 4"]
) -> PairedDays:
    """Pair the days of one user.

    Args:
        generated: day, slot, column and row of each event.
        reference: the same days and slots, with the true columns and rows.

    Raises:
        MoraError: if there are no events, or days and slots are not the same.
    """
    if len(generated) != len(reference) or len(reference) == 0:
        raise MoraError(
            f"{len(generated)} generated and {len(reference)} reference events; "
            f"expected as many of each and at least one. Predict every masked event "
            f"once."
        )
    require_same_times(generated[:, :2], reference[:, :2])
    order = np.lexsort([reference[:, 1], reference[:, 0]])  # stable
    bounds = bounds_of_runs(reference[order, :1])
    places = (side[order, 2:].astype(np.float64) for side in (generated, reference))
    return PairedDays(*places, bounds, bounds)


def pair_events(generated: Events, reference: Events) -> PairedDays:
    """Pair the days of all users.

    Args:
        generated: predicted events of the same users, days and slots as the reference.
        reference: true events; their tokens may be in another order if both are cells
            of one grid.

    Returns:
        Days in the order of users and days.

    Raises:
        MoraError: if an event is missing, extra or masked, or the places differ.
    """
    _require_same_places(generated.tokens, reference.tokens)
    _require_same_events(generated, reference)
    for name, events in [("generated", generated), ("reference", reference)]:
        if events.masked().any():
            raise MoraError(
                f"{events.masked().sum()} of {len(events)} {name} events are masked; "
                f"expected a place for each."
            )
    bounds = bounds_of_runs(_user_days(reference))
    places = (
        plane_coordinates(side.tokens)[side.token] for side in (generated, reference)
    )
    return PairedDays(*places, bounds, bounds)


def cell_side_km(tokens: Tokens) -> float:
    """Give the side of a cell, or of a square as large as a place on average."""
    if isinstance(tokens, GridTokens):
        return float(tokens.cell_km)
    return float(np.sqrt(tokens.areas_km2().mean()))


def require_same_times(
    generated: Int[np.ndarray, "events 2"], reference: Int[np.ndarray, "events 2"]
) -> None:
    """Refuse events that are not at the same days and slots, row by row.

    Raises:
        MoraError: naming the first rows that differ.
    """
    bad: Bool[np.ndarray, " events"] = (generated != reference).any(axis=1)
    if bad.any():
        raise MoraError(
            f"{bad.sum()} of {len(bad)} generated events are at another day and slot "
            f"than the reference (first: {generated[bad][:3].tolist()} instead of "
            f"{reference[bad][:3].tolist()}). Predict exactly the masked events, "
            f"sorted by user, day and slot."
        )


def bounds_of_runs(rows: Int[np.ndarray, "rows columns"]) -> Int[np.ndarray, " bounds"]:
    """Give where each run of equal rows begins, and the number of rows at the end."""
    changes = np.flatnonzero((rows[1:] != rows[:-1]).any(axis=1)) + 1
    return np.concatenate([[0], changes, [len(rows)]]).astype(np.int64)


def _require_same_events(generated: Events, reference: Events) -> None:
    """Refuse other users, user-days with missing or extra events, and other slots."""
    _require_same_users(generated, reference)
    if len(reference) == 0:
        raise MoraError("no events to score; expected at least one of a user.")
    same_length = np.array_equal(generated.offsets, reference.offsets)
    if not (same_length and np.array_equal(generated.day, reference.day)):
        _refuse_user_days(generated, reference)
    require_same_times(_times(generated), _times(reference))


def _require_same_users(generated: Events, reference: Events) -> None:
    missing = np.setdiff1d(reference.users, generated.users)
    extra = np.setdiff1d(generated.users, reference.users)
    if len(missing) or len(extra):
        raise MoraError(
            f"{len(missing)} users of the reference are not generated (first: "
            f"{examples(missing.tolist())}) and {len(extra)} generated users are not "
            f"in the reference (first: {examples(extra.tolist())}); expected the same "
            f"{len(reference.users)} users."
        )


def _refuse_user_days(generated: Events, reference: Events) -> None:
    """Say which user-days have missing or extra events."""
    both = np.concatenate([_user_days(generated), _user_days(reference)])
    days, position = np.unique(both, axis=0, return_inverse=True)
    halves = np.split(position.ravel(), [len(generated)])
    made, true = (np.bincount(half, minlength=len(days)) for half in halves)
    few, many = np.flatnonzero(made < true), np.flatnonzero(made > true)
    first = days[[*few, *many]][:3].tolist()
    shown = [(reference.users[user].item(), day) for user, day in first]
    raise MoraError(
        f"{len(few)} of {len(days)} user-days have missing events "
        f"({(true - made)[few].sum()} in all) and {len(many)} have extra ones "
        f"({(made - true)[many].sum()} in all); first (user, day): "
        f"{examples(shown)}. Predict exactly the masked events."
    )


def _user_days(events: Events) -> Int[np.ndarray, "events 2"]:
    return np.column_stack([events.user_rows(), events.day])


def _times(events: Events) -> Int[np.ndarray, "events 2"]:
    return np.column_stack([events.day, events.slot])


def _require_same_places(generated: Tokens, reference: Tokens) -> None:
    """Refuse places whose coordinates in the plane cannot be compared."""
    if isinstance(generated, GridTokens) and isinstance(reference, GridTokens):
        grids = [(t.width, t.height, t.cell_km) for t in (generated, reference)]
        if grids[0] == grids[1]:
            return
        raise MoraError(
            f"generated events are on a grid of {grids[0]} (width, height, km) and the "
            f"reference on one of {grids[1]}; expected the same grid."
        )
    if generated is not reference and not np.array_equal(generated.ids, reference.ids):
        raise MoraError(
            f"{len(generated)} generated places are not the {len(reference)} places of "
            f"the reference; expected the same tokens in the same order."
        )
