"""A file that grows while it is written, and looks whole only at its end."""

from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from numpy.typing import DTypeLike


class ArrayFile:
    """A one-dimensional ``.npy`` file that grows while it is written.

    Args:
        path: the file; it is valid once the ``with`` block ends.
        dtype: element type.
    """

    HEADER_BYTES = 128

    def __init__(self, path: Path, dtype: DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self.path = path
        self.length = 0

    def __enter__(self) -> "ArrayFile":
        self.file = self.path.open("wb")
        self.file.write(bytes(self.HEADER_BYTES))
        return self

    def append(self, values: Shaped[np.ndarray, " n"]) -> None:
        """Write ``values`` behind what is there."""
        self.file.write(np.ascontiguousarray(values, self.dtype).data)
        self.length += len(values)

    def __exit__(self, failure: object, *_: object) -> None:
        if failure is not None:  # no header: a file cut short must not look whole
            self.file.close()
            return
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.length,),
        }
        text = repr(header).encode().ljust(self.HEADER_BYTES - 11) + b"\n"
        self.file.seek(0)
        size = len(text).to_bytes(2, "little")
        self.file.write(np.lib.format.magic(1, 0) + size + text)
        self.file.close()
