"""What texts mean for the places of a run, by its own head and by their own texts."""

from collections.abc import Callable
from functools import cached_property, lru_cache
from threading import Lock

import numpy as np
from jaxtyping import Float, Float32

from mora.errors import MoraError, RunError
from mora.modalities import Features
from mora.modalities.text import TextEncoder
from mora.nearest import along_from, unit_rows

# Ways to say that a place is about something; chosen on categories of places that the
# benchmark (benchmarks/word_search.py) does not ask for, like all in this search.
PROMPTS = (
    *("{}", "a {}", "the {}", "{} area", "near the {}", "place with a {}"),
    "{} town",
)
EVERYDAY = (
    *("city", "town", "village", "river", "road", "street", "house", "shop"),
    *("restaurant", "station", "factory", "field", "forest", "hill", "bridge"),
    *("museum", "library", "office", "hotel", "school", "tower", "garden", "valley"),
    *("bay", "market"),
)
KEPT_TEXTS = 1024  # texts, each with the ways to say it, whose vectors are kept
MOST_LETTERS = 500  # of a text

Head = Callable[[np.ndarray], np.ndarray]


class WordSearch:
    """What texts mean in the space of the places; usable from several threads.

    Args:
        encoder: of texts, the one that made ``features``.
        features: the texts of the places, as given to training.
        head: rows of features, in the form that training saw, to vectors of the space.
        standardise: whether training saw standardised features.
        places: vectors of the places in the space of the head; None if they are those
            that the run exports.
        movement: how much of it each place sees, >= 0, in any unit; None where that is
            not known, and then all places count as equally busy.

    Raises:
        RunError: if another encoder made the features.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        features: Features,
        head: Head,
        standardise: bool = True,
        places: Float[np.ndarray, "tokens dim"] | None = None,
        movement: Float[np.ndarray, " tokens"] | None = None,
    ) -> None:
        self.places = places
        self.movement = movement
        made_by = features.notes.get("encoder")
        if made_by != encoder.name or len(features.columns) < encoder.dim:
            raise RunError(
                f"the texts were encoded by {made_by!r} into {len(features.columns)} "
                f"columns; got the encoder {encoder.name!r} of {encoder.dim}. Install "
                f"the version that made the run, or run `mora run` again."
            )
        rows = features.values[features.present].astype(np.float64)
        self._mean = rows.mean(axis=0)
        varies = rows.min(axis=0) < rows.max(axis=0)
        # As Features.standardised: a constant column becomes 0.
        self._spread = np.where(varies, rows.std(axis=0), np.inf)
        self._standardise = standardise
        self._texts = _unit_texts(features, encoder.dim)
        self._encoder, self._head, self._lock = encoder, head, Lock()
        self._encode = lru_cache(KEPT_TEXTS)(self._encode_together)

    def embed(self, text: str) -> Float[np.ndarray, " dim"]:
        """Bring a text into the space of the places' vectors.

        Category statistics among the features, which a text has none of, count as
        average.

        Raises:
            MoraError: if the text is empty or too long.
        """
        return self._place((_checked(text),))[0]

    def query(self, text: str) -> Float[np.ndarray, " dim"]:
        """Give the direction in which places are about a text more than about others.

        The text is said in several ways, and the direction that everyday words have in
        common is taken off: else much the same places come first whatever is asked.

        Source: Radford et al. 2021, Learning transferable visual models from natural
        language supervision, section 3.1.4, for several prompts; Mu and Viswanath
        2018, All-but-the-top, for the direction that all have in common.

        Args:
            text: such as "beach", of 1 to 500 letters.

        Returns:
            A vector to compare with those of places by cosine, of length up to 1; 0 for
            a text that is as any other.

        Raises:
            MoraError: if the text is empty or too long.
        """
        middle = _middle(self._place(_ways_to_say(text)))
        return middle - (middle @ self._everyday) * self._everyday

    @cached_property
    def _everyday(self) -> Float[np.ndarray, " dim"]:
        """Give the mean direction of everyday words, of length 1."""
        return _middle(self._place(EVERYDAY))

    def _place(self, texts: tuple[str, ...]) -> Float[np.ndarray, "texts dim"]:
        """Bring texts that were checked into the space of the places."""
        vectors = self._encode(texts)
        rows = np.tile(self._mean, (len(vectors), 1))
        rows[:, : vectors.shape[1]] = vectors
        if self._standardise:
            rows = (rows - self._mean) / self._spread
        return self._head(rows.astype(np.float32))

    def text_match(self, text: str) -> Float32[np.ndarray, " tokens"]:
        """Give the cosine of a text with the mean of each place's own texts.

        Returns:
            In -1..1; NaN where a place has no texts.

        Raises:
            MoraError: if the text is empty or too long.
        """
        vector = self._encode((_checked(text),))[0]
        length = np.linalg.norm(vector)
        return self._texts @ (vector / (length if length > 0 else 1))

    def own_texts(self, text: str) -> Float[np.ndarray, " tokens"]:
        """Say how much more the texts of each place are about a text than others' are.

        The mean over all places is taken off their texts, and the text is said in
        several ways (:meth:`query`).

        Returns:
            Cosines, -1..1; 0 where a place has no texts.

        Raises:
            MoraError: if the text is empty or too long.
        """
        said = _middle(self._encode(_ways_to_say(text)))
        along = along_from(self._texts, self._mean_text, said)
        return np.nan_to_num(along).astype(np.float64)

    @cached_property
    def _mean_text(self) -> Float[np.ndarray, " dim"]:
        return np.nanmean(self._texts, axis=0)

    def _encode_together(
        self, texts: tuple[str, ...]
    ) -> Float32[np.ndarray, "texts columns"]:
        with self._lock:  # encoders do not say that they may be shared by threads
            return self._encoder.encode(list(texts))


def _unit_texts(
    features: Features, columns: int
) -> Float32[np.ndarray, "tokens columns"]:
    """Scale the mean text of each place to length 1; NaN where it has none."""
    texts = np.asarray(features.values[:, :columns])
    length = np.linalg.norm(texts, axis=1, keepdims=True)
    known = np.asarray(features.present)[:, None] & (length > 0)
    return np.where(known, texts / np.where(known, length, 1), np.float32(np.nan))


def _ways_to_say(text: str) -> tuple[str, ...]:
    return tuple(prompt.format(_checked(text)) for prompt in PROMPTS)


def _middle(vectors: Float[np.ndarray, "texts dim"]) -> Float[np.ndarray, " dim"]:
    """Give the mean direction of some texts, of length 1."""
    return unit_rows(unit_rows(vectors).mean(axis=0, keepdims=True))[0]


def _checked(text: str) -> str:
    """Strip a text.

    Raises:
        MoraError: if it is empty or too long.
    """
    words = text.strip()
    if not 0 < len(words) <= MOST_LETTERS:
        raise MoraError(
            f"the text has {len(words)} letters; expected 1 to {MOST_LETTERS}. Ask for "
            f"a kind of place, such as 'airport'."
        )
    return words
