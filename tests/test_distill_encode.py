import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tests.distilled_models import exact, small_encoder, small_model, somewhere

from mora.distill import coordinate_encoder, points
from mora.distill.coordinate_encoder import (
    CoordinateEncoder,
    InvalidPlacesError,
    on_earth,
)
from mora.distill.network import DistilledModel
from mora.distill.points import encode_points
from mora.distill.released import DistilledFileError
from mora.distill.saved import save
from mora.errors import (
    MissingColumnError,
    MissingFileError,
    MoraError,
    TableError,
)

SEAM = np.array([[180.0, 12.5], [-180.0, 12.5], [10.0, 90.0], [-77.0, 90.0]])
INVALID = np.array([[0.0, 0.0], [np.nan, 1.0], [5.0, 91.0], [np.inf, 0.0]])


# --- coordinates ---


def test_one_band_by_hand():
    # degree 1 has one harmonic, 1 / sqrt(4 pi); y = 2 x + 3
    model = DistilledModel((1,), degree=1)
    model.network[0].weight.data = torch.tensor([[2.0]]).double()
    model.network[0].bias.data = torch.tensor([3.0]).double()
    got = CoordinateEncoder(model).encode(np.array([[7.0, 50.0]]))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [[2 / math.sqrt(4 * math.pi) + 3]], rtol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"wavelengths_km": (2000.0,), "waves": 3}])
def test_agrees_with_the_network_in_float64(changes):
    model, lonlat = small_model(**changes), somewhere(700)
    got = CoordinateEncoder(model).encode(lonlat)
    np.testing.assert_allclose(got, exact(model, lonlat), atol=2e-6)


def test_a_place_has_one_vector_however_many_are_asked(monkeypatch):
    encoder, lonlat = small_encoder(), somewhere(1300)
    whole = encoder.encode(lonlat)
    single = np.vstack([encoder.encode(place[None]) for place in lonlat[::100]])
    np.testing.assert_allclose(whole[::100], single, atol=1e-6)
    monkeypatch.setattr(coordinate_encoder, "BLOCK", 7)
    np.testing.assert_allclose(encoder.encode(lonlat), whole, atol=1e-6)


def test_threads_give_the_same_numbers():
    encoder, lonlat = small_encoder(), somewhere(2000)
    one = encoder.encode(lonlat)
    np.testing.assert_array_equal(encoder.encode(lonlat, threads=2), one)
    with pytest.raises(MoraError, match="threads is 0; expected at least 1"):
        encoder.encode(lonlat, threads=0)


def test_seam_and_poles_are_one_place():
    got = small_encoder().encode(SEAM)
    np.testing.assert_allclose(got[0], got[1], atol=1e-6)
    np.testing.assert_allclose(got[2], got[3], atol=1e-6)
    round_again = small_encoder().encode(SEAM + [360, 0] * (SEAM[:, :1] < 0))
    np.testing.assert_allclose(round_again, got, atol=1e-6)


def test_float32_coordinates_are_taken():
    lonlat = somewhere(50)
    rough = small_encoder().encode(lonlat.astype(np.float32))
    np.testing.assert_allclose(rough, small_encoder().encode(lonlat), atol=1e-5)
    assert (rough != small_encoder().encode(lonlat)).any()


def test_views_with_gaps_are_taken():
    wide = np.column_stack([somewhere(20), somewhere(20, seed=1)])
    got = small_encoder().encode(wide[::2, ::-1][:, ::-1][:, :2])
    np.testing.assert_array_equal(got, small_encoder().encode(wide[::2, :2].copy()))


@pytest.mark.parametrize(
    "kind",
    [
        np.ndarray.tolist,
        lambda lonlat: [tuple(place) for place in lonlat],
        lambda lonlat: pd.DataFrame(lonlat, columns=["lon", "lat"]),
        lambda lonlat: pd.DataFrame(lonlat),
        lambda lonlat: pa.table({"lon": lonlat[:, 0], "lat": lonlat[:, 1]}),
        torch.from_numpy,
    ],
)
def test_what_numpy_makes_two_columns_of_is_taken(kind):
    lonlat = somewhere(9)
    got = small_encoder().encode(kind(lonlat))
    np.testing.assert_array_equal(got, small_encoder().encode(lonlat))


def test_whole_numbers_and_missing_ones_are_taken():
    got = small_encoder().encode([[-74, 40], [None, 3]], on_invalid="nan")
    expected = small_encoder().encode(np.array([[-74.0, 40.0]]))
    np.testing.assert_allclose(got[:1], expected, atol=1e-6)
    assert np.isnan(got[1]).all()


def test_arrays_of_floats_are_not_copied():
    for dtype in (np.float64, np.float32):
        lonlat = somewhere(5).astype(dtype)
        assert coordinate_encoder.to_lonlat(lonlat) is lonlat


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([-74, 40.7], r"have shape \(2,\)"),
        ([[1.0, 2.0, 3.0]], r"have shape \(1, 3\)"),
        (np.zeros((2, 3)), r"have shape \(2, 3\)"),
        (None, r"have shape \(\)"),
        ([[1.0, 2.0], [3.0]], "are no array of numbers .*inhomogeneous"),
        ([["east", "north"]], "are no array of numbers .*'east'"),
        ({"lon": 1.0, "lat": 2.0}, "are no array of numbers .*'dict'"),
        ([[10**400, 1]], "are no array of numbers .*too large"),
        (torch.zeros(1, 2, requires_grad=True), "are no array of numbers .*detach"),
    ],
)
def test_what_is_no_table_of_places_is_refused(given, said):
    with pytest.raises(MoraError, match=rf"the coordinates {said}.*shape \(n, 2\)"):
        small_encoder().encode(given)


@pytest.mark.parametrize("kind", [pd.DataFrame, pa.table])
def test_columns_named_in_the_wrong_order_are_refused(kind):
    with pytest.raises(MoraError, match="named 'lat', 'lon', in that order; expected"):
        small_encoder().encode(kind({"lat": [40.7], "lon": [-74.0]}))


def test_no_places_give_no_rows():
    assert small_encoder().encode(np.empty((0, 2))).shape == (0, 5)


def test_invalid_places_are_refused_with_counts():
    with pytest.raises(InvalidPlacesError, match=r"3 of 4 places .*row 1: \[nan, 1.0"):
        small_encoder().encode(INVALID)


def test_invalid_places_can_give_nan():
    got = small_encoder().encode(INVALID, on_invalid="nan")
    np.testing.assert_array_equal(np.isnan(got).all(axis=1), [False, True, True, True])
    alone = small_encoder().encode(INVALID[:1])
    np.testing.assert_allclose(got[:1], alone, atol=1e-6)
    np.testing.assert_array_equal(on_earth(INVALID), [True, False, False, False])


def test_limits_of_the_earth_belong_to_it():
    edge = np.array([[360.0, 90.0], [-360.0, -90.0], [360.001, 0.0]])
    np.testing.assert_array_equal(on_earth(edge), [True, True, False])


def test_only_two_ways_to_treat_invalid_places():
    check = coordinate_encoder.check_option
    with pytest.raises(MoraError, match="on_invalid is 'drop'; expected 'raise' or"):
        check("drop")


# --- loading ---


def test_a_folder_and_a_released_file_are_loaded(tmp_path):
    model, lonlat = small_model(), somewhere(30)
    save(model, tmp_path / "ours", provenance={"run": "us"}, dtype=torch.float64)
    loaded = CoordinateEncoder.load(tmp_path / "ours")
    assert loaded.provenance == {"run": "us"}
    assert (loaded.dim, loaded.degree) == (5, 6)
    expected = CoordinateEncoder(model).encode(lonlat)
    np.testing.assert_array_equal(loaded.encode(lonlat), expected)

    theirs = small_model(convention="mora_released_analytic")
    torch.save({"model_state_dict": theirs.state_dict()}, tmp_path / "a.pt")
    released = CoordinateEncoder.load(tmp_path / "a.pt")
    assert released.provenance == {}
    expected = CoordinateEncoder(theirs).encode(lonlat)
    np.testing.assert_array_equal(released.encode(lonlat), expected)


def test_what_is_no_encoder_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match="no file at"):
        CoordinateEncoder.load(tmp_path / "none.pt")
    (tmp_path / "a.pt").write_bytes(b"no tensors")
    with pytest.raises(DistilledFileError, match="cannot be read as tensors"):
        CoordinateEncoder.load(tmp_path / "a.pt")


def test_fingerprint_tells_networks_apart():
    waves = {"wavelengths_km": (2000.0,), "waves": 3}
    every = [
        *(small_encoder(), small_encoder(seed=2), small_encoder(**waves)),
        small_encoder(convention="mora_released_analytic"),
    ]
    assert len({encoder.fingerprint for encoder in every}) == 4
    assert small_encoder().fingerprint == small_encoder().fingerprint


# --- points in files ---


@pytest.fixture
def cities(tmp_path):
    frame = pd.DataFrame(
        {
            "zip": ["01001", "00501", "99950"],
            "x": [-72.6, -73.0, -131.6],
            "y": [42.1, 40.8, 55.3],
            "people": [17, 0, 400],
        }
    )
    frame.to_csv(tmp_path / "cities.csv", index=False)
    frame.to_parquet(tmp_path / "cities.parquet")
    return frame


NAMED = {"lon": "x", "lat": "y"}


def vectors_of(table):
    return table[[f"e{i:03d}" for i in range(5)]].to_numpy()


def test_points_of_csv_give_parquet(cities, tmp_path):
    target = tmp_path / "out.parquet"
    found = encode_points(
        small_encoder(), tmp_path / "cities.csv", target, keep=["zip"], **NAMED
    )
    got = pd.read_parquet(target)
    assert (found.places, found.invalid) == (3, 0)
    assert [*got.columns[:4], got.columns[-1]] == ["zip", "x", "y", "e000", "e004"]
    assert got["zip"].tolist() == ["01001", "00501", "99950"]
    assert got["x"].tolist() == cities["x"].tolist()
    expected = small_encoder().encode(cities[["x", "y"]].to_numpy())
    np.testing.assert_array_equal(vectors_of(got), expected)
    assert got["e000"].dtype == np.float32
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("source", ["cities.csv", "cities.parquet"])
@pytest.mark.parametrize("target", ["out.csv", "out.csv.gz", "out.parquet"])
def test_all_kinds_of_files_give_the_same(cities, tmp_path, source, target):
    encode_points(small_encoder(), tmp_path / source, tmp_path / target, **NAMED)
    read = pd.read_parquet if target.endswith("parquet") else pd.read_csv
    got = read(tmp_path / target)
    assert [*got.columns[:3]] == ["x", "y", "e000"]
    expected = small_encoder().encode(cities[["x", "y"]].to_numpy())
    np.testing.assert_allclose(vectors_of(got), expected, rtol=1e-6)


@pytest.mark.usefixtures("cities")
def test_columns_kept_from_parquet_keep_their_type(tmp_path):
    target = tmp_path / "out.parquet"
    keep = ["people", "zip", "y"]
    source = tmp_path / "cities.parquet"
    encode_points(small_encoder(), source, target, keep=keep, **NAMED)
    assert pq.read_schema(target).names[:4] == ["people", "zip", "y", "x"]
    assert pq.read_schema(target).field("people").type == pa.int64()


def test_long_files_are_read_piece_by_piece(tmp_path, monkeypatch):
    lonlat = somewhere(25)
    frame = pd.DataFrame(lonlat, columns=["lon", "lat"])
    frame.to_csv(tmp_path / "in.csv", index=False)
    told = []
    monkeypatch.setattr(points, "ROWS", 10)
    encode_points(
        small_encoder(),
        *(tmp_path / "in.csv", tmp_path / "out.parquet"),
        threads=2,
        progress=lambda *t: told.append(t),
    )
    assert told == [(10, 25), (20, 25), (25, 25)]
    assert pq.ParquetFile(tmp_path / "out.parquet").num_row_groups == 3
    got = vectors_of(pd.read_parquet(tmp_path / "out.parquet"))
    np.testing.assert_allclose(got, small_encoder().encode(lonlat), atol=1e-6)


def test_invalid_points_stop_it_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(points, "ROWS", 2)
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("lon,lat\n1,2\n3,4\n5,95\n,3\n9,9\n")
    with pytest.raises(InvalidPlacesError, match=r"2 of 5 .*row 2: \[5.0, 95.0\], row"):
        encode_points(small_encoder(), source, target)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]
    found = encode_points(small_encoder(), source, target, on_invalid="nan")
    assert (found.places, found.invalid) == (5, 2)
    missing = pd.read_csv(target)["e000"].isna().tolist()
    assert missing == [False, False, True, True, False]


@pytest.mark.usefixtures("cities")
def test_a_failure_leaves_no_half_file(tmp_path):
    def stop(done, total):
        raise RuntimeError(f"{done} of {total}")

    target = tmp_path / "out.csv"
    with pytest.raises(RuntimeError, match="3 of 3"):
        encode_points(
            small_encoder(), tmp_path / "cities.csv", target, progress=stop, **NAMED
        )
    assert not list(tmp_path.glob("out*"))


def refused(error, match, source, target, **options):
    with pytest.raises(error, match=match):
        encode_points(small_encoder(), source, target, **options)


@pytest.mark.usefixtures("cities")
def test_files_that_cannot_be_used_are_refused(tmp_path):
    csv, out = tmp_path / "cities.csv", tmp_path / "out.csv"
    refused(MissingFileError, "points: no file at", tmp_path / "none.csv", out)
    refused(MissingColumnError, "no column 'lon', 'lat'", csv, out)
    parquet = tmp_path / "cities.parquet"
    refused(MissingColumnError, "no column 'lon', 'lat'", parquet, out)
    refused(TableError, "unknown ending '.txt'", csv, tmp_path / "out.txt", **NAMED)
    (tmp_path / "a.md").write_text("lon,lat")
    refused(TableError, "unknown ending '.md'", tmp_path / "a.md", out)
    (tmp_path / "broken.parquet").write_bytes(b"nothing")
    refused(TableError, "cannot be read as Parquet", tmp_path / "broken.parquet", out)
    (tmp_path / "empty.csv").write_text("lon,lat\n")
    refused(TableError, "has no rows", tmp_path / "empty.csv", out)
    (tmp_path / "words.csv").write_text("lon,lat\neast,2\n1,2\n")
    words = "1 of 2 values of column 'lon' are not numbers .first: east"
    refused(TableError, words, tmp_path / "words.csv", out, on_invalid="nan")
    (tmp_path / "taken.csv").write_text("lon,lat,e001\n1,2,3\n")
    taken = "columns e001 have names of vectors"
    refused(TableError, taken, tmp_path / "taken.csv", out, keep=["e001"])
