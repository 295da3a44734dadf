"""Similar places: by vector, by arithmetic over places, by words, within an area."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import shapely
from jaxtyping import Bool, Float, Float32, Int

from mora.embeddings import Embeddings
from mora.errors import MoraError, examples
from mora.explore.word_ranking import MOVEMENT_WEIGHT, score_words
from mora.explore.words import WordSearch
from mora.nearest import most_similar, neighbour_graph, unit_rows
from mora.tokens import Tokens

Within = shapely.Geometry | Sequence[Any] | np.ndarray | None


@dataclass(frozen=True, eq=False)
class Found:
    """Places that a search gave, the best first.

    Attributes:
        tokens: their rows.
        scores: how well each fits what was asked for: cosines, -1..1, or of words the
            sums of :func:`mora.explore.word_ranking.score_words`.
    """

    tokens: Int[np.ndarray, " found"]
    scores: Float[np.ndarray, " found"]

    def __len__(self) -> int:
        return len(self.tokens)


class PlaceSearch:
    """The places of a run, to be searched.

    Args:
        embeddings: places and vectors; all finite.
        words: what texts mean in the space of the vectors; None without search in
            words.
        approximate: search among all places by a graph of neighbours (extra ``ann``),
            which pays from a million places on and may miss some. Within an area the
            search stays exact.

    Raises:
        MoraError: if a vector is not finite.
        MissingExtraError: if ``approximate`` is set and its package is not installed.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        words: WordSearch | None = None,
        *,
        approximate: bool = False,
    ) -> None:
        broken = np.flatnonzero(~np.isfinite(embeddings.vectors).all(axis=1))
        if len(broken):
            names = [embeddings.tokens.names()[row] for row in broken[:4]]
            raise MoraError(
                f"{len(broken)} of {len(embeddings)} vectors are not finite (first: "
                f"{examples(names)}); expected numbers. Leave these places out."
            )
        self.tokens: Tokens = embeddings.tokens
        self._likeness = embeddings.likeness
        self._unit = unit_rows(embeddings.comparable())
        self._words = words
        self._aligned = self._unit
        if words is not None and words.places is not None:
            self._aligned = unit_rows(words.places)
        self._graph = neighbour_graph(self._unit) if approximate else None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def dim(self) -> int:
        """Give the width of the vectors."""
        return self._unit.shape[1]

    def nearest(
        self,
        query: Float[np.ndarray, " dim"] | str | int | np.integer,
        k: int = 10,
        within: Within = None,
    ) -> Found:
        """Find the places whose vectors are the most similar, by cosine, exactly.

        Each kind of section of the vectors counts the same (:mod:`mora.likeness`).

        Args:
            query: a vector, or the id of a place, which is then not among the answers.
            k: how many, >= 1; fewer are found where there are fewer.
            within: an area in lon/lat that must hold the middle of a place (see
                :func:`mora.geometry.bounding_box`), or the ids of the places to choose
                from; None for all.

        Returns:
            Places; of equal ones the first in token order is the first. None where the
            area is empty.

        Raises:
            UnknownTokenError: if a place is not known.
            MoraError: if ``k`` is below 1 or the vector is none of this space.
        """
        if isinstance(query, np.ndarray):
            _require_of_width(query, self.dim)
            like = self._likeness.of(query[None])[0]
            return self._search(like, k, within, np.empty(0, np.int64))
        return self.combined([query], k=k, within=within)

    def combined(
        self,
        plus: Sequence[Any],
        minus: Sequence[Any] = (),
        *,
        k: int = 10,
        within: Within = None,
    ) -> Found:
        """Find places like some and unlike others; none of them is an answer.

        Source: vector offsets, Mikolov et al. 2013, section 4; here of means, so that
        sets may differ in size.

        Args:
            plus: ids of places to be like, at least one.
            minus: ids of places to be unlike.
            k: how many, >= 1.
            within: see :meth:`nearest`.

        Raises:
            UnknownTokenError: if a place is not known.
            MoraError: if ``plus`` is empty or ``k`` is below 1.
        """
        if len(plus) == 0:
            raise MoraError(
                "plus has 0 places; expected at least one to be like. Name a place."
            )
        like, unlike = self.tokens.encode(plus), self._rows(minus)
        query = self._unit[like].mean(axis=0)
        if len(unlike):
            query = query - self._unit[unlike].mean(axis=0)
        return self._search(query, k, within, np.concatenate([like, unlike]))

    def words(
        self,
        text: str,
        k: int = 10,
        within: Within = None,
        movement: float | int = MOVEMENT_WEIGHT,
    ) -> Found:
        """Find the places that answer a text, by meaning and by how busy they are.

        Args:
            text: such as "airport".
            k: how many, >= 1.
            within: see :meth:`nearest`.
            movement: weight of how busy a place is, >= 0; 0 for meaning alone.

        Returns:
            Places with their sums of standard scores
            (:func:`mora.explore.word_ranking.score_words`) over all places.

        Raises:
            MoraError: if the index was made without words, the text is empty, ``k`` is
                below 1 or ``movement`` below 0.
        """
        words = self._known_words()
        if k < 1 or not 0 <= movement < np.inf:
            raise MoraError(
                f"k is {k!r} and movement {movement!r}; expected at least 1, and a "
                f"weight of 0 or more."
            )
        scores = score_words(words, self._aligned, text, movement)
        rows = np.flatnonzero(self._allowed(within))
        best = rows[np.argsort(-scores[rows], kind="stable")[:k]]
        return Found(best, scores[best])

    def aligned(
        self, query: Float[np.ndarray, " dim"], k: int = 10, within: Within = None
    ) -> Found:
        """Find places by a vector of the space that texts are aligned in, alone.

        Args:
            query: such as :meth:`mora.explore.words.WordSearch.query` gives.
            k: how many, >= 1.
            within: see :meth:`nearest`.

        Raises:
            MoraError: if ``k`` is below 1 or the vector is none of that space.
        """
        if self._aligned is self._unit:
            return self.nearest(query, k, within)
        return self._scan(self._aligned, query, k, self._allowed(within))

    def text_match(self, text: str) -> Float32[np.ndarray, " tokens"]:
        """Give the cosine of a text with the mean of each place's own texts.

        Returns:
            In -1..1, without anything learned; NaN where a place has no texts.

        Raises:
            MoraError: if the index was made without words, or the text is empty.
        """
        return self._known_words().text_match(text)

    def _known_words(self) -> WordSearch:
        if self._words is None:
            raise MoraError(
                "this index knows no words; expected an encoder of texts. Make it with "
                "PlaceSearch(embeddings, words=read_word_search(run_folder))."
            )
        return self._words

    def _search(
        self,
        query: Float[np.ndarray, " dim"],
        k: int,
        within: Within,
        leave_out: Int[np.ndarray, " n"],
    ) -> Found:
        if self._graph is not None and within is None:
            return self._search_graph(self._graph, query, k, leave_out)
        allowed = self._allowed(within)
        allowed[leave_out] = False
        return self._scan(self._unit, query, k, allowed)

    def _scan(
        self,
        unit: Float32[np.ndarray, "tokens _"],
        query: Float[np.ndarray, " _"],
        k: int,
        allowed: Bool[np.ndarray, " tokens"],
    ) -> Found:
        """Compare with every place that is allowed."""
        _require_of_width(query, unit.shape[1])
        rows = np.flatnonzero(allowed)
        places = unit if len(rows) == len(self) else unit[rows]
        found, cosines = most_similar(places, query[None].astype(np.float32), k)
        return Found(rows[found[0]], cosines[0])

    def _search_graph(
        self,
        graph: Any,
        query: Float[np.ndarray, " dim"],
        k: int,
        leave_out: np.ndarray,
    ) -> Found:
        """Ask the graph for as many more as are left out."""
        unit = unit_rows(query[None].astype(np.float32))
        more = min(k + len(leave_out), len(self))
        cosines, rows = graph.search(unit, more)
        kept = (rows[0] >= 0) & ~np.isin(rows[0], leave_out)
        return Found(rows[0][kept][:k], cosines[0][kept][:k])

    def _allowed(self, within: Within) -> Bool[np.ndarray, " tokens"]:
        """Say which places an answer may be."""
        if within is None:
            return np.ones(len(self), dtype=bool)
        if isinstance(within, shapely.Geometry):
            return shapely.contains_xy(within, self._middles)
        allowed = np.zeros(len(self), dtype=bool)
        allowed[self._rows(within)] = True
        return allowed

    def _rows(self, ids: Sequence[Any] | np.ndarray) -> Int[np.ndarray, " n"]:
        """Look places up; none for none, whose ids would have no type."""
        return self.tokens.encode(ids) if len(ids) else np.empty(0, np.int64)

    @cached_property
    def _middles(self) -> Float[np.ndarray, "tokens 2"]:
        return self.tokens.centroids()


def _require_of_width(query: Float[np.ndarray, " _"], dim: int) -> None:
    if query.shape != (dim,) or not np.isfinite(query).all():
        raise MoraError(
            f"the query has shape {query.shape}; expected {dim} finite numbers. Take a "
            f"vector of this run."
        )
