"""Which number the network knows a place by."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Int

from mora.errors import MoraError, RunError
from mora.tokens import GridTokens, Tokens
from mora.trajectories.events import MASKED

PAD, MASK, UNKNOWN = 0, 1, 2  # locations of a compact vocabulary that are no places
SPECIAL = 3  # how many those are

VocabularyKind = Literal["compact", "full"]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Locations, the numbers that the network has for places.

    Attributes:
        kind: ``compact``: PAD, MASK, UNKNOWN, then the visited tokens in token order;
            ``full``: the grid's own ids, ``height (x - 1) + (y - 1)``, of all cells,
            with no special ones, as in the released code.
        tokens: the places.
        token_of: token of each location; :data:`MASKED` where it is no place.
        location_of: location of each token; in a compact vocabulary UNKNOWN where the
            token was never visited.
    """

    kind: VocabularyKind
    tokens: Tokens
    token_of: Int[np.ndarray, " locations"]
    location_of: Int[np.ndarray, " tokens"]

    def __len__(self) -> int:
        return len(self.token_of)

    def places(self) -> Bool[np.ndarray, " locations"]:
        """Say which locations are places, so that they can be predicted."""
        return self.token_of != MASKED

    def encode(self, token: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Give the location of each token.

        Args:
            token: in ``[0, len(tokens))``, or :data:`MASKED`.

        Returns:
            Locations; MASK for a masked event.

        Raises:
            MoraError: if events are masked and the vocabulary has no MASK.
        """
        masked = token == MASKED
        if masked.any() and self.kind == "full":
            raise MoraError(
                f"{masked.sum()} of {len(token)} events are masked, and a full "
                f"vocabulary has no location for them; expected known places. Leave "
                f"out the masked events, or use the compact vocabulary."
            )
        return np.where(masked, MASK, self.location_of[token])

    def decode(self, location: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Give the token of each location; :data:`MASKED` where it is no place."""
        return self.token_of[location]

    def write(self, path: Path) -> None:
        """Write locations and the places' own names to Parquet."""
        places = np.flatnonzero(self.places())
        table = pa.table(
            {"location": places, "place": self.tokens.decode(self.token_of[places])}
        )
        about = {b"mora:vocabulary": f"{self.kind} {len(self)}".encode()}
        pq.write_table(table.replace_schema_metadata(about), path)


def build_vocabulary(
    tokens: Tokens, visited: Int[np.ndarray, " n"], kind: VocabularyKind = "compact"
) -> Vocabulary:
    """Number the places.

    Args:
        tokens: the places.
        visited: tokens that occur, repeats and :data:`MASKED` allowed; a full
            vocabulary does not depend on them.
        kind: ``compact`` or ``full``.

    Raises:
        MoraError: if there are no visited places, or ``full`` is asked for places that
            are not cells of a grid.
    """
    if kind == "full":
        return _full(tokens)
    places = np.unique(visited[visited != MASKED])
    if len(places) == 0:
        raise MoraError(
            f"none of {len(visited)} events has a known place; expected some to build "
            f"a vocabulary from. Give the events of the days that are not masked."
        )
    return _vocabulary("compact", tokens, SPECIAL + len(places), places, SPECIAL)


def read_vocabulary(path: Path, tokens: Tokens) -> Vocabulary:
    """Read what :meth:`Vocabulary.write` wrote.

    Args:
        path: of the Parquet file.
        tokens: places that hold all of the vocabulary; their order may be another.

    Raises:
        RunError: if the file is not one of a vocabulary.
        UnknownTokenError: if a place of the vocabulary is not among ``tokens``.
    """
    table = pq.read_table(path)
    about = (table.schema.metadata or {}).get(b"mora:vocabulary")
    if about is None:
        raise RunError(
            f"{path} is no vocabulary (columns {table.column_names}); expected a file "
            f"that training wrote. Give the folder of a trained model."
        )
    kind, size = about.decode().split()
    places = tokens.encode(table["place"].to_numpy())
    locations = table["location"].to_numpy()
    return _vocabulary(kind, tokens, int(size), places, locations)


def _full(tokens: Tokens) -> Vocabulary:
    if not isinstance(tokens, GridTokens):
        raise MoraError(
            f"a full vocabulary numbers the cells of a grid, and these are "
            f"{len(tokens)} {tokens.kind} tokens; use the compact vocabulary."
        )
    size = tokens.width * tokens.height
    return _vocabulary("full", tokens, size, np.arange(len(tokens)), tokens.ids)


def _vocabulary(
    kind: VocabularyKind,
    tokens: Tokens,
    size: int,
    places: Int[np.ndarray, " places"],
    locations: Int[np.ndarray, " places"] | int,
) -> Vocabulary:
    """Fill both directions, ``locations`` being the first one or all of them."""
    if isinstance(locations, int):
        locations = np.arange(locations, locations + len(places))
    token_of = np.full(size, MASKED, np.int64)
    token_of[locations] = places
    location_of = np.full(len(tokens), UNKNOWN, np.int64)
    location_of[places] = locations
    return Vocabulary(kind, tokens, token_of, location_of)
