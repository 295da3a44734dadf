"""Points of interest: the mean text embedding and the category mix of each token."""

from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from jaxtyping import Float, Int

from mora.errors import ConfigError, MissingColumnError, TableError
from mora.modalities.features import Features, modality
from mora.modalities.rows import fill_gaps, rows_inside
from mora.modalities.text import TextEncoder, encode_distinct, load_text_encoder
from mora.progress import Progress, silent
from mora.tokens import Tokens

TEXTS = {
    "name": ["name"],
    "category": ["category"],
    "name and category": ["name", "category"],
}
STATISTICS = ["none", "counts", "shares", "text"]
Block = tuple[np.ndarray, list[str]]  # values with NaN for gaps, and column names
Mix = tuple[np.ndarray, list[str], np.ndarray]  # numbers, their categories, all POIs


@modality("poi")
def build_poi(
    tokens: Tokens,
    frame: pd.DataFrame,
    *,
    encoder: str | TextEncoder = "use-multilingual",
    text: str = "name",
    statistics: str = "none",
    top: int = 50,
    batch_size: int = 256,
    cache_folder: Path | str | None = None,
    progress: Progress = silent,
) -> Features:
    """Average the text embeddings of each token's POIs; append category statistics.

    Args:
        tokens: the row order of the features.
        frame: POIs with ``token`` or ``lon`` and ``lat``, and with ``name`` or
            ``category``, either of which may be empty in a row.
        encoder: name of a text encoder (``use-multilingual``, ``hashing``, or a
            sentence-transformers model id such as ``BAAI/bge-m3``), or an encoder.
        text: what is encoded: ``name``, ``category``, or ``name and category`` joined
            as "name, category".
        statistics: ``none``; ``counts``, log(1 + POIs) per category; ``shares`` of each
            category among the token's POIs that have one; or ``text``, the embedding of
            a sentence such as "12 restaurant, 3 bank".
        top: how many of the most frequent categories the statistics use, at least 1.
        batch_size: strings per call of the encoder.
        cache_folder: where vectors of strings are kept between runs.
        progress: called with distinct strings encoded and their total.

    Returns:
        Features; tokens without POIs, or whose POIs say nothing in any column, are
        missing. A token that lacks only some columns (counts, but no names) gets their
        mean over all tokens, weighted by POIs (counted in the notes).

    Raises:
        ConfigError: if ``text``, ``statistics`` or ``top`` is not one of the above.
        MissingColumnError: if ``frame`` lacks a column that the options need.
        TableError: if no POI lies in a token, or none of those has any text.
    """
    _check_options(frame, text, statistics, top)
    token, dropped = rows_inside(tokens, frame, "POIs")
    inside, token = frame[token >= 0], token[token >= 0]
    words = poi_texts(inside, text)
    if words.isna().all():
        raise TableError(
            f"none of {len(inside)} POIs inside the tokens has a {text}; expected "
            f"text in {TEXTS[text]}. Choose another `text`."
        )
    if isinstance(encoder, str):
        encoder = load_text_encoder(encoder)
    counts, distinct = count_values(token, words, len(tokens))
    mix = _frequent(inside, token, len(tokens), top) if statistics != "none" else None
    sentences = category_sentences(*mix[:2]) if mix and statistics == "text" else []
    vectors = encode_distinct(
        [*distinct, *sentences],
        encoder,
        batch_size=batch_size,
        cache_folder=None if cache_folder is None else Path(cache_folder),
        progress=progress,
    )
    blocks = [_mean_text(counts, vectors[: len(distinct)], text)]
    if mix:
        blocks.append(_category_mix(*mix, statistics, vectors[len(distinct) :]))
    values = np.column_stack([block for block, _ in blocks])
    columns = [name for _, names in blocks for name in names]
    pois = np.bincount(token, minlength=len(tokens)).astype(np.float64)
    values[pois == 0] = np.nan
    filled, present, gaps = fill_gaps(values, pois, columns)
    notes = {
        "pois": len(frame),
        "dropped": dropped,
        "without_text": int(words.isna().sum()),
        "distinct_texts": int(words.nunique()),
        "filled_values": gaps,
        "encoder": encoder.name,
    }
    return Features.from_values(filled, present, columns, notes)


def _check_options(frame: pd.DataFrame, text: str, statistics: str, top: int) -> None:
    if text not in TEXTS or statistics not in STATISTICS or top < 1:
        raise ConfigError(
            f"poi: text {text!r}, statistics {statistics!r}, top {top}; expected text "
            f"{', '.join(TEXTS)}; statistics {', '.join(STATISTICS)}; top >= 1."
        )
    needed = set(TEXTS[text]) | ({"category"} if statistics != "none" else set())
    missing = sorted(needed - set(frame.columns))
    if missing:
        raise MissingColumnError("POIs", missing, list(frame.columns))


def poi_texts(frame: pd.DataFrame, text: str) -> pd.Series:
    """Give the text of each POI; null where it has none.

    Args:
        frame: POIs.
        text: a key of :data:`TEXTS`; of two columns, one may be empty in a row.
    """
    first, *rest = (clean_text(frame[column]) for column in TEXTS[text])
    for other in rest:
        first = first.str.cat(other, sep=", ").fillna(first).fillna(other)
    return first


def clean_text(column: pd.Series) -> pd.Series:
    """Strip white space; blank becomes null."""
    stripped = column.astype("string").str.strip()
    return stripped.mask(stripped == "")


def count_values(
    token: Int[np.ndarray, " rows"], value: pd.Series, tokens: int
) -> tuple[sp.csr_array, pd.Index]:
    """Count how often each distinct value occurs in each token.

    Args:
        token: token of each row, in ``[0, tokens)``.
        value: aligned with ``token``; nulls are not counted.
        tokens: number of tokens.

    Returns:
        ``(tokens, values)`` in float32, and the values, in alphabetical order.
    """
    code, distinct = pd.factorize(value, sort=True)
    known = code >= 0
    place = (token[known], code[known])
    ones = np.ones(known.sum(), dtype=np.float32)
    return sp.csr_array((ones, place), shape=(tokens, len(distinct))), distinct


def _mean_text(
    counts: sp.csr_array, vectors: Float[np.ndarray, "texts dim"], text: str
) -> Block:
    """Average the embeddings of each token's texts; each distinct one is held once."""
    total = counts.sum(axis=1)[:, None]
    empty = np.full((counts.shape[0], vectors.shape[1]), np.nan, dtype=np.float32)
    means = np.divide(counts @ vectors, total, out=empty, where=total > 0)
    return means, [f"{text} {i}" for i in range(vectors.shape[1])]


def _frequent(
    inside: pd.DataFrame, token: Int[np.ndarray, " rows"], tokens: int, top: int
) -> Mix:
    """Count the POIs of the most frequent categories, and of all, in each token."""
    counts, categories = count_values(token, clean_text(inside["category"]), tokens)
    frequency = np.asarray(counts.sum(axis=0))
    frequent = np.argsort(-frequency, kind="stable")[:top]
    names = [str(category) for category in categories[frequent]]
    return counts[:, frequent].toarray(), names, np.asarray(counts.sum(axis=1))


def _category_mix(
    numbers: Float[np.ndarray, "tokens categories"],
    names: list[str],
    total: Float[np.ndarray, " tokens"],
    statistics: str,
    vectors: Float[np.ndarray, "sentences dim"],
) -> Block:
    """Describe the categories of each token in the way that ``statistics`` names."""
    if statistics == "counts":
        return np.log1p(numbers), [f"count {name}" for name in names]
    if statistics == "shares":
        return numbers / np.maximum(total, 1)[:, None], [f"share {n}" for n in names]
    said = np.where(numbers.sum(axis=1, keepdims=True) > 0, vectors, np.nan)
    return said, [f"statistics {i}" for i in range(vectors.shape[1])]


def category_sentences(
    numbers: Float[np.ndarray, "tokens categories"], names: list[str]
) -> list[str]:
    """Write the categories of each token as text, such as "12 restaurant, 3 bank".

    Args:
        numbers: POIs per token and category.
        names: of the categories; where numbers are equal, the first comes first.

    Returns:
        One sentence per token, the largest number first; empty without any POI.
    """
    sentences = []
    for row in numbers:
        order = np.argsort(-row, kind="stable")
        parts = [f"{row[i]:.0f} {names[i]}" for i in order[: np.count_nonzero(row)]]
        sentences.append(", ".join(parts))
    return sentences
