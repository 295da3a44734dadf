"""The one interface behind which every kind of place stands."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int, UInt64

from mora.errors import NoGeometryError, UnknownTokenError
from mora.geometry import great_circle_km


class Tokens(ABC):
    """Places in one order; a place's position is its token.

    Every array with a leading ``tokens`` axis (graph, features, embeddings) is in
    this order, which keeps near places in near rows.

    Attributes:
        kind: ``h3``, ``grid`` or ``zone``.
        ids: the places' own names in row order: uint64 cells, int64 grid ids or text.
    """

    kind: ClassVar[str]
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Int[np.ndarray, " kept"]) -> "Tokens":
        """Give some of the tokens, in the order they have.

        Args:
            rows: which, ascending, none twice.
        """
        return replace(self, ids=self.ids[rows])

    def find(self, ids: Sequence[Any] | np.ndarray) -> Int[np.ndarray, " n"]:
        """Look tokens up; -1 where a place is unknown."""
        wanted = self.parse(ids)
        order = np.argsort(self.ids, kind="stable")
        place = np.searchsorted(self.ids[order], wanted).clip(max=len(self) - 1)
        tokens = order[place]
        return np.where(self.ids[tokens] == wanted, tokens, -1)

    def encode(self, ids: Sequence[Any] | np.ndarray) -> Int[np.ndarray, " n"]:
        """Look tokens up.

        Args:
            ids: places by their own names, in any order, repeats allowed.

        Returns:
            Tokens in ``[0, len(self))``.

        Raises:
            UnknownTokenError: if any place is unknown.
        """
        tokens = self.find(ids)
        unknown = tokens < 0
        if unknown.any():
            missing = [self.name(i) for i in self.parse(ids)[unknown]]
            raise UnknownTokenError(
                missing, total=len(tokens), known=len(self), kind=f"{self.kind} tokens"
            )
        return tokens

    def decode(self, tokens: Int[np.ndarray, " n"]) -> np.ndarray:
        """Give the own name of each token."""
        return self.ids[tokens]

    def names(self) -> list[str]:
        """Give every token's name as text, in row order."""
        return [self.name(i) for i in self.ids]

    def name(self, place: Any) -> str:
        """Write one id as text."""
        return str(place)

    def parse(self, ids: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Bring ids into the dtype of :attr:`ids`."""
        return np.asarray(ids, dtype=self.ids.dtype)

    @abstractmethod
    def locate(self, lonlat: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, " n"]:
        """Find the token that holds each point; -1 outside all of them."""

    @abstractmethod
    def centroids(self) -> Float[np.ndarray, "tokens 2"]:
        """Give the lon/lat of the middle of each token, in degrees."""

    @abstractmethod
    def areas_km2(self) -> Float[np.ndarray, " tokens"]:
        """Give the area of each token in square kilometres."""

    @abstractmethod
    def polygons(self) -> np.ndarray:
        """Give each token's outline as a shapely geometry in lon/lat."""

    @abstractmethod
    def neighbours(self) -> Int[np.ndarray, "2 pairs"]:
        """List the pairs of tokens that touch, ``first < second``, none twice."""

    def distance_km(
        self, first: Int[np.ndarray, " n"], second: Int[np.ndarray, " n"]
    ) -> Float[np.ndarray, " n"]:
        """Give the distance between the middles of paired tokens."""
        centroids = self.centroids()
        return great_circle_km(centroids[first], centroids[second])

    def parents(self, resolution: int) -> UInt64[np.ndarray, " tokens"]:
        """Give each token's H3 ancestor; only H3 tokens have one."""
        raise NoGeometryError(
            self.kind, f"H3 parent at level {resolution}", "Use H3 tokens."
        )

    @abstractmethod
    def to_table(self) -> pa.Table:
        """Give the tokens as an Arrow table, from which they can be made again."""

    def write(self, path: Path) -> None:
        """Write the order to Parquet; :func:`mora.tokens.read_tokens` reads it back."""
        table = self.to_table()
        metadata = {**(table.schema.metadata or {}), b"mora:kind": self.kind.encode()}
        pq.write_table(table.replace_schema_metadata(metadata), path)
