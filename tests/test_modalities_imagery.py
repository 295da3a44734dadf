import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely
from PIL import Image

from mora.errors import ConfigError, MissingFileError, NoGeometryError
from mora.memory import MemoryLimitError
from mora.modalities import build_imagery, imagery
from mora.modalities.grids import RasterError
from mora.modalities.imagery import window_radii
from mora.modalities.picture_encoders import PICTURE_ENCODERS
from mora.modalities.raster_sources import RasterSource, check_rasters
from mora.modalities.rasters import read_raster
from mora.modalities.window_statistics import window_shares, window_statistics
from mora.modalities.windows import square_images
from mora.tokens import GridTokens, H3Tokens, ZoneTokens

SHARED = Path(os.environ.get("MORA_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture
def zones() -> ZoneTokens:
    """Six one-degree squares between 20 W and 30 E."""
    west = np.arange(-20, 40, 10)
    return ZoneTokens.from_zones(list("abcdef"), shapely.box(west, 40, west + 1, 41))


@pytest.fixture
def picture(tmp_path) -> dict:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (180, 360, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "marble.png")
    return {"path": tmp_path / "marble.png"}


@pytest.fixture
def land(tmp_path) -> dict:
    codes = np.random.default_rng(1).integers(0, 4, (180, 360), dtype=np.uint8)
    Image.fromarray(codes).save(tmp_path / "codes.tif")
    return {"path": str(tmp_path / "codes.tif"), "name": "land", "classes": 3}


def test_statistics_of_pictures_and_shares_of_classes(zones, picture, land):
    features = build_imagery(zones, rasters=[picture, land], radii_km=[150, 300.5])
    assert len(features.columns) == 2 * (18 + 4)
    assert features.columns[0] == "marble 150km red mean"
    assert features.columns[35] == "marble 300.5km blue gradient"
    assert features.columns[-4:] == (
        "land 300.5km class 0",
        "land 300.5km class 1",
        "land 300.5km class 2",
        "land 300.5km entropy",
    )
    assert features.present.all()
    assert features.notes == {
        "rasters": 2,
        "marble grid": "degrees, lon -180..180, lat -90..90",
        "marble outside": 0,
        "land grid": "degrees, lon -180..180, lat -90..90",
        "land outside": 0,
        "filled_values": 0,
    }
    centroids, radius_km = zones.centroids(), np.full(6, 150.0)
    raster = read_raster(picture["path"])
    np.testing.assert_allclose(
        features.values[:, :18],
        window_statistics(raster, centroids, radius_km),
        rtol=1e-6,
    )
    raster = read_raster(land["path"], classes=True)
    np.testing.assert_allclose(
        features.values[:, 36:40],
        window_shares(raster, centroids, radius_km, 3),
        rtol=1e-6,
    )


def test_radii_follow_the_area_unless_given(zones):
    radii = window_radii(zones, None)
    np.testing.assert_allclose(np.pi * radii["1x"] ** 2, zones.areas_km2())
    np.testing.assert_allclose(radii["3x"], 3 * radii["1x"])
    np.testing.assert_array_equal(window_radii(zones, [7])["7km"], [7.0] * 6)


def test_radii_change_the_features(zones, picture):
    by_area = build_imagery(zones, rasters=[picture])
    assert by_area.columns[0] == "marble 1x red mean"
    near = build_imagery(zones, rasters=[picture], radii_km=[100])
    far = build_imagery(zones, rasters=[picture], radii_km=[500])
    assert near.columns != far.columns
    assert not np.allclose(near.values, far.values)


def test_names_and_classes_of_rasters(zones, land):
    features = build_imagery(zones, rasters=[{**land, "classes": 4}], radii_km=[200])
    assert len(features.columns) == 5
    as_picture = build_imagery(zones, rasters=[{"path": land["path"]}], radii_km=[200])
    assert as_picture.columns[0] == "codes 200km grey mean"


def test_tokens_outside_a_raster(zones, picture):
    # Half of the zones lie within the bounds; alone, the raster leaves the others
    # without features; beside another raster, they get the mean.
    west = {**picture, "name": "west", "bounds": [-30, 30, 5, 60]}
    alone = build_imagery(zones, rasters=[west], radii_km=[50])
    inside = zones.centroids()[:, 0] < 5
    np.testing.assert_array_equal(alone.present, inside)
    assert alone.notes["west outside"] == (~inside).sum()
    both = build_imagery(zones, rasters=[west, picture], radii_km=[50])
    assert both.present.all()
    assert both.notes["filled_values"] == 18 * (~inside).sum()
    np.testing.assert_allclose(
        both.values[~inside][0, :18], alone.values[inside].mean(axis=0), rtol=1e-5
    )


def convolved(zones, picture, **changes):
    options = {"patch_pixels": 8, "filters": 4, "bias": 0.1, **changes}
    return build_imagery(
        zones, rasters=[picture], method="random_convolution", **options
    )


def test_random_convolution(zones, picture):
    features = convolved(zones, picture)
    assert features.columns[0] == "marble filter 0+"
    assert features.columns[-1] == "marble filter 3-"
    assert features.values.shape == (6, 8)
    np.testing.assert_array_equal(convolved(zones, picture).values, features.values)


@pytest.mark.parametrize(
    "change", [{"patch_pixels": 12}, {"patch": 5}, {"bias": 0.2}, {"seed": 1}]
)
def test_options_of_random_convolution_change_the_features(zones, picture, change):
    changed = convolved(zones, picture, **change)
    assert changed.values.shape == (6, 8)
    assert not np.allclose(changed.values, convolved(zones, picture).values)


def test_number_of_filters(zones, picture):
    assert convolved(zones, picture, filters=6).values.shape == (6, 12)


def test_random_convolution_outside_the_raster(zones, picture):
    west = {**picture, "bounds": [-30, 30, 5, 60]}
    np.testing.assert_array_equal(
        convolved(zones, west).present, zones.centroids()[:, 0] < 5
    )


def test_both_methods_side_by_side(zones, picture, land):
    features = build_imagery(
        zones, rasters=[picture, land], radii_km=[200], method="both", filters=4
    )
    assert features.values.shape == (6, 18 + 8 + 4)
    only = build_imagery(
        zones,
        rasters=[picture, land],
        radii_km=[200],
        method="random_convolution",
        filters=4,
    )
    np.testing.assert_array_equal(only.values, features.values[:, 18:])


class MeanColour:
    """A picture's means of its three channels, in place of a network."""

    name, dim = "mean colour", 3

    def encode(self, images):
        return images.mean(axis=(1, 2))


def test_pictures_through_a_network(zones, picture, land, monkeypatch):
    monkeypatch.setitem(PICTURE_ENCODERS, "efficientnet-lite0", MeanColour)

    def encoded(**changes):
        west = {**picture, "name": "west", "bounds": [-30, 30, 5, 60]}
        options = {"rasters": [picture, west, land], "patch_pixels": 8, **changes}
        return build_imagery(
            zones, radii_km=[200], method="efficientnet-lite0", **options
        )

    features = encoded()
    assert features.columns[:3] == tuple(f"marble network {i}" for i in range(3))
    assert features.columns[6] == "land 200km class 0"  # classes whatever the method
    assert features.notes["encoder"] == "mean colour"
    images = square_images(read_raster(picture["path"]), zones.centroids(), 8)
    np.testing.assert_allclose(
        features.values[:, :3], images.mean(axis=(1, 2)), rtol=1e-5
    )
    inside = zones.centroids()[:, 0] < 5
    assert features.notes["filled_values"] == 3 * (~inside).sum()
    wider = encoded(patch_pixels=16)
    assert not np.allclose(wider.values[:, :3], features.values[:, :3])
    dark = encoded(rasters=[{**picture, "value_range": [0, 510]}])
    np.testing.assert_allclose(dark.values, features.values[:, :3] / 2, rtol=1e-5)


def test_options_that_do_not_fit_are_refused(zones, picture, land):
    with pytest.raises(ConfigError, match="method 'mosaiks' with 1 rasters"):
        build_imagery(zones, rasters=[picture], method="mosaiks")
    with pytest.raises(ConfigError, match="with 0 rasters"):
        build_imagery(zones, rasters=[])
    with pytest.raises(ConfigError, match="1 class rasters and no picture"):
        build_imagery(zones, rasters=[land], method="both")
    with pytest.raises(ConfigError, match="rasters called marble, marble; expected"):
        build_imagery(zones, rasters=[picture, picture])
    for radii_km in ([], [0]):
        with pytest.raises(ConfigError, match="expected at least one, all above 0"):
            build_imagery(zones, rasters=[picture], radii_km=radii_km)


def test_a_table_is_refused(zones, picture):
    build = build_imagery.__wrapped__ if hasattr(build_imagery, "__wrapped__") else None
    frame = pd.DataFrame({"x": [1]})
    with pytest.raises(ConfigError, match="got a table of 1 rows; expected none"):
        (build or build_imagery)(zones, frame, rasters=[picture])


def test_a_grid_without_place_is_refused(picture):
    grid = GridTokens.from_xy(np.array([[1, 1]]))
    with pytest.raises(NoGeometryError, match="no known lon/lat"):
        build_imagery(grid, rasters=[picture])


def geotiff(picture, tmp_path, **options) -> dict:
    """Write the picture as a GeoTIFF in tiles of 16 x 16 pixels."""
    rasterio = pytest.importorskip("rasterio", reason="needs the extra `geo`")
    pixels = np.asarray(Image.open(picture["path"]))
    transform = rasterio.Affine(1, 0, -180, 0, -1, 90)
    kind = {"driver": "GTiff", "dtype": pixels.dtype, "crs": "EPSG:4326"}
    size = {"height": 180, "width": 360, "count": 3, "transform": transform}
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16, "photometric": "RGB"}
    path = tmp_path / "marble.tif"
    with rasterio.open(path, "w", **kind, **size, **tiles) as file:
        file.write(np.moveaxis(pixels, -1, 0))
    return {"path": path, **options}


STREAMED = {"method": "both", "radii_km": [150, 400], "filters": 4, "patch_pixels": 8}


def test_a_geotiff_gives_what_the_whole_picture_does(zones, picture, tmp_path):
    streamed = build_imagery(zones, rasters=[geotiff(picture, tmp_path)], **STREAMED)
    whole = build_imagery(zones, rasters=[picture], **STREAMED)
    assert streamed.columns == whole.columns
    np.testing.assert_allclose(streamed.values, whole.values, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(streamed.values[:, :36], whole.values[:, :36])
    # each of the tiles that hold the windows is read once for everything
    notes = streamed.notes
    assert notes["marble pieces"] == 12 * 23
    assert 6 <= notes["marble pieces_used"] == notes["marble pieces_read"] < 24


def test_less_memory_reads_more_often(zones, picture, tmp_path):
    raster = geotiff(picture, tmp_path)
    ample, scarce = (
        build_imagery(zones, rasters=[raster], memory_gb=memory_gb, **STREAMED)
        for memory_gb in (1.0, 800e-9)
    )
    np.testing.assert_allclose(ample.values, scarce.values, rtol=1e-5, atol=1e-7)
    used, read = "marble pieces_used", "marble pieces_read"
    assert scarce.notes[read] > scarce.notes[used] == ample.notes[used]


def test_bands_and_bounds_of_a_geotiff(zones, picture, tmp_path):
    raster = geotiff(picture, tmp_path)
    streamed = build_imagery(
        zones, rasters=[raster | {"bands": [3, 1]}], radii_km=[150]
    )
    whole = build_imagery(zones, rasters=[raster], radii_km=[150])
    assert streamed.columns[0] == "marble 150km blue mean"
    np.testing.assert_array_equal(streamed.values[:, :6], whole.values[:, 12:])
    # bounds in the configuration count more than those in the file
    moved = raster | {"bounds": [-180, -90, 180, 0]}
    with pytest.raises(RasterError, match=r"none of 6 tokens.*lat -90\.\.0.*40.5"):
        build_imagery(zones, rasters=[moved], radii_km=[150])


def test_value_range_scales_pictures(zones, picture):
    wide, narrow, whole = (
        convolved(zones, picture | change)
        for change in ({"value_range": [0, 510]}, {"value_range": [0, 255]}, {})
    )
    assert not np.allclose(wide.values, whole.values)
    np.testing.assert_array_equal(narrow.values, whole.values)


def test_progress_counts_tokens_over_all_rasters(zones, picture, land, monkeypatch):
    monkeypatch.setattr(imagery, "TOKENS_PER_BATCH", 4)
    seen = []
    build_imagery(
        zones,
        rasters=[picture, land],
        radii_km=[150],
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(4, 12), (6, 12), (10, 12), (12, 12)]


def test_every_raster_is_opened_before_the_work(zones, picture, tmp_path):
    (tmp_path / "torn.png").write_bytes(picture["path"].read_bytes()[:2000])
    worked = []
    with pytest.raises(RasterError, match=r"torn.png cannot be read as an image"):
        build_imagery(
            zones,
            rasters=[picture, {"path": tmp_path / "torn.png"}],
            progress=lambda *done: worked.append(done),
        )
    assert not worked
    with pytest.raises(MissingFileError, match=r"imagery: no file at .*none\.png"):
        check_rasters(zones, rasters=[picture, {"path": tmp_path / "none.png"}])
    with pytest.raises(MemoryLimitError, match="memory_gb is 1e-07"):
        check_rasters(zones, rasters=[geotiff(picture, tmp_path)], memory_gb=1e-7)


def test_rasters_beside_all_tokens_are_refused(zones, picture):
    east = picture | {"bounds": [100, 30, 120, 60]}
    with pytest.raises(
        RasterError,
        match=r"none of 6 tokens lies in .*lon 100\.\.120.*lon -19.5\.\.30.5",
    ):
        check_rasters(zones, rasters=[picture, east])


def test_maps_that_are_not_true_to_shape_are_refused(zones, picture, tmp_path):
    rasterio = pytest.importorskip("rasterio", reason="needs the extra `geo`")
    path = geotiff(picture, tmp_path)["path"]
    with rasterio.open(path, "r+") as file:
        file.crs = rasterio.CRS.from_user_input("ESRI:54009")
        file.transform = rasterio.Affine(1e5, 0, -1.8e7, 0, -1e5, 9e6)
    with pytest.raises(
        RasterError, match=r"marble.tif: squares on its map .World_Mollweide.*gdalwarp"
    ):
        check_rasters(zones, rasters=[{"path": path}])


@pytest.mark.parametrize(
    "options",
    [
        {"name": "a"},
        {"path": "a", "colour": 1},
        {"path": "a", "classes": 0},
        {"path": "a", "value_range": [1, 1]},
        {"path": "a", "value_range": [1]},
    ],
)
def test_raster_entries_are_checked(options):
    with pytest.raises(ConfigError, match="expected `path` and optionally"):
        RasterSource.from_options(options)


def test_real_rasters_tell_desert_from_forest():
    marble = SHARED / "data" / "rasters" / "nasa_blue_marble_5400x2700.jpg"
    if not marble.is_file():
        pytest.skip(f"no Blue Marble at {marble}; set MORA_SHARED")
    # Level-3 cells in the Sahara (25 N 5 E) and the Congo basin (0, 22 E).
    from mora.geometry import cells_at

    cells = cells_at(np.array([[5.0, 25.0], [22.0, 0.0]]), 3)
    tokens = H3Tokens.from_cells(cells)
    features = build_imagery(tokens, rasters=[{"path": marble, "name": "m"}])
    red = features.values[:, features.columns.index("m 1x red mean")]
    desert, forest = red[tokens.encode(cells)]
    assert desert > 2 * forest
