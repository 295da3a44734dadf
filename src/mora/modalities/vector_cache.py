"""Vectors of strings kept between runs, in files that check themselves."""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

KEY_BYTES = 32  # hexadecimal digits of a 128-bit digest; collisions do not occur


class VectorCache:
    """A folder of ``.npy`` parts, each holding keys of strings and their vectors.

    A part is written whole or not at all, and its name is the digest of its content: a
    part that was cut short or changed is removed, and its strings are encoded again.

    Args:
        folder: of all caches.
        name: of the encoder.
        dim: columns of its vectors.
    """

    def __init__(self, folder: Path, name: str, dim: int):
        readable = re.sub(r"[^\w.-]+", "-", name)
        self.folder = folder / f"{readable}-{_digest(name.encode())[:8]}"
        self.record = np.dtype([("key", f"S{KEY_BYTES}"), ("vector", "<f4", (dim,))])

    def look_up(
        self, texts: Sequence[str] | np.ndarray, vectors: Float32[np.ndarray, "n dim"]
    ) -> Bool[np.ndarray, " n"]:
        """Fill in the vectors that are known.

        Args:
            texts: distinct strings.
            vectors: row i is overwritten with the vector of ``texts[i]`` if known.

        Returns:
            Which strings are known; none in an empty cache.
        """
        rows = {_key(text): row for row, text in enumerate(texts)}
        found = np.zeros(len(texts), dtype=bool)
        for path in sorted(self.folder.glob("*.npy")):
            part = self._read(path)
            if part is None:
                path.unlink(missing_ok=True)
                continue
            row = np.array([rows.get(key, -1) for key in part["key"].tolist()])
            vectors[row[row >= 0]] = part["vector"][row >= 0]
            found[row[row >= 0]] = True
        return found

    def add(
        self, texts: Sequence[str] | np.ndarray, vectors: Float32[np.ndarray, "n dim"]
    ) -> None:
        """Write one more part, at least one string long."""
        part = np.empty(len(texts), dtype=self.record)
        part["key"] = [_key(text) for text in texts]
        part["vector"] = vectors
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{_digest(part.tobytes())}.npy"
        unfinished = path.with_suffix(f".{os.getpid()}.tmp")
        with unfinished.open("wb") as file:
            np.save(file, part, allow_pickle=False)
        unfinished.replace(path)

    def _read(self, path: Path) -> np.ndarray | None:
        """Read a part; None if it is not what was written."""
        try:
            part = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        whole = part.dtype == self.record and part.ndim == 1 and len(part) > 0
        return part if whole and _digest(part.tobytes()) == path.stem else None


def _key(text: str) -> bytes:
    return _digest(text.encode("utf-8", "surrogatepass")).encode()


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=KEY_BYTES // 2).hexdigest()
