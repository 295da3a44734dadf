import builtins

import numpy as np
import pandas as pd
import pytest
import shapely
from tests.distilled_models import constant_encoder, small_encoder, somewhere

from mora.distill.frames import encode_frame, frame_lonlat, vector_columns
from mora.errors import MissingExtraError, MoraError, TableError

COLUMNS = ["e000", "e001", "e002", "e003", "e004"]
ENCODER = small_encoder()


def frame_of(n=4, lon="lon", lat="lat"):
    frame = pd.DataFrame(somewhere(n), columns=[lon, lat])
    return frame.assign(name=[f"p{i}" for i in range(n)]).set_axis(
        [f"row {i}" for i in range(n)]
    )


def points_of(n=4, **options):
    geopandas = pytest.importorskip("geopandas")
    frame = frame_of(n)
    points = geopandas.points_from_xy(frame["lon"], frame["lat"])
    return geopandas.GeoDataFrame(frame[["name"]], geometry=points, **options)


def expected(n=4):
    return ENCODER.encode(somewhere(n))


def test_columns_by_hand():
    got = encode_frame(constant_encoder(2.0, -1.0), frame_of(2))
    wanted = pd.DataFrame(
        [[2.0, -1.0], [2.0, -1.0]], ["row 0", "row 1"], ["e000", "e001"], np.float32
    )
    pd.testing.assert_frame_equal(got, wanted)
    assert vector_columns(129)[-2:] == ["e127", "e128"]


def test_a_frame_of_pandas_keeps_its_index():
    got = encode_frame(ENCODER, frame_of())
    assert got.index.tolist() == frame_of().index.tolist()
    assert got.columns.tolist() == COLUMNS
    np.testing.assert_array_equal(got, expected())


def test_order_of_rows_does_not_matter():
    turned = encode_frame(ENCODER, frame_of().iloc[::-1])
    straight = encode_frame(ENCODER, frame_of())
    pd.testing.assert_frame_equal(turned.iloc[::-1], straight, atol=1e-6)


def test_columns_can_have_other_names_and_be_kept():
    frame = frame_of(lon="x", lat="y")
    got = encode_frame(ENCODER, frame, lon="x", lat="y", keep=True)
    assert got.columns.tolist() == ["x", "y", "name", *COLUMNS]
    pd.testing.assert_frame_equal(got[["x", "y", "name"]], frame)
    swapped = frame_lonlat(frame, lon="y", lat="x")
    np.testing.assert_array_equal(swapped, somewhere(4)[:, ::-1])


def test_repeated_index_labels_give_no_more_rows():
    frame = frame_of().set_axis(["a", "a", "b", "b"])
    got = encode_frame(ENCODER, frame, keep=True)
    assert got.index.tolist() == ["a", "a", "b", "b"]
    np.testing.assert_array_equal(got[COLUMNS], expected())


def test_numbers_may_be_text_or_have_gaps():
    frame = pd.DataFrame({"lon": ["1.5", "2", ""], "lat": pd.array([1, None, 3])})
    got = frame_lonlat(frame)
    np.testing.assert_array_equal(got, [[1.5, 1], [2, np.nan], [np.nan, 3]])
    vectors = encode_frame(ENCODER, frame, on_invalid="nan")
    assert vectors["e000"].isna().tolist() == [False, True, True]
    with pytest.raises(MoraError, match="2 of 3 places are missing"):
        encode_frame(ENCODER, frame)


def test_threads_are_passed_on():
    with pytest.raises(MoraError, match="threads is 0"):
        encode_frame(ENCODER, frame_of(), threads=0)


def test_no_rows_give_no_rows():
    got = encode_frame(ENCODER, frame_of().iloc[:0], keep=True)
    assert got.shape == (0, 8)


def test_points_of_geopandas_in_any_projection():
    lonlat = points_of(crs=4326)
    got = encode_frame(ENCODER, lonlat)
    assert type(got) is pd.DataFrame
    np.testing.assert_array_equal(got, expected())
    mercator = encode_frame(ENCODER, lonlat.to_crs(3857))
    np.testing.assert_allclose(mercator, expected(), atol=1e-6)
    np.testing.assert_array_equal(encode_frame(ENCODER, points_of()), expected())


def test_geometry_can_be_kept():
    got = encode_frame(ENCODER, points_of(crs=4326), keep=True)
    assert got.crs == 4326
    assert got.columns.tolist() == ["name", "geometry", *COLUMNS]


def test_missing_points_are_missing_places():
    points = points_of(crs=4326)
    points.loc["row 1", "geometry"] = None
    points.loc["row 2", "geometry"] = shapely.Point()
    got = encode_frame(ENCODER, points, on_invalid="nan")
    assert got["e000"].isna().tolist() == [False, True, True, False]


def test_areas_are_no_points():
    points = points_of(crs=3857)
    with pytest.raises(TableError, match=r"4 of 4 geometries are not points .Polygon"):
        encode_frame(ENCODER, points.set_geometry(points.buffer(1)))


def test_polars_in_polars_out():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"x": somewhere(4)[:, 0], "y": somewhere(4)[:, 1]})
    got = encode_frame(ENCODER, frame, lon="x", lat="y")
    assert got.columns == COLUMNS
    assert got.dtypes == [polars.Float32] * 5
    np.testing.assert_array_equal(got.to_numpy(), expected())
    kept = encode_frame(ENCODER, frame, lon="x", lat="y", keep=True)
    assert kept.columns == ["x", "y", *COLUMNS]
    gap = frame.with_columns(polars.Series("x", [1, None, 2, 3]))
    vectors = encode_frame(ENCODER, gap, lon="x", lat="y", on_invalid="nan")
    assert vectors["e000"].is_nan().to_list() == [False, True, False, False]


def test_polars_is_optional(monkeypatch):
    frame = pytest.importorskip("polars").DataFrame({"lon": [1.0], "lat": [2.0]})
    whole = builtins.__import__

    def without(name, *rest):
        if name == "polars":
            raise ImportError(name)
        return whole(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"mora\[polars\]"):
        encode_frame(ENCODER, frame)


def test_frames_that_cannot_be_used_are_refused():
    with pytest.raises(TableError, match="no column x; its columns are lon, lat, name"):
        encode_frame(ENCODER, frame_of(), lon="x")
    named = frame_of().assign(lon="east")
    with pytest.raises(TableError, match="4 of 4 values of column 'lon' are not numb"):
        encode_frame(ENCODER, named)
    taken = frame_of().assign(e003=0)
    with pytest.raises(
        TableError, match=r"has 1 of the columns of vectors .first: e003"
    ):
        encode_frame(ENCODER, taken, keep=True)
    assert encode_frame(ENCODER, taken).shape == (4, 5)
