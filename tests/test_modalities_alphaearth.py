import h3
import numpy as np
import pytest

from mora.errors import MissingFileError
from mora.modalities.alphaearth import (
    build_alphaearth,
    decode,
    find_alphaearth,
    mean_pixel_vectors,
)
from mora.modalities.grids import RasterError
from mora.tokens import H3Tokens

rasterio = pytest.importorskip("rasterio", reason="needs the extra `geo`")
pyproj = pytest.importorskip("pyproj", reason="needs the extra `geo`")

MIDDLE = (47.8562, 15.0032)
TOKENS = H3Tokens.from_cells(h3.grid_disk(h3.latlng_to_cell(*MIDDLE, 10), 5))


def write(path, values, corner=(500_000, 5_300_000)):
    """Write pixels of 10 m in UTM, from south to north as published."""
    transform = rasterio.Affine(10, 0, corner[0], 0, 10, corner[1])
    bands, height, width = values.shape
    form = {"height": height, "width": width, "count": bands, "dtype": values.dtype}
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16, "nodata": -128}
    with rasterio.open(
        path, "w", "GTiff", crs="EPSG:32633", transform=transform, **form, **tiles
    ) as file:
        file.write(values)
    return path


def pixels(seed=0):
    drawn = np.random.default_rng(seed).integers(-127, 128, (64, 64, 48)).astype("i1")
    drawn[:, :4] = -128
    return drawn


def test_features_are_the_mean_of_decoded_pixels(tmp_path):
    path = write(tmp_path / "a.tiff", pixels())
    features = build_alphaearth(TOKENS, path=path)
    to_lonlat = pyproj.Transformer.from_crs(32633, 4326, always_xy=True)
    rows, columns = np.indices((64, 48)).reshape(2, -1)
    lonlat = to_lonlat.transform(500_005 + 10 * columns, 5_300_005 + 10 * rows)
    token = TOKENS.locate(np.column_stack(lonlat))
    one = int(np.bincount(token[(token >= 0) & (rows >= 4)]).argmax())
    of_one = (token == one) & (rows >= 4)
    code = pixels()[:, rows[of_one], columns[of_one]].astype(float)
    expected = ((code / 127.5) ** 2 * np.sign(code)).mean(axis=1)
    np.testing.assert_allclose(features.values[one], expected, atol=1e-6)
    assert features.columns[0] == "A00"
    assert features.columns[63] == "A63"
    assert 0 < features.present.sum() < len(TOKENS)
    assert features.notes == {
        "files": 1,
        "without_pixel": int((~features.present).sum()),
    }


def test_a_pixel_alike_everywhere_gives_its_unit_vector(tmp_path):
    """Code 45 has value 0.1246, and 64 of them a length of about 1."""
    alike = np.full((64, 64, 48), 45, dtype=np.int8)
    features = build_alphaearth(TOKENS, path=write(tmp_path / "a.tiff", alike))
    lengths = np.linalg.norm(features.values[features.present], axis=1)
    np.testing.assert_allclose(lengths, 8 * (45 / 127.5) ** 2, rtol=1e-5)
    np.testing.assert_allclose(decode(np.int8([-51, 0, 51])), [-0.16, 0, 0.16], 1e-6)


def test_the_path_changes_the_features(tmp_path):
    write(tmp_path / "a.tiff", pixels(0))
    write(tmp_path / "b.tiff", pixels(1))
    one = mean_pixel_vectors(TOKENS, tmp_path / "a.tiff")
    both = mean_pixel_vectors(TOKENS, str(tmp_path / "*.tiff"))
    other = mean_pixel_vectors(TOKENS, [tmp_path / "b.tiff"])
    np.testing.assert_allclose(both, (one + other) / 2, atol=1e-6)
    assert np.nanmax(np.abs(one - other)) > 0.01


def test_other_files_are_refused(tmp_path):
    eight = write(tmp_path / "8.tif", pixels()[:8])
    with pytest.raises(RasterError, match=r"has 8 bands of int8 .*; expected 64 bands"):
        build_alphaearth(TOKENS, path=eight)
    far = write(tmp_path / "far.tif", pixels(), (500_000, 5_000_000))
    with pytest.raises(
        RasterError, match=r"no pixel of 1 files .* one of 91 h3 tokens"
    ):
        build_alphaearth(TOKENS, path=far)
    with pytest.raises(MissingFileError, match=r"alphaearth: no file at .*c\*.tif"):
        find_alphaearth(tmp_path / "c*.tif")
    with pytest.raises(RasterError, match="no files named; expected at least one"):
        find_alphaearth([])
