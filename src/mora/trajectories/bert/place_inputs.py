"""What is known of a place in any city: points of interest, visits, time of day."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.spatial import cKDTree
from scipy.stats import rankdata

from mora.errors import MoraError
from mora.trajectories.events import Events, is_weekend, plane_coordinates

HOURS = 24
SMOOTHING = 20.0  # visits of the average place that every place's profile begins with


@dataclass(frozen=True, eq=False)
class PlaceInputs:
    """Two views of every place of a city, each with the mean of the places around.

    Nothing in them says which city it is or where in it a place lies, so that alike
    places of two cities have alike rows.

    Attributes:
        categories: log(1 + count) of each category; then the same of the surroundings.
        use: share of places that are visited less, 0 to 1; log of the share of the
            visits in each hour of weekdays and of weekends over that of the whole city;
            then the same of the surroundings.
        profile: columns of ``use`` that hold the hours of the place itself.
        visited: places that have visits; the others have no use of their own.
    """

    categories: Float[np.ndarray, "places categories"]
    use: Float[np.ndarray, "places use"]
    profile: slice
    visited: Bool[np.ndarray, " places"]

    def __len__(self) -> int:
        return len(self.visited)


def build_place_inputs(
    events: Events,
    counts: Int[np.ndarray, "tokens categories"]
    | Float[np.ndarray, "tokens categories"],
    radius_cells: float = 1.5,
) -> PlaceInputs:
    """Compute the inputs of all places of a city.

    Args:
        events: of its users; masked events are left out.
        counts: points of interest of each category, the same categories in every city.
        radius_cells: places whose middles are so near are the surroundings; 1.5 takes
            the eight cells around a cell.

    Returns:
        Inputs in the order of the tokens; of a place never visited, the use is that of
        the average place.

    Raises:
        MoraError: if there is not one row of counts a place, a count is negative, or no
            event has a known place.
    """
    _check(events, counts)
    token = events.token[~events.masked()]
    visits = np.bincount(token, minlength=len(events.tokens))
    categories = np.log1p(counts.astype(np.float64))
    popularity = rankdata(visits, method="min") / len(visits) - 1 / len(visits)
    use = np.column_stack([popularity, _log_lift(events, visits)])
    around = _surroundings(plane_coordinates(events.tokens), radius_cells)
    return PlaceInputs(
        np.hstack([categories, around @ categories]).astype(np.float32),
        np.hstack([use, around @ use]).astype(np.float32),
        slice(1, 1 + 2 * HOURS),
        visits > 0,
    )


def _log_lift(
    events: Events, visits: Int[np.ndarray, " tokens"]
) -> Float[np.ndarray, "tokens hours"]:
    """Give log(share of a place's visits in an hour / share of the city's)."""
    known = ~events.masked()
    hour = events.slot[known] * HOURS // events.slots_a_day
    column = hour + HOURS * is_weekend(events.day[known])
    table = np.bincount(
        events.token[known] * 2 * HOURS + column, minlength=len(visits) * 2 * HOURS
    ).reshape(len(visits), -1)
    # One visit an hour more, so that no hour of the city is empty.
    city = (table.sum(axis=0) + 1) / (table.sum() + 2 * HOURS)
    share = (table + SMOOTHING * city) / (visits[:, None] + SMOOTHING)
    return np.log(share / city)


def _surroundings(
    plane: Float[np.ndarray, "tokens 2"], radius: float
) -> sparse.csr_matrix:
    """Give the matrix that averages over the places around each one; zeros if none."""
    pairs = cKDTree(plane).query_pairs(radius, output_type="ndarray")
    rows, columns = np.vstack([pairs, pairs[:, ::-1]]).T
    ones = np.ones(len(rows))
    near = sparse.csr_matrix((ones, (rows, columns)), shape=(len(plane), len(plane)))
    return sparse.diags(1 / np.maximum(near.sum(axis=1).A1, 1)) @ near


def _check(events: Events, counts: np.ndarray) -> None:
    if len(counts) != len(events.tokens):
        raise MoraError(
            f"{len(counts)} rows of counts for {len(events.tokens)} places; expected "
            f"one row a place, in the order of the tokens."
        )
    if (counts < 0).any():
        raise MoraError(
            f"{(counts < 0).sum()} of {counts.size} counts of points of interest are "
            f"negative (first: {counts[counts < 0][:3].tolist()}); expected 0 or more."
        )
    if events.masked().all():
        raise MoraError(
            f"none of {len(events)} events has a known place; expected some to see how "
            f"places are used. Give the events before the masked days."
        )
