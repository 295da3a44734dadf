import io
import sqlite3
from contextlib import closing

import h3
import numpy as np
import pytest
from PIL import Image

from mora.errors import ConfigError, MissingFileError
from mora.memory import MemoryLimitError
from mora.modalities import build_imagery
from mora.modalities.grids import RasterError
from mora.modalities.raster_sources import RasterSource, check_rasters
from mora.modalities.tiles import TileGrid, is_tiles, open_tiles
from mora.modalities.windows import square_images
from mora.tokens import H3Tokens

ZOOM = 14
# Berlin: tile 8802 from the west and 5373 from the north at zoom 14
LONLAT = np.array([[13.41, 52.52]])
FIRST = (8801, 5372)
SIDE = 3  # tiles in each direction


def encoded(pixels, ending="png"):
    file = io.BytesIO()
    kind = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[ending]
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def mosaic(seed=0, pixels=256):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (SIDE * pixels, SIDE * pixels, 3), dtype=np.uint8)


def tiles_of(whole, pixels=256):
    """Cut a mosaic into tiles by column and row."""
    return {
        (FIRST[0] + i, FIRST[1] + j): whole[
            j * pixels : (j + 1) * pixels, i * pixels : (i + 1) * pixels
        ]
        for i in range(SIDE)
        for j in range(SIDE)
    }


def write_folder(path, tiles, zoom=ZOOM, ending="png"):
    for (x, y), pixels in tiles.items():
        folder = path / str(zoom) / str(x)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{y}.{ending}").write_bytes(encoded(pixels, ending))
    return path


def write_mbtiles(path, tiles, zoom=ZOOM):
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "CREATE TABLE tiles (zoom_level integer, tile_column integer, "
            "tile_row integer, tile_data blob)"
        )
        database.execute("CREATE TABLE metadata (name text, value text)")
        rows = [
            (zoom, x, 2**zoom - 1 - y, encoded(pixels))
            for (x, y), pixels in tiles.items()
        ]
        database.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)", rows)
        database.commit()
    return path


@pytest.fixture(params=["folder", "mbtiles"])
def stored(request, tmp_path):
    tiles = tiles_of(mosaic())
    if request.param == "folder":
        return write_folder(tmp_path / "tiles", tiles)
    return write_mbtiles(tmp_path / "town.mbtiles", tiles)


def test_where_tiles_lie():
    """The four corners of the map, and a tile by hand."""
    grid = TileGrid(1, 256, frozenset({(0, 0), (1, 1)}))
    corners = np.array([[-180, 85.0511287798], [180 - 1e-9, -85.0511287798], [0, 0]])
    row, column = grid.positions(corners)
    np.testing.assert_allclose(row, [-0.5, 511.5, 255.5], atol=1e-6)
    np.testing.assert_allclose(column, [-0.5, 511.5, 255.5], atol=1e-6)
    assert grid.covers(np.array([[-90.0, 40], [90, 40], [90, -40]])).tolist() == [
        *(True, False, True)
    ]
    row, column = TileGrid(ZOOM, 256, frozenset()).positions(LONLAT)
    assert (int(column[0] // 256), int(row[0] // 256)) == (8802, 5373)
    equator = TileGrid(ZOOM, 256, frozenset()).km_per_row(np.array([[0.0, 0]]))
    np.testing.assert_allclose(equator * 1000, 9.55, atol=0.02)  # metres a pixel


def test_positions_are_those_of_web_mercator():
    pyproj = pytest.importorskip("pyproj", reason="needs the extra `geo`")
    lonlat = np.random.default_rng(0).uniform([-180, -80], [180, 80], (50, 2))
    to_map = pyproj.Transformer.from_crs(4326, 3857, always_xy=True)
    x, y = to_map.transform(*lonlat.T)
    half = np.pi * 6378137
    row, column = TileGrid(10, 512, frozenset()).positions(lonlat)
    np.testing.assert_allclose(column + 0.5, (x + half) / (2 * half) * 512 * 1024)
    np.testing.assert_allclose(row + 0.5, (half - y) / (2 * half) * 512 * 1024)


def test_a_picture_is_the_mosaic_of_its_tiles(stored):
    with closing(open_tiles(stored)) as raster:
        assert raster.channels == ("red", "green", "blue")
        row, column = (int(np.floor(p[0] + 0.5)) for p in raster.grid.positions(LONLAT))
        picture = square_images(raster, LONLAT, 400)[0]  # wider than a tile
        facts = raster.facts()
    top, left = row - FIRST[1] * 256, column - FIRST[0] * 256
    expected = mosaic()[top - 200 : top + 200, left - 200 : left + 200] / 255
    found = [
        np.abs(picture - np.roll(expected, (i, j), (0, 1)))[5:-5, 5:-5].max()
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
    ]
    assert min(found) < 1e-6  # of an even width the middle is between two pixels
    assert facts["grid"] == "9 tiles at zoom 14"
    assert facts["pieces"] == 9
    assert 4 <= facts["pieces_read"] <= 9


def test_folders_and_mbtiles_are_the_same(tmp_path):
    tiles = tiles_of(mosaic())
    rows = np.arange(FIRST[1] * 256, FIRST[1] * 256 + 600)[:, None]
    columns = np.arange(FIRST[0] * 256, FIRST[0] * 256 + 700)[None]
    rows, columns = np.broadcast_arrays(rows, columns)
    taken = []
    for path in (
        write_folder(tmp_path / "tiles", tiles),
        write_mbtiles(tmp_path / "a.mbtiles", tiles),
    ):
        assert is_tiles(path)
        with closing(open_tiles(path)) as raster:
            taken.append(raster.take(rows, columns))
    np.testing.assert_array_equal(taken[0], mosaic()[:600, :700])
    np.testing.assert_array_equal(taken[0], taken[1])


def test_zoom_chooses_and_bands_pick(tmp_path):
    path = write_folder(tmp_path / "t", tiles_of(mosaic()))
    other = {(8802 // 2, 5373 // 2): np.full((256, 256, 3), [1, 2, 3], np.uint8)}
    write_folder(path, other, zoom=13)
    with closing(open_tiles(path, zoom=13, bands=[3, 1])) as raster:
        row, column = (p.round().astype(int) for p in raster.grid.positions(LONLAT))
        assert raster.take(row, column).tolist() == [[3.0, 1.0]]
        assert raster.channels == ("blue", "red")
        assert raster.value_range == (0.0, 255.0)


@pytest.mark.parametrize("ending", ["jpg", "webp", "png"])
def test_tiles_of_other_formats_and_sizes(tmp_path, ending):
    tiles = {(8802, 5373): np.full((512, 512, 3), 77, np.uint8)}
    path = write_folder(tmp_path / "t", tiles, ending=ending)
    with closing(open_tiles(path)) as raster:
        assert raster.piece_shape == (512, 512)
        row, column = (p.round().astype(int) for p in raster.grid.positions(LONLAT))
        assert raster.take(row, column).tolist() == [[77.0] * 3]


def test_no_tile_and_transparency_are_no_data(tmp_path):
    clear = np.full((256, 256, 4), 200, np.uint8)
    clear[:, 128:, 3] = 0
    path = write_folder(tmp_path / "t", {(8802, 5373): clear})
    with closing(open_tiles(path)) as raster:
        columns = np.array([0, 127, 128, 255, 256]) + 8802 * 256
        taken = raster.take(np.full(5, 5373 * 256 + 9), columns)
        beside = np.array([[-100.0, 40.0], *LONLAT])
        assert raster.grid.covers(beside).tolist() == [False, True]
    assert np.isnan(taken).all(axis=1).tolist() == [False, False, True, True, True]
    assert (taken[:2] == 200).all()


def test_around_the_antimeridian(tmp_path):
    ends = {
        (0, 0): np.full((256, 256, 3), 10, np.uint8),
        (3, 0): np.full((256, 256, 3), 30, np.uint8),
    }
    path = write_folder(tmp_path / "t", ends, zoom=2)
    with closing(open_tiles(path, zoom=2)) as raster:
        picture = square_images(raster, np.array([[180.0, 80.0]]), 4)[0] * 255
    assert picture[0, :, 0].round().tolist() == [30, 30, 10, 10]


def test_less_memory_reads_more_often(tmp_path):
    path = write_folder(tmp_path / "t", tiles_of(mosaic()))
    rows = np.repeat(FIRST[1] * 256 + np.array([10, 300, 600]), 3)
    columns = np.tile(FIRST[0] * 256 + np.array([10, 300, 600]), 3)
    tile_gb = 256 * 256 * 3 * 4 / 1e9
    reads = []
    for memory_gb in (1.0, tile_gb * 1.5):
        with closing(open_tiles(path, memory_gb=memory_gb)) as raster:
            first = [raster.take(rows[i : i + 1], columns[i : i + 1]) for i in range(9)]
            again = [raster.take(rows[i : i + 1], columns[i : i + 1]) for i in range(9)]
            np.testing.assert_array_equal(first, again)
            reads.append(raster.facts()["pieces_read"])
    assert reads == [9, 18]
    with pytest.raises(MemoryLimitError, match="blocks of 256 x 256 pixels"):
        open_tiles(path, memory_gb=tile_gb / 2)


def test_imagery_of_tiles(tmp_path):
    """Statistics and convolution of cells; the cell without a tile is missing."""
    path = write_folder(tmp_path / "t", tiles_of(mosaic()))
    here = h3.latlng_to_cell(LONLAT[0, 1], LONLAT[0, 0], 9)
    far = h3.latlng_to_cell(40.0, -100.0, 9)
    tokens = H3Tokens.from_cells([here, far])
    near = tokens.find([here])[0]
    rasters = [{"path": path, "name": "sky", "zoom": 14}]
    options = {"method": "both", "filters": 4, "patch_pixels": 16, "radii_km": [0.3]}
    features = build_imagery(tokens, rasters=rasters, **options)
    assert features.present.tolist() == [row == near for row in range(2)]
    mean = features.values[near][features.columns.index("sky 0.3km red mean")]
    assert 120 < mean < 135  # of uniform noise
    with pytest.raises(RasterError, match="none of 1 tokens lies in"):
        check_rasters(H3Tokens.from_cells([far]), rasters=rasters)


def test_tiles_that_cannot_be_used_are_refused(tmp_path):
    path = write_folder(tmp_path / "t", {(8802, 5373): np.zeros((4, 4, 3), np.uint8)})
    with pytest.raises(RasterError, match=r"has no tiles at zoom 15; .*`zoom`"):
        open_tiles(path, zoom=15)
    with pytest.raises(ConfigError, match=r"zoom 30 .*; expected 0..24"):
        open_tiles(path, zoom=30)
    with pytest.raises(MissingFileError, match="imagery: no file at"):
        open_tiles(tmp_path / "none")
    with pytest.raises(RasterError, match=r"bands \[4\]; expected some of 1..3"):
        open_tiles(path, bands=[4])
    (path / "14/8802/5374.png").write_bytes(b"\x1a\x05vector")
    (path / "14/8802/notes.png").write_bytes(b"no tile")
    with (
        closing(open_tiles(path)) as raster,
        pytest.raises(RasterError, match="tile 8802/5374 is no picture"),
    ):
        raster.take(np.array([5374 * 4]), np.array([8802 * 4]))
    (path / "14/8802/5374.png").write_bytes(encoded(np.zeros((8, 8, 3), np.uint8)))
    with (
        closing(open_tiles(path)) as raster,
        pytest.raises(RasterError, match="expected tiles of one size"),
    ):
        raster.take(np.array([5374 * 4]), np.array([8802 * 4]))
    (path / "14/8802/5373.png").write_bytes(encoded(np.zeros((4, 8, 3), np.uint8)))
    with pytest.raises(RasterError, match="expected squares"):
        open_tiles(path)
    (path / "14/8802/5374.jpg").write_bytes(b"")
    with pytest.raises(RasterError, match=r"5374.* are one tile"):
        open_tiles(path)
    (tmp_path / "torn.mbtiles").write_bytes(b"SQLite format 3\0" + b"\0" * 90)
    with pytest.raises(RasterError, match=r"cannot be read as MBTiles"):
        open_tiles(tmp_path / "torn.mbtiles")


def test_options_of_tiles_in_a_configuration(tmp_path):
    path = write_folder(tmp_path / "t", tiles_of(mosaic()))
    for wrong in ({"classes": 3}, {"bounds": [0, 0, 1, 1]}):
        with pytest.raises(ConfigError, match="expected neither: tiles are pictures"):
            RasterSource.from_options({"path": path, **wrong}).open(1.0)
    picture = tmp_path / "a.png"
    picture.write_bytes(encoded(np.zeros((4, 4, 3), np.uint8)))
    with pytest.raises(
        ConfigError, match=r"zoom 14 for .* expected it for tiles alone"
    ):
        RasterSource.from_options({"path": picture, "zoom": 14}).open(1.0)
