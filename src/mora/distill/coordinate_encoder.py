"""Encoding with a distilled model: any number of places, one answer for each."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from mora.distill.fast import FastNetwork
from mora.distill.network import DistilledModel
from mora.distill.saved import SETTINGS, load
from mora.errors import MoraError, examples

OnInvalid = Literal["raise", "nan"]

BLOCK = 16_384  # places brought to float64 at a time
LONGITUDES = ("lon", "lng", "long", "longitude", "x")
LATITUDES = ("lat", "latitude", "y")


class InvalidPlacesError(MoraError):
    """Coordinates that are missing or not on Earth."""

    def __init__(
        self,
        source: str,
        rows: Int[np.ndarray, " few"],
        places: Float[np.ndarray, "few 2"],
        invalid: int,
        total: int,
    ):
        """Name the first rows, counted from 0, with what they hold."""
        shown = [f"row {r}: {p.tolist()}" for r, p in zip(rows, places, strict=True)]
        super().__init__(
            f"{source}: {invalid} of {total} places are missing or not on Earth "
            f"({examples(shown)}); expected lon, lat in degrees. Are the columns "
            f"swapped? With on_invalid='nan' (`--on-invalid nan`) they get NaN."
        )
        self.invalid = invalid


class CoordinateEncoder:
    """Give the vectors of places from their coordinates.

    Args:
        model: the network, of which a copy in float32 is kept.
        provenance: what it was distilled from; plain values.

    Attributes:
        dim: width of the vectors.
        degree: bands of spherical harmonics.
        provenance: what it was distilled from.
    """

    def __init__(
        self, model: DistilledModel, provenance: Mapping[str, Any] | None = None
    ) -> None:
        self.network = FastNetwork(model)
        self.dim, self.degree = model.dim, model.degree
        self.provenance = dict(provenance or {})

    def __repr__(self) -> str:
        return f"CoordinateEncoder(dim={self.dim}, degree={self.degree})"

    @classmethod
    def load(cls, path: Path | str) -> "CoordinateEncoder":
        """Load a distilled encoder: ours, or the released checkpoint of the paper.

        Args:
            path: what :func:`mora.distill.load` reads.

        Raises:
            MissingFileError: if a file is missing.
            DistilledFileError: if it holds another model, or is broken.
        """
        model, settings = load(path), Path(path) / SETTINGS
        known = json.loads(settings.read_text()) if settings.is_file() else {}
        return cls(model, known.get("provenance"))

    @property
    def fingerprint(self) -> str:
        """Give 16 letters that another network has not."""
        layers = [array for layer in self.network.layers for array in layer]
        waves = self.network.directions
        digest = hashlib.sha256()
        for array in layers if waves is None else [*layers, waves]:
            digest.update(str(array.shape).encode() + array.tobytes())
        return digest.hexdigest()[:16]

    def encode(
        self,
        lonlat: Any,
        *,
        on_invalid: OnInvalid = "raise",
        threads: int = 1,
    ) -> Float32[np.ndarray, "n dim"]:
        """Give the vectors of places.

        Beside its result it needs a few MB a thread, however many places there are,
        and 16 bytes a place for what is no array of float64 or float32.

        Args:
            lonlat: degrees, in -360..360 and -90..90, one row a place: an array, a
                list of pairs, a frame of two columns; float32 loses a metre.
            on_invalid: what to do with places that are missing or not on Earth.
            threads: that share the places, >= 1; the numbers are the same.

        Returns:
            One vector a place, NaN where there is none. Longitudes -180 and 180 give
            the same, and so do all longitudes at a pole; so does a place alone and
            among others, up to rounding.

        Raises:
            InvalidPlacesError: if a place is invalid, unless ``on_invalid`` is ``nan``.
            MoraError: if the coordinates are not (n, 2) numbers, their columns are
                named latitude and longitude, or ``threads`` is below 1.
        """
        check_option(on_invalid)
        lonlat = to_lonlat(lonlat)
        valid = on_earth(lonlat)
        if on_invalid == "raise" and not valid.all():
            bad = np.flatnonzero(~valid)
            raise InvalidPlacesError(
                "the coordinates", bad[:3], lonlat[bad[:3]], len(bad), len(lonlat)
            )
        vectors = np.empty((len(lonlat), self.dim), np.float32)
        for start in range(0, len(lonlat), BLOCK):
            rows = slice(start, start + BLOCK)
            # An invalid place is encoded as 0, 0: each row stays where it is.
            places = np.where(valid[rows, None], lonlat[rows], 0).astype(np.float64)
            self.network(places, out=vectors[rows], threads=threads)
        vectors[~valid] = np.nan
        return vectors


def to_lonlat(given: Any) -> Float[np.ndarray, "n 2"]:
    """Make an array of coordinates; one of float64 or float32 is not copied.

    Args:
        given: longitude and latitude, in that order: anything that numpy can turn into
            two columns of numbers.

    Raises:
        MoraError: if it cannot, or the columns are named latitude and longitude.
    """
    check_order(given)
    rough = isinstance(given, np.ndarray) and given.dtype == np.float32
    try:
        lonlat = np.asarray(given, np.float32 if rough else np.float64)
    # A tensor of torch that needs gradients raises RuntimeError.
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise _not_lonlat(f"are no array of numbers ({error})") from error
    if lonlat.ndim != 2 or lonlat.shape[1] != 2:
        raise _not_lonlat(f"have shape {lonlat.shape}")
    return lonlat


def _not_lonlat(problem: str) -> MoraError:
    return MoraError(
        f"the coordinates {problem}; expected shape (n, 2), longitude and latitude in "
        f"degrees. Give one row a place, such as [[-73.98, 40.75]]; encode_frame takes "
        f"frames with other columns or missing values."
    )


def check_order(table: Any) -> None:
    """Refuse two columns whose names say latitude, longitude.

    Args:
        table: anything; only names of columns are looked at, if it has them.

    Raises:
        MoraError: if they are in that order. Other names are not judged.
    """
    # pyarrow keeps the names of its columns apart from them.
    names = list(getattr(table, "column_names", getattr(table, "columns", ())))
    words = [str(name).lower() for name in names]
    if len(words) == 2 and words[0] in LATITUDES and words[1] in LONGITUDES:
        first, second = names
        raise MoraError(
            f"the columns are named {first!r}, {second!r}, in that order; expected "
            f'longitude, latitude. Choose them as [["{second}", "{first}"]].'
        )


def on_earth(lonlat: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
    """Mark the points that are places on Earth.

    Args:
        lonlat: degrees; longitudes may go once more round the Earth.

    Returns:
        False where a coordinate is missing, infinite or out of range.
    """
    return (np.abs(lonlat[:, 0]) <= 360) & (np.abs(lonlat[:, 1]) <= 90)


def check_option(on_invalid: str) -> None:
    """Refuse a word that is no way to treat invalid places.

    Raises:
        MoraError: if it is neither ``raise`` nor ``nan``.
    """
    if on_invalid not in ("raise", "nan"):
        raise MoraError(f"on_invalid is {on_invalid!r}; expected 'raise' or 'nan'.")
