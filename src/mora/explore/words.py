"""Search in words: texts brought into the space of the places by the run's own head."""

import inspect
import json
from collections.abc import Callable
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from mora.errors import MoraError, RunError
from mora.modalities import Features, read_features
from mora.modalities.poi import build_poi
from mora.modalities.text import TextEncoder, load_text_encoder
from mora.nearest import unit_rows
from mora.personal import require_not_personal

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
KEPT_TEXTS = 1024  # texts whose vectors are kept
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
    ) -> None:
        self.places = places
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
        self._encode = lru_cache(KEPT_TEXTS)(self._encode_one)

    def embed(self, text: str) -> Float[np.ndarray, " dim"]:
        """Bring a text into the space of the places' vectors.

        Category statistics among the features, which a text has none of, count as
        average.

        Raises:
            MoraError: if the text is empty or too long.
        """
        return self._place(_checked(text))

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
        text = _checked(text)
        said = unit_rows(np.stack([self._place(p.format(text)) for p in PROMPTS]))
        middle = unit_rows(said.mean(axis=0, keepdims=True))[0]
        return middle - (middle @ self._everyday) * self._everyday

    @cached_property
    def _everyday(self) -> Float[np.ndarray, " dim"]:
        """Give the mean direction of everyday words, of length 1."""
        words = unit_rows(np.stack([self._place(word) for word in EVERYDAY]))
        return unit_rows(words.mean(axis=0, keepdims=True))[0]

    def _place(self, text: str) -> Float[np.ndarray, " dim"]:
        """Bring a text that was checked into the space of the places."""
        vector = self._encode(text)
        row = self._mean.copy()
        row[: len(vector)] = vector
        if self._standardise:
            row = (row - self._mean) / self._spread
        return self._head(row[None].astype(np.float32))[0]

    def text_match(self, text: str) -> Float32[np.ndarray, " tokens"]:
        """Give the cosine of a text with the mean of each place's own texts.

        Returns:
            In -1..1; NaN where a place has no texts.

        Raises:
            MoraError: if the text is empty or too long.
        """
        vector = self._encode(_checked(text))
        length = np.linalg.norm(vector)
        return self._texts @ (vector / (length if length > 0 else 1))

    def _encode_one(self, text: str) -> Float32[np.ndarray, " columns"]:
        with self._lock:  # encoders do not say that they may be shared by threads
            return self._encoder.encode([text])[0]


def read_word_search(
    folder: Path | str, encoder: TextEncoder | None = None
) -> WordSearch:
    """Rebuild from a finished run what brings texts into the space of its places.

    Args:
        folder: of the run, with ``features`` and ``train``.
        encoder: the text encoder, if it is loaded already; by default the one that
            the run names.

    Raises:
        PersonalDataError: if the folder holds personal data.
        RunError: if the run aligned no texts of places, or is not finished.
        MissingExtraError: if the package of the encoder is not installed.
    """
    folder = Path(folder)
    require_not_personal(folder)
    name, config = _aligned_texts(folder)
    features = read_features(folder / "features", name)
    places = _aligned_places(folder)
    head = _read_head(folder, name, config, len(features.columns), places.shape[1])
    if encoder is None:
        default = inspect.signature(build_poi).parameters["encoder"].default
        encoder = load_text_encoder(config["options"].get("encoder", default))
    return WordSearch(encoder, features, head, config["standardise"], places)


def has_words(folder: Path | str) -> bool:
    """Say whether a run can be searched in words."""
    try:
        _aligned_texts(Path(folder))
    except RunError:
        return False
    return True


def _aligned_texts(folder: Path) -> tuple[str, dict[str, Any]]:
    """Find the modality of texts that the run aligned, and its settings."""
    path = folder / "train" / "manifest.json"
    try:
        modalities = json.loads(path.read_text())["settings"]["modalities"]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"{path} cannot be read ({error}); expected the folder of a finished run. "
            f"Finish it with `mora run`."
        ) from error
    for name, config in modalities.items():
        if config["kind"] == "poi" and config["align"]:
            return name, config
    raise RunError(
        f"{folder} aligned {', '.join(modalities) or 'no modality'}; expected one of "
        f"kind 'poi', which knows texts. Search in words needs POIs in the run."
    )


def _aligned_places(folder: Path) -> Float[np.ndarray, "tokens dim"]:
    """Read the vectors that training aligned; the exported ones may hold more."""
    path = folder / "train" / "vectors.npy"
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read ({error}); expected what training left. Run it "
            f"again with `mora run`."
        ) from error


def _read_head(
    folder: Path, name: str, config: dict[str, Any], columns: int, dim: int
) -> Head:
    """Rebuild the head with the weights that training left."""
    # Imported here: other searches do not wait for torch.
    import torch
    from safetensors.torch import load_file

    from mora.encoder.heads import make_head

    path = folder / "train" / "model.safetensors"
    prefix = f"heads.{name}."
    try:
        weights = {
            key.removeprefix(prefix): value
            for key, value in load_file(path).items()
            if key.startswith(prefix)
        }
        head = make_head(config["head"]["kind"], columns, dim, torch.Generator())
        head.load_state_dict(weights)
    except (OSError, RuntimeError) as error:
        raise RunError(
            f"{path}: no head of {columns} columns for {name!r} ({error}); expected "
            f"what training left. Run it again with `mora run`."
        ) from error

    def apply(rows: Float32[np.ndarray, "n columns"]) -> np.ndarray:
        with torch.no_grad():
            return head(torch.from_numpy(rows)).numpy()

    return apply


def _unit_texts(
    features: Features, columns: int
) -> Float32[np.ndarray, "tokens columns"]:
    """Scale the mean text of each place to length 1; NaN where it has none."""
    texts = np.asarray(features.values[:, :columns])
    length = np.linalg.norm(texts, axis=1, keepdims=True)
    known = np.asarray(features.present)[:, None] & (length > 0)
    return np.where(known, texts / np.where(known, length, 1), np.float32(np.nan))


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
