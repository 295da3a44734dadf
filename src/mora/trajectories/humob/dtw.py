"""Dynamic time warping between predicted and true days, as in HuMob."""

import math

import numpy as np
from jaxtyping import Float, Int

from mora.kernels import kernel
from mora.trajectories.humob.days import (
    PairedDays,
    find_variant,
    pair_one_day,
    pair_user,
)

CELL_KM = 0.5  # side of a cell in HuMob


def dtw_km(
    generated: Int[np.ndarray, "generated 4"],
    reference: Int[np.ndarray, "reference 4"],
    variant: str = "humob2024",
    cell_km: float | int = CELL_KM,
) -> float:
    """Give the mean DTW distance over the days of one user.

    Source: Sakoe and Chiba 1978 for DTW; Yahoo Japan, ``geobleu``, for the variants.

    Args:
        generated: day, slot, column and row of each predicted event.
        reference: the same days and slots, with the true columns and rows.
        variant: of :data:`~mora.trajectories.humob.days.VARIANTS`.
        cell_km: side of a cell, > 0.

    Returns:
        Kilometres summed along the warping path, >= 0; 0 if both are the same.

    Raises:
        MoraError: if days and slots are not the same, or the variant is unknown.
    """
    days = pair_user(generated, reference)
    return float(daily_dtw_km(days, variant, cell_km).mean())


def day_dtw_km(
    generated: Int[np.ndarray, "generated 2"],
    reference: Int[np.ndarray, "reference 2"],
    variant: str = "humob2024",
    cell_km: float | int = CELL_KM,
) -> float:
    """Give the DTW distance of one day, whose two sides may differ in length.

    Args:
        generated: column and row of each predicted event in order of time.
        reference: column and row of each true event.
        variant: as in :func:`dtw_km`.
        cell_km: as in :func:`dtw_km`.
    """
    days = pair_one_day(generated, reference)
    return float(daily_dtw_km(days, variant, cell_km)[0])


def daily_dtw_km(
    days: PairedDays, variant: str = "humob2024", cell_km: float | int = CELL_KM
) -> Float[np.ndarray, " days"]:
    """Give the DTW distance of each day, as in :func:`dtw_km`."""
    distances = np.empty(len(days))
    _warp(
        days.generated,
        days.reference,
        days.generated_bounds,
        days.reference_bounds,
        float(cell_km),
        find_variant(variant).open_beginning,
        distances,
    )
    return distances


@kernel()
def _warp(
    generated: np.ndarray,
    reference: np.ndarray,
    generated_bounds: np.ndarray,
    reference_bounds: np.ndarray,
    cell_km: float,
    open_beginning: bool,
    distances: np.ndarray,
) -> None:
    """Fill the distance of each day, one row of the table of costs after another."""
    longest = 0
    for day in range(len(distances)):
        longest = max(longest, reference_bounds[day + 1] - reference_bounds[day])
    row = np.empty(longest + 1)  # cost of the best path to each reference event
    for day in range(len(distances)):
        first = reference_bounds[day]
        length = reference_bounds[day + 1] - first
        row[:] = 0.0 if open_beginning else np.inf
        row[0] = 0.0
        for i in range(generated_bounds[day], generated_bounds[day + 1]):
            diagonal, row[0] = row[0], np.inf
            for j in range(length):
                dx = generated[i, 0] - reference[first + j, 0]
                dy = generated[i, 1] - reference[first + j, 1]
                before = min(diagonal, row[j], row[j + 1])
                diagonal = row[j + 1]
                row[j + 1] = math.sqrt(dx * dx + dy * dy) * cell_km + before
        distances[day] = row[length]
