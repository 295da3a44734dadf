import json

import h3
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely
from tests.distilled_models import constant_encoder, small_encoder

from mora.distill import area_export, polygons
from mora.distill.area_export import area_cells, encode_area
from mora.distill.polygons import encode_cells, encode_polygons, read_polygons
from mora.embeddings import Embeddings, read_embeddings
from mora.errors import MissingFileError, MoraError, TableError
from mora.geometry import cover_with_cells
from mora.tokens import H3Tokens

ENCODER = small_encoder()
PARIS = shapely.box(2.2, 48.8, 2.5, 48.9)
LYON = shapely.box(4.7, 45.6, 5.0, 45.9)
CELL = h3.latlng_to_cell(48.86, 2.35, 5)


def middle(cell):
    lat, lon = h3.cell_to_latlng(cell)
    return np.array([[lon, lat]])


# --- cells ---


def test_cells_have_the_vectors_of_their_middles():
    cells = [CELL, *h3.grid_ring(CELL, 1), CELL]
    got = encode_cells(ENCODER, cells)
    expected = np.vstack([ENCODER.encode(middle(cell)) for cell in cells])
    np.testing.assert_allclose(got, expected, atol=1e-6)
    numbers = np.array([int(cell, 16) for cell in cells], dtype=np.uint64)
    np.testing.assert_array_equal(encode_cells(ENCODER, numbers), got)
    np.testing.assert_array_equal(encode_cells(ENCODER, cells, threads=2), got)


def test_cells_that_cannot_be_used_are_refused():
    with pytest.raises(MoraError, match=r"1 of 2 values are not H3 cells .first: 85zz"):
        encode_cells(ENCODER, [CELL, "85zz"])
    with pytest.raises(MoraError, match=r"levels \[4, 5\]; expected one level"):
        encode_cells(ENCODER, [CELL, h3.cell_to_parent(CELL)])
    with pytest.raises(MoraError, match="no cells"):
        encode_cells(ENCODER, [])
    with pytest.raises(MoraError, match="threads is 0"):
        encode_cells(ENCODER, [CELL], threads=0)


# --- means over polygons ---


def test_the_mean_of_one_vector_is_that_vector():
    got = encode_polygons(constant_encoder(2.0, -1.0), [PARIS, LYON], 6)
    np.testing.assert_allclose(got, [[2, -1], [2, -1]], rtol=1e-6)
    assert got.dtype == np.float32


def test_a_polygon_within_a_cell_has_its_vector():
    dot = shapely.Point(middle(CELL)[0]).buffer(1e-4)
    got = encode_polygons(ENCODER, [dot], 5)
    np.testing.assert_allclose(got, ENCODER.encode(middle(CELL)), atol=1e-6)


def test_agrees_with_a_plain_mean_by_area():
    row, cell, share = cover_with_cells(np.array([PARIS, LYON]), 6)
    for i in range(2):
        texts = [f"{c:x}" for c in cell[row == i]]
        vectors = encode_cells(ENCODER, texts)
        expected = np.average(vectors, axis=0, weights=share[row == i])
        got = encode_polygons(ENCODER, [PARIS, LYON], 6)[i]
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_blocks_and_threads_change_nothing(monkeypatch):
    whole = encode_polygons(ENCODER, [PARIS, LYON, PARIS], 7)
    np.testing.assert_array_equal(whole[0], whole[2])
    monkeypatch.setattr(polygons, "BLOCK", 3)
    blocks = encode_polygons(ENCODER, [PARIS, LYON, PARIS], 7, threads=2)
    np.testing.assert_allclose(blocks, whole, atol=1e-6)


def test_two_halves_weigh_as_one():
    west, east = shapely.box(2.2, 48.8, 2.35, 48.9), shapely.box(2.35, 48.8, 2.5, 48.9)
    both = shapely.MultiPolygon([west, shapely.affinity.translate(east, 1e-9)])
    got = encode_polygons(ENCODER, [both, PARIS], 6)
    np.testing.assert_allclose(got[0], got[1], atol=1e-6)


def test_resolution_and_finer_matter():
    coarse, fine = (encode_polygons(ENCODER, [PARIS], level) for level in (4, 7))
    assert np.abs(coarse - fine).max() > 1e-5
    rough = encode_polygons(ENCODER, [PARIS], 5, finer=0)
    assert np.abs(rough - encode_polygons(ENCODER, [PARIS], 5)).max() > 1e-6


def test_no_polygons_give_no_rows():
    assert encode_polygons(ENCODER, [], 6).shape == (0, 5)


def test_polygons_that_cannot_be_used_are_refused():
    given = np.array([PARIS, None, shapely.Point(1, 2), shapely.Polygon()])
    with pytest.raises(MoraError, match=r"3 of 4 .*None, Point, Polygon; first: row 1"):
        encode_polygons(ENCODER, given, 6)
    with pytest.raises(MoraError, match=r"resolution is 16; expected .* 0\.\.15"):
        encode_polygons(ENCODER, [PARIS], 16)
    with pytest.raises(MoraError, match="1 of 1 polygons reach beyond longitude 180"):
        encode_polygons(ENCODER, [shapely.box(170, 0, 190, 1)], 3)


# --- polygons in files ---


def test_any_geojson_is_read(tmp_path):
    shape = json.loads(shapely.to_geojson(PARIS))
    feature = {"type": "Feature", "properties": {}, "geometry": shape}
    both = {"type": "FeatureCollection", "features": [feature, feature]}
    named = {**both, "features": [{**feature, "id": i} for i in range(2)]}
    for count, found in ((1, shape), (1, feature), (2, both), (2, named)):
        (tmp_path / "a.geojson").write_text(json.dumps(found))
        got = read_polygons(tmp_path / "a.geojson")
        assert len(got) == count
        assert shapely.equals(got, PARIS).all()


def test_other_files_are_read_as_areas_are(tmp_path):
    (tmp_path / "a.wkt").write_text(f"{PARIS.wkt}\n{LYON.wkt}\n")
    assert shapely.equals(read_polygons(tmp_path / "a.wkt"), [PARIS, LYON]).all()


def test_crossed_rings_are_repaired(tmp_path):
    (tmp_path / "a.wkt").write_text("POLYGON ((0 0, 1 1, 1 0, 0 1, 0 0))\n")
    got = read_polygons(tmp_path / "a.wkt")[0]
    assert got.is_valid
    assert got.area == pytest.approx(0.5)


def test_files_without_polygons_are_refused(tmp_path):
    with pytest.raises(MissingFileError, match="polygons: no file at"):
        read_polygons(tmp_path / "none.geojson")
    (tmp_path / "a.json").write_text('{"type": "Polygons"}')
    with pytest.raises(MoraError, match="cannot be read as GeoJSON"):
        read_polygons(tmp_path / "a.json")
    (tmp_path / "a.wkt").write_text("POLYGON ((0 0, 1")
    with pytest.raises(TableError, match="1 of 1 geometries are neither WKT nor WKB"):
        read_polygons(tmp_path / "a.wkt")
    (tmp_path / "a.json").write_text('{"type": "Point", "coordinates": [1, 2]}')
    with pytest.raises(TableError, match="geometry is not a polygon"):
        read_polygons(tmp_path / "a.json")


# --- a whole area as a file ---


def write(path, **options):
    return encode_area(ENCODER, [PARIS, LYON], 7, path, **options)


def test_a_file_of_embeddings_is_written(tmp_path):
    path = tmp_path / "area.parquet"
    count = write(path, name="tiny")
    got = read_embeddings(path)
    cells = area_cells([PARIS, LYON], 7)
    np.testing.assert_array_equal(got.tokens.ids, cells)
    assert count == len(cells) > 50
    vectors = encode_cells(ENCODER, [f"{cell:x}" for cell in cells])
    np.testing.assert_allclose(got.vectors, vectors, atol=1e-6)
    assert got.provenance == {
        "model": "tiny",
        "encoder": ENCODER.fingerprint,
        "distilled_from": {"run": "by hand"},
    }
    assert [p.name for p in tmp_path.iterdir()] == ["area.parquet"]


def test_the_file_has_the_form_of_other_embeddings(tmp_path, monkeypatch):
    monkeypatch.setattr(area_export, "ROW_GROUP", 20)
    write(tmp_path / "blocks.parquet")
    got = read_embeddings(tmp_path / "blocks.parquet")
    assert pq.ParquetFile(tmp_path / "blocks.parquet").num_row_groups > 2
    got.write(tmp_path / "whole.parquet")
    blocks, whole = (
        pq.read_table(tmp_path / f"{name}.parquet") for name in ("blocks", "whole")
    )
    assert blocks.equals(whole, check_metadata=True)


def test_cells_are_those_whose_middle_is_inside():
    cells = area_cells([PARIS], 7)
    middles = H3Tokens(cells).centroids()
    assert shapely.contains_xy(PARIS, *middles.T).all()
    near = h3.grid_disk(h3.latlng_to_cell(48.85, 2.35, 7), 12)
    inside = [c for c in near if shapely.contains_xy(PARIS, *middle(c)[0])]
    assert sorted(int(c, 16) for c in inside) == cells.tolist()
    np.testing.assert_array_equal(area_cells([PARIS, PARIS], 7), cells)
    assert len(area_cells([PARIS], 2)) == 1


def test_a_stopped_call_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(area_export, "ROW_GROUP", 20)
    write(tmp_path / "whole.parquet")
    path, told = tmp_path / "area.parquet", []

    def stop(done, total):
        if done > 20:
            raise KeyboardInterrupt(f"{done} of {total}")

    with pytest.raises(KeyboardInterrupt, match="40 of"):
        write(path, progress=stop)
    assert not path.exists()
    encoded = []
    encode = ENCODER.encode
    monkeypatch.setattr(
        ENCODER, "encode", lambda c, **o: encoded.append(len(c)) or encode(c, **o)
    )
    count = write(path, progress=lambda *t: told.append(t))
    assert sum(encoded) == count - 40
    assert told[0] == (20, count)
    assert told[-1] == (count, count)
    assert path.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_another_encoder_does_not_go_on_from_it(tmp_path, monkeypatch):
    monkeypatch.setattr(area_export, "_join", lambda *_: 1 / 0)
    path = tmp_path / "area.parquet"
    for encoder, level in ((ENCODER, 6), (ENCODER, 7), (small_encoder(seed=3), 7)):
        with pytest.raises(ZeroDivisionError):
            encode_area(encoder, [PARIS], level, path)
    assert len(list(tmp_path.iterdir())) == 3


def test_threads_are_passed_on(tmp_path):
    with pytest.raises(MoraError, match="threads is 0"):
        write(tmp_path / "area.parquet", threads=0)


def test_an_area_without_polygons_is_refused(tmp_path):
    with pytest.raises(MoraError, match="there are 0 polygons; expected at least one"):
        encode_area(ENCODER, [], 6, tmp_path / "area.parquet")
    assert not list(tmp_path.iterdir())


def test_the_file_can_be_looked_up_and_searched(tmp_path):
    path = tmp_path / "area.parquet"
    write(path)
    got: Embeddings = read_embeddings(path)
    place = np.array([[2.35, 48.86]])
    own = got.tokens.locate(place)[0]
    found, cosine = got.nearest(got.at_lonlat(place), k=len(got))
    # Cells side by side may have vectors that float32 cannot tell apart.
    assert cosine[0][found[0] == own] == pytest.approx(cosine[0, 0], abs=1e-6)
    assert isinstance(got.to_pandas(), pd.DataFrame)
