"""Graphs of regions that are alike: what methods of the HREP family begin with."""

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int

from mora.errors import MoraError

ROWS_A_BLOCK = 1024  # rows of similarities held at once


def unit_rows(values: Float[np.ndarray, "tokens dim"] | sp.csr_array) -> sp.csr_array:
    """Scale each row to length 1, so that dot products are cosines.

    Of flows, these are the cosines of where trips go to: a row of trips and its shares
    (transition probabilities) point the same way.

    Args:
        values: one row a token; rows with NaN count as unknown.

    Returns:
        Sparse rows; those unknown or of length 0 are empty, and so like no other.
    """
    if isinstance(values, np.ndarray):
        values = sp.csr_array(np.where(known_rows(values)[:, None], values, 0.0))
    length = np.sqrt(np.asarray(values.multiply(values).sum(axis=1)).ravel())
    scale = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
    return sp.csr_array(sp.diags_array(scale) @ values)


def known_rows(values: Float[np.ndarray, "tokens dim"]) -> Bool[np.ndarray, " tokens"]:
    """Mark the tokens all of whose columns are known."""
    return np.isfinite(values).all(axis=1)


def feature_profiles(values: Float[np.ndarray, "tokens dim"]) -> sp.csr_array:
    """Give unit rows whose dot products say how alike two tokens' features are.

    Counts (no number below 0) are weighted by TF-IDF, as categories that every region
    has tell little; Zhang et al. 2020, MVURE, section 3. Other numbers are taken as
    they come.

    Args:
        values: one row a token; NaN where unknown.

    Returns:
        Sparse rows of length 1, empty for tokens that are unknown or have nothing.
    """
    known = known_rows(values)
    if (values[known] < 0).any() or not known.any():
        return unit_rows(values)
    from sklearn.feature_extraction.text import TfidfTransformer

    counts = sp.csr_array(values[known], dtype=np.float64)
    weighted = np.zeros(values.shape)
    weighted[known] = TfidfTransformer().fit_transform(counts).toarray()
    return unit_rows(weighted)


def nearest_graph(profiles: sp.csr_array, nearest: int) -> sp.csr_array:
    """Join each token with those most like it.

    Source: Zhou et al. 2023, HREP: two tokens are joined if either is among the
    nearest of the other, itself counted.

    Args:
        profiles: unit rows, from :func:`unit_rows`.
        nearest: tokens that each chooses, itself among them, >= 1; 10 in HREP.

    Returns:
        Ones on the diagonal and for each joined pair, symmetric. Tokens with an empty
        row choose and are chosen by none; ``nearest=1`` joins none.

    Raises:
        MoraError: if ``nearest`` is below 1.
    """
    if nearest < 1:
        raise MoraError(f"nearest is {nearest}; expected 1 or more, such as 10.")
    tokens = profiles.shape[0]
    blocks = [np.zeros((2, 0), np.int64)]
    for first in range(0, tokens, ROWS_A_BLOCK):
        rows = profiles[first : first + ROWS_A_BLOCK]
        likeness = (rows @ profiles.T).toarray()
        blocks.append(_nearest_pairs(likeness, first, min(nearest, tokens)))
    row, col = np.concatenate(blocks, axis=1)
    chosen = sp.csr_array((np.ones(len(row)), (row, col)), shape=(tokens, tokens))
    return joined(chosen)


def _nearest_pairs(
    likeness: Float[np.ndarray, "rows tokens"], first: int, nearest: int
) -> Int[np.ndarray, "2 pairs"]:
    """Give row and column of the largest entries of each row that are above 0.

    Args:
        likeness: of the tokens from ``first`` on with all tokens.
        first: token of the first row.
        nearest: entries a row.
    """
    row = np.arange(len(likeness))
    likeness[row, first + row] *= 2  # itself first, before its equals
    columns = np.argsort(-likeness, axis=1, kind="stable")[:, :nearest]
    pairs = np.stack([np.repeat(row, nearest), columns.ravel()])
    pairs = pairs[:, likeness[pairs[0], pairs[1]] > 0]
    return pairs + np.array([[first], [0]])


def joined(chosen: sp.csr_array) -> sp.csr_array:
    """Make a choice mutual: ones where either end chose the other, and on itself."""
    both = sp.csr_array(chosen + chosen.T + sp.eye_array(chosen.shape[0]))
    both.data[:] = 1.0
    return both


def convolution(graph: sp.csr_array) -> sp.csr_array:
    """Scale a graph for convolution, D^-1/2 A D^-1/2.

    Source: Kipf & Welling 2017, eq. 2.

    Args:
        graph: ones, the diagonal included, from :func:`joined`.

    Returns:
        The operator; a token joined with itself alone keeps its own vector.
    """
    scale = sp.diags_array(1 / np.sqrt(np.asarray(graph.sum(axis=1)).ravel()))
    operator = sp.csr_array(scale @ graph @ scale)
    operator.sort_indices()
    return operator


def choose_block(
    features: Mapping[str, Float[np.ndarray, "tokens _"]], name: str
) -> Float[np.ndarray, "tokens _"]:
    """Give the block of features with the name, or else the first.

    Args:
        features: at least one block by name.
        name: the one that is wanted.
    """
    return features[name] if name in features else next(iter(features.values()))
