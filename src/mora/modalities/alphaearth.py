"""AlphaEarth: the mean of published pixel vectors over each token's area."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int

from mora.errors import MissingExtraError, MissingFileError
from mora.modalities.features import Features, modality
from mora.modalities.file_raster import GDAL_CACHE_BYTES
from mora.modalities.geotiff import require_whole
from mora.modalities.grids import RasterError
from mora.tokens import Tokens

BANDS = 64
NO_DATA = -128  # in one band of a pixel, then in all

Paths = Path | str | Sequence[Path | str]


@modality("alphaearth")
def build_alphaearth(tokens: Tokens, frame: None = None, *, path: Paths) -> Features:
    """Take the mean of AlphaEarth's pixel vectors over each token's area.

    Args:
        tokens: the row order of the features; they must have a place on Earth.
        frame: none; GeoTIFFs are read. Here so that all builders are called alike.
        path: see :func:`mean_pixel_vectors`.

    Returns:
        Features with 64 columns; tokens without a pixel are missing.

    Raises:
        NoGeometryError: if the tokens do not know where they lie.
        MissingFileError: if there is no such file.
        MissingExtraError: if rasterio or pyproj is not installed.
        RasterError: if a file is of another kind, or no pixel lies in a token.
    """
    del frame
    vectors = mean_pixel_vectors(tokens, path)
    present = np.isfinite(vectors).all(axis=1)
    columns = [f"A{band:02d}" for band in range(BANDS)]  # as in Earth Engine
    notes = {
        "files": len(find_alphaearth(path)),
        "without_pixel": int((~present).sum()),
    }
    return Features.from_values(vectors, present, columns, notes)


def mean_pixel_vectors(tokens: Tokens, path: Paths) -> Float32[np.ndarray, "tokens 64"]:
    """Give the mean of AlphaEarth's pixel vectors over each token's area.

    Source: Brown et al. 2025; bytes are decoded as Google's notes on the files say,
    before the mean, because the code is not linear. A pixel belongs to the token that
    holds its middle. A pixel vector has length 1, a mean does not: the more its pixels
    differ, the shorter it is, and it is left so.

    Args:
        tokens: that know where they lie.
        path: a GeoTIFF of 64 bands of int8, several, or a name with ``*``; on any map,
            also from south to north as published. A pixel that two files show counts
            twice.

    Returns:
        64 columns; NaN for tokens without a pixel.

    Raises:
        NoGeometryError: if the tokens do not know where they lie.
        MissingFileError: if there is no such file.
        MissingExtraError: if rasterio or pyproj is not installed.
        RasterError: if a file is of another kind, or no pixel lies in a token.
    """
    paths = find_alphaearth(path)
    for file in paths:  # all of them before the first long read
        with _open(file):
            pass
    sums, counts = np.zeros((len(tokens), BANDS)), np.zeros(len(tokens))
    for file in paths:
        with _open(file) as dataset:
            for rows, pixels in _pixels_in_tokens(dataset, tokens):
                _add(sums, counts, rows, pixels)
    if not counts.any():
        raise RasterError(
            f"no pixel of {len(paths)} files (first: {paths[0]}) lies in one of "
            f"{len(tokens)} {tokens.kind} tokens; expected files of their region."
        )
    empty = np.full(sums.shape, np.nan)
    means = np.divide(sums, counts[:, None], out=empty, where=counts[:, None] > 0)
    return means.astype(np.float32)


def find_alphaearth(path: Paths) -> list[Path]:
    """List the files that a path, several paths or a pattern name, none twice.

    Raises:
        MissingFileError: if one is not there.
        RasterError: if none was named.
    """
    given = [path] if isinstance(path, str | Path) else list(path)
    found: dict[Path, None] = {}
    for one in map(Path, given):
        files = sorted(one.parent.glob(one.name)) if "*" in one.name else [one]
        if not files or not all(file.is_file() for file in files):
            raise MissingFileError(one, "alphaearth")
        found |= dict.fromkeys(files)
    if not found:
        raise RasterError("alphaearth: no files named; expected at least one.")
    return list(found)


def decode(pixels: Int[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """Give what AlphaEarth's bytes stand for.

    Source: Google, AlphaEarth Foundations GCS data, "De-quantization".

    Args:
        pixels: -127..127.

    Returns:
        Values in (-1, 1): the square of ``pixels / 127.5`` with the sign of ``pixels``.
    """
    share = pixels.astype(np.float32) / np.float32(127.5)
    return share * np.abs(share)


def _open(path: Path) -> Any:
    """Open a file and check that it is one of AlphaEarth's, without reading pixels."""
    try:
        import pyproj  # noqa: F401
        import rasterio
    except ImportError as error:
        raise MissingExtraError(
            error.name or "rasterio", "geo", f"reading the GeoTIFF {path}"
        ) from error
    try:
        with warnings.catch_warnings(), rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_BYTES):
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            dataset = rasterio.open(path, driver="GTiff")
    except rasterio.errors.RasterioError as error:
        raise RasterError(
            f"{path} cannot be opened as a GeoTIFF ({error}). Get it again."
        ) from error
    kinds = set(dataset.dtypes)
    if dataset.count != BANDS or kinds != {"int8"} or dataset.crs is None:
        dataset.close()
        raise RasterError(
            f"{path} has {dataset.count} bands of {', '.join(sorted(kinds))} on the "
            f"map {dataset.crs}; expected {BANDS} bands of int8 that say where they "
            f"lie, as published for AlphaEarth."
        )
    require_whole(dataset)
    return dataset


def _pixels_in_tokens(
    dataset: Any, tokens: Tokens
) -> Iterator[tuple[Int[np.ndarray, " n"], Int[np.ndarray, "64 n"]]]:
    """Read the blocks with pixels in tokens, each once; give tokens and pixels."""
    import rasterio
    from pyproj import Transformer

    to_lonlat = Transformer.from_crs(dataset.crs.to_wkt(), "EPSG:4326", always_xy=True)
    a, b, c, d, e, f = tuple(dataset.transform)[:6]
    for _, window in dataset.block_windows(1):
        row, column = np.mgrid[: window.height, : window.width].reshape(2, -1) + 0.5
        row, column = row + window.row_off, column + window.col_off
        x, y = a * column + b * row + c, d * column + e * row + f
        lonlat = np.stack(to_lonlat.transform(x, y), axis=1)
        shown = np.flatnonzero(np.isfinite(lonlat).all(axis=1))
        token = tokens.locate(lonlat[shown])
        inside = shown[token >= 0]
        if not len(inside):
            continue  # most blocks of a large file, when the tokens are a city
        try:
            with rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_BYTES):
                pixels = dataset.read(window=window).reshape(BANDS, -1)[:, inside]
        except rasterio.errors.RasterioError as error:
            raise RasterError(
                f"{dataset.name}: {window} cannot be read ({error}); the file is "
                f"damaged or cut short. Get it again."
            ) from error
        known = (pixels != NO_DATA).all(axis=0)
        yield token[token >= 0][known], pixels[:, known]


def _add(
    sums: Float[np.ndarray, "tokens 64"],
    counts: Float[np.ndarray, " tokens"],
    rows: Int[np.ndarray, " n"],
    pixels: Int[np.ndarray, "64 n"],
) -> None:
    """Add pixels to the sums and counts of their tokens."""
    touched, place = np.unique(rows, return_inverse=True)
    counts[touched] += np.bincount(place)
    for band in range(BANDS):  # one at a time: decoded, a block is four times as large
        sums[touched, band] += np.bincount(place, decode(pixels[band]))
