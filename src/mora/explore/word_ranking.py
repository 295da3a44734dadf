"""How well each place answers a text."""

import numpy as np
from jaxtyping import Float

from mora.explore.words import WordSearch
from mora.nearest import along_from, unit_rows

# Both chosen on categories of places that the benchmark does not ask for.
MOVEMENT_WEIGHT = 0.5
FEEDBACK = 100  # places that say what a text means, at most a tenth of all


def score_words(
    words: WordSearch,
    unit: Float[np.ndarray, "tokens dim"],
    text: str,
    movement: float | int = MOVEMENT_WEIGHT,
) -> Float[np.ndarray, " tokens"]:
    """Score places by what a text means, by their own texts, and by how busy they are.

    The meaning is the standard score of a sum of three: the cosine with the text in the
    space that texts were aligned in; how much the place's own texts are about it; and
    the likeness to the mean of the hundred places that are first by these two. The
    standard score of the log of movement is added, weighted, since a busy place is more
    likely to hold what is sought.

    Source: Rocchio 1971, Relevance feedback in information retrieval, here without a
    user who judges; Kraaij et al. 2002, The importance of prior probabilities for entry
    page search.

    Args:
        words: what texts mean.
        unit: the places in the space that texts were aligned in, rows of length 1.
        text: such as "beach".
        movement: weight of the movement beside the meaning, >= 0; 0 for none.

    Returns:
        Sums of standard scores, higher for better answers.

    Raises:
        MoraError: if the text is empty or too long.
    """
    learned = _standard(unit @ words.query(text))
    meaning = learned + _standard(words.own_texts(text))
    meaning = _standard(meaning + _standard(_like_the_first(unit, meaning)))
    if words.movement is None:
        return meaning
    return meaning + movement * _standard(np.log1p(words.movement))


def _like_the_first(
    unit: Float[np.ndarray, "tokens dim"], score: Float[np.ndarray, " tokens"]
) -> Float[np.ndarray, " tokens"]:
    """Compare each place with the mean of those that score best, by centred cosine."""
    middle = unit.mean(axis=0)
    many = min(FEEDBACK, max(len(unit) // 10, 1))
    first = np.argsort(-score, kind="stable")[:many]
    wanted = unit_rows(unit[first] - middle).mean(axis=0)
    return along_from(unit, middle, wanted)


def _standard(values: Float[np.ndarray, " tokens"]) -> Float[np.ndarray, " tokens"]:
    """Give values mean 0 and deviation 1; equal ones become 0."""
    values = np.asarray(values, dtype=np.float64)
    spread = values.std()
    if spread <= 1e-12 * np.abs(values).max(initial=0):
        return np.zeros(len(values))
    return (values - values.mean()) / spread
