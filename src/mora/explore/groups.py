"""Places of like vectors as a few groups, for the colours and legend of a map."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int, Real, UInt8

from mora.explore.colour import oklab_to_srgb

LIGHTNESS = (0.56, 0.76)  # in turn, so that neighbours on the circle of hues differ
CHROMA = 0.11  # as colourful as every hue can be at both lightnesses
CLEAR = 0.3  # standard deviations from the mean of all places worth a word
ROUNDS = 100  # of k-means; it settles long before


def vector_groups(
    vectors: Float[np.ndarray, "tokens dim"], count: int = 8, seed: int = 0
) -> Int[np.ndarray, " tokens"]:
    """Divide places into groups of like direction with k-means, the largest first.

    Source: spherical k-means as k-means of vectors of length 1 (Dhillon & Modha 2001),
    so that groups go by cosine, as similarity does.

    Args:
        vectors: one row per place, finite.
        count: groups; fewer where there are fewer places; >= 1.
        seed: of the first centres.

    Returns:
        Group of each place from 0; all 0 for one group.
    """
    from sklearn.cluster import KMeans  # a second to import

    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(length > 0, length, 1)
    count = min(count, len(np.unique(unit, axis=0)))
    means = KMeans(count, n_init=1, max_iter=ROUNDS, random_state=seed)
    found = means.fit_predict(unit)
    by_size = np.argsort(-np.bincount(found, minlength=count), kind="stable")
    return np.argsort(by_size)[found]


def group_colours(count: int) -> UInt8[np.ndarray, "count 3"]:
    """Give each group a hue of its own.

    Args:
        count: groups; >= 1.

    Returns:
        Red, green, blue; hues at equal steps, dark and light in turn.
    """
    hue = 2 * np.pi * np.arange(count) / count
    lightness = np.resize(LIGHTNESS, count)
    lab = [lightness, CHROMA * np.cos(hue), CHROMA * np.sin(hue)]
    return oklab_to_srgb(np.column_stack(lab))


def describe_groups(
    group: Int[np.ndarray, " tokens"],
    columns: Mapping[str, Real[np.ndarray, " tokens"]],
    words: int = 3,
) -> list[str]:
    """Say by what each group stands out from all places.

    Args:
        group: of each place, from 0.
        columns: numbers per place by name; NaN where unknown.
        words: columns named a group at most; those in which its mean differs most.

    Returns:
        A text a group, such as ``high Population, low Under 18``; ``near the average``
        where no column differs by 0.3 standard deviations.
    """
    distance = np.array([_distances(group, values) for values in columns.values()])
    if not len(columns):
        return ["near the average"] * int(group.max() + 1)
    texts = []
    for column in distance.T:
        strongest = np.argsort(-np.abs(column), kind="stable")[:words]
        texts.append(
            ", ".join(
                f"{'high' if column[i] > 0 else 'low'} {list(columns)[i]}"
                for i in strongest
                if abs(column[i]) >= CLEAR
            )
            or "near the average"
        )
    return texts


def _distances(group: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Give how far each group's mean lies from that of all, in standard deviations."""
    known = np.isfinite(values)
    count = np.bincount(group[known], minlength=group.max() + 1)
    total = np.bincount(group[known], values[known], minlength=group.max() + 1)
    spread = values[known].std() if known.any() else 0.0
    if not spread > 0:
        return np.zeros(len(count))
    mean = total / np.maximum(count, 1)
    return np.where(count > 0, (mean - values[known].mean()) / spread, 0.0)
