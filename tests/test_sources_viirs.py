import h3
import numpy as np
import pytest

from mora.errors import ConfigError, MissingExtraError, MissingFileError, TableError
from mora.sources.registry import read_source
from mora.sources.viirs import read_viirs

rasterio = pytest.importorskip("rasterio", reason="needs the extra `geo`")

PIXEL = 15 / 3600  # degrees
CORNER = (13.0, 52.5)


def lights(seed=0, size=64):
    """Draw radiances with many dark pixels, in float32 as published."""
    rng = np.random.default_rng(seed)
    values = rng.exponential(5, (size, size)) * (rng.random((size, size)) < 0.5)
    return values.astype(np.float32)


def write(path, values, **options):
    """Write pixels of 15 arc seconds in degrees."""
    values = np.asarray(values, dtype=np.float32)
    about = {"driver": "GTiff", "count": 1, "dtype": "float32", "crs": "EPSG:4326"}
    about["transform"] = rasterio.Affine(PIXEL, 0, CORNER[0], 0, -PIXEL, CORNER[1])
    height, width = values.shape
    with rasterio.open(
        path, "w", height=height, width=width, **about | options
    ) as file:
        file.write(values, 1)
    return path


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "VNL.average.tif", lights())


def test_a_row_a_pixel_and_dark_ones_too(path):
    frame = read_source("viirs_night_lights", path)
    assert list(frame.columns) == ["lon", "lat", "radiance"]
    assert len(frame) == 64 * 64
    assert (frame["radiance"] == 0).any()
    np.testing.assert_allclose(
        frame.iloc[65],
        [CORNER[0] + 1.5 * PIXEL, CORNER[1] - 1.5 * PIXEL, lights()[1, 1]],
    )


def test_means_of_cells_are_those_counted_by_hand(path):
    frame = read_source("viirs_night_lights", path, resolution=7)
    rows, columns = np.indices((64, 64))
    lat = CORNER[1] - (rows + 0.5) * PIXEL
    lon = CORNER[0] + (columns + 0.5) * PIXEL
    cell = np.vectorize(lambda a, b: h3.latlng_to_cell(a, b, 7))(lat, lon)
    expected = {name: lights()[cell == name].mean() for name in np.unique(cell)}
    assert frame.set_index("id")["radiance"].to_dict() == pytest.approx(expected)
    middle = h3.cell_to_latlng(frame["id"][0])
    np.testing.assert_allclose(frame.loc[0, ["lat", "lon"]].astype(float), middle)


def test_log_is_of_the_mean_and_noise_below_zero_is_dark(path, tmp_path):
    mean = read_source("viirs_night_lights", path, resolution=5)
    logged = read_source("viirs_night_lights", path, resolution=5, log=True)
    np.testing.assert_allclose(logged["radiance"], np.log1p(mean["radiance"]))
    dark = write(tmp_path / "dark.tif", [[-0.3, 0.0], [np.e - 1, 3.0]])
    values = read_source("viirs_night_lights", dark, log=True)["radiance"]
    np.testing.assert_allclose(values, [0, 0, 1, np.log(4)], rtol=1e-6)


def test_pixels_without_data_and_bounds_are_left_out(tmp_path):
    path = write(
        tmp_path / "a.tif", [[1.0, -999.3, np.nan], [4.0, 5.0, 6.0]], nodata=-999.3
    )
    assert read_source("viirs_night_lights", path)["radiance"].tolist() == [1, 4, 5, 6]
    east, south = CORNER[0] + 1.9 * PIXEL, CORNER[1] - 2 * PIXEL
    box = (CORNER[0], south, east, CORNER[1])
    few = read_source("viirs_night_lights", path, bounds=box)
    assert few["radiance"].tolist() == [1, 4, 5]


def test_other_files_and_options_are_refused(tmp_path, path, monkeypatch):
    with pytest.raises(MissingFileError, match="VIIRS night lights: no file at"):
        read_viirs(tmp_path / "none.tif")
    with pytest.raises(ConfigError, match=r"resolution 16; expected 0..15"):
        read_viirs(path, resolution=16)
    with pytest.raises(ConfigError, match="expected west, south, east, north"):
        read_viirs(path, bounds=(1, 2, 3))
    with pytest.raises(TableError, match="none of 0 records"):
        list(read_viirs(path, bounds=(0, 0, 1, 1)))
    with pytest.raises(TableError, match="none of 0 records"):
        list(read_viirs(path, bounds=(0, 0, 1, 1), resolution=5))
    (tmp_path / "a.tif.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(TableError, match=r"as a GeoTIFF .* unpack it"):
        list(read_viirs(tmp_path / "a.tif.gz"))
    nowhere = write(tmp_path / "n.tif", [[1.0]], crs=None)
    with pytest.raises(TableError, match="does not say where it lies"):
        list(read_viirs(nowhere))
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    with pytest.raises(MissingExtraError, match=r'rasterio.*"mora\[geo\]"'):
        list(read_viirs(path))
