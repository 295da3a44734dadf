"""Decoding for nearness: the cell that is close to where a user may be."""

import numpy as np
from jaxtyping import Float, Int

from mora.errors import MoraError
from mora.kernels import kernel


def nearest_in_expectation(
    offsets: Int[np.ndarray, " bounds"],
    tokens: Int[np.ndarray, " entries"],
    weights: Float[np.ndarray, " entries"],
    plane: Float[np.ndarray, "tokens 2"],
    *,
    candidates: tuple[Int[np.ndarray, " others"], Int[np.ndarray, " options"]]
    | None = None,
    beta: float | int = 0.5,
) -> Int[np.ndarray, " events"]:
    """Give the candidate that maximises the sum of weight times exp(-beta distance).

    This is the prediction of the least expected loss where nearness is what counts.

    Args:
        offsets: cells of event ``i`` are ``offsets[i]:offsets[i + 1]``.
        tokens: cells that the user may be at.
        weights: of these cells, >= 0, in any unit.
        plane: place of every token, in cells, as from ``plane_coordinates``.
        candidates: offsets and tokens that may be answered; the cells themselves by
            default.
        beta: how fast nearness falls with the distance in cells, >= 0, as in GEO-BLEU;
            with 0 all candidates are alike.

    Returns:
        Tokens; of equal candidates the first one; -1 for an event without cells or
        candidates. Where beta is large, the heaviest cell.

    Raises:
        MoraError: if the offsets of cells and candidates count different events.
    """
    options = (offsets, tokens) if candidates is None else candidates
    if len(options[0]) != len(offsets):
        raise MoraError(
            f"candidates for {len(options[0]) - 1} events and weighted cells for "
            f"{len(offsets) - 1}; expected the same events in the same order."
        )
    found = np.empty(len(offsets) - 1, np.int32)
    # One type each: numba compiles every other one anew.
    bounds, others = (np.asarray(a, np.int64) for a in (offsets, options[0]))
    cells, answers = (np.asarray(a, np.int32) for a in (tokens, options[1]))
    shares, places = (np.asarray(a, np.float64) for a in (weights, plane))
    _decode(bounds, cells, shares, others, answers, places, float(beta), found)
    return found


@kernel()
def _decode(
    offsets: Int[np.ndarray, " bounds"],
    tokens: Int[np.ndarray, " entries"],
    weights: Float[np.ndarray, " entries"],
    option_offsets: Int[np.ndarray, " others"],
    options: Int[np.ndarray, " options"],
    plane: Float[np.ndarray, "tokens 2"],
    beta: float,
    found: Int[np.ndarray, " events"],
) -> None:
    """Write the best option of each event.

    Events of one user mostly have the same cells, whose nearness is worked out once.
    """
    old_cells, old_options = tokens[:0], options[:0]
    nearness = np.empty((0, 0))
    for event in range(len(found)):
        cells = tokens[offsets[event] : offsets[event + 1]]
        mine = options[option_offsets[event] : option_offsets[event + 1]]
        if len(cells) == 0 or len(mine) == 0:
            found[event] = -1
            continue
        if not (_equal(cells, old_cells) and _equal(mine, old_options)):
            nearness = _nearness(cells, mine, plane, beta)
            old_cells, old_options = cells, mine
        scores = np.zeros(len(mine))
        for i in range(len(cells)):
            weight = weights[offsets[event] + i]
            if weight > 0:
                for j in range(len(mine)):
                    scores[j] += weight * nearness[i, j]
        found[event] = mine[np.argmax(scores)]


@kernel()
def _equal(first: Int[np.ndarray, " n"], second: Int[np.ndarray, " m"]) -> bool:
    """Say whether two lists are the same."""
    if len(first) != len(second):
        return False
    for i in range(len(first)):  # noqa: SIM110 - numba has no all() of a generator
        if first[i] != second[i]:
            return False
    return True


@kernel()
def _nearness(
    cells: Int[np.ndarray, " cells"],
    options: Int[np.ndarray, " options"],
    plane: Float[np.ndarray, "tokens 2"],
    beta: float,
) -> Float[np.ndarray, "cells options"]:
    """Give exp(-beta distance) between cells and options."""
    nearness = np.empty((len(cells), len(options)))
    for i in range(len(cells)):
        for j in range(len(options)):
            x = plane[cells[i], 0] - plane[options[j], 0]
            y = plane[cells[i], 1] - plane[options[j], 1]
            nearness[i, j] = np.exp(-beta * np.sqrt(x * x + y * y))
    return nearness
