import json

import numpy as np
import pytest
from tests.distilled_models import exact, small_model, somewhere

from mora.distill import onnx_export
from mora.distill.onnx_export import export_onnx, measure_onnx, quantise_onnx
from mora.errors import MissingExtraError, MissingFileError, MoraError

REASON = "needs the extra onnx: pip install 'mora[onnx]'"
onnx = pytest.importorskip("onnx", reason=REASON)
pytest.importorskip("onnxscript", reason=REASON)
onnxruntime = pytest.importorskip("onnxruntime", reason=REASON)

MODEL = small_model()
EDGES = np.array([[180.0, 5.0], [-180.0, 5.0], [30.0, 90.0], [-95.0, 90.0]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("onnx")


@pytest.fixture(scope="module")
def exported(folder):
    """One file, exported once: the exporter is slow."""
    error = export_onnx(
        MODEL,
        folder / "small.onnx",
        name="tiny",
        licence="CC0-1.0",
        provenance={"run": "by hand"},
    )
    return folder / "small.onnx", error


def run(path, lonlat):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    return session.run(["vectors"], {"lonlat": lonlat})[0]


def metadata(path):
    return {item.key: item.value for item in onnx.load(path).metadata_props}


def test_agrees_with_the_network_in_float64(exported):
    path, error = exported
    lonlat = somewhere(300, seed=5)
    expected = exact(small_model(), lonlat)
    got = run(path, lonlat)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
    assert 0 < error.largest < 1e-5
    assert 0 < error.mean_share < error.largest_share < 1e-5
    assert error.places == 1000


def test_any_number_of_places(exported):
    whole = run(exported[0], somewhere(9))
    np.testing.assert_allclose(run(exported[0], somewhere(9)[:1]), whole[:1], atol=1e-6)
    assert run(exported[0], np.empty((0, 2))).shape == (0, 5)


def test_seam_and_poles_are_one_place(exported):
    got = run(exported[0], EDGES)
    np.testing.assert_allclose(got[::2], got[1::2], atol=1e-6)


def test_the_file_tells_what_it_is(exported):
    path, error = exported
    known = metadata(path)
    about = {key: known[key] for key in ("name", "licence", "degree", "convention")}
    assert about == {
        "name": "tiny",
        "licence": "CC0-1.0",
        "degree": "6",
        "convention": "orthonormal",
    }
    assert known["dim"] == "5"
    assert known["input"] == "lonlat: lon, lat in degrees (WGS84), float64"
    assert json.loads(known["provenance"]) == {"run": "by hand"}
    assert json.loads(known["mora:error"])["largest"] == error.largest


def test_the_file_names_no_files_of_this_machine(exported):
    content = exported[0].read_bytes()
    assert b".py" not in content
    assert b"/home" not in content


def test_degrees_become_radians_in_float64(exported):
    graph = onnx.load(exported[0]).graph
    values = [onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer]
    scalars = [value for value in values if value.ndim == 0]
    assert any(value.dtype == np.float64 and value == np.pi / 180 for value in scalars)


def test_the_network_is_not_changed(exported):
    assert exported[0].is_file()
    lonlat = somewhere(3)
    np.testing.assert_array_equal(exact(MODEL, lonlat), exact(small_model(), lonlat))
    assert exact(MODEL, lonlat).dtype == np.float64


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        pytest.param({}, {"input_dtype": "float32"}, marks=pytest.mark.slow),
        pytest.param({}, {"layer_dtype": "float64"}, marks=pytest.mark.slow),
        pytest.param(
            {"wavelengths_km": (900.0,), "waves": 4}, {}, marks=pytest.mark.slow
        ),
        pytest.param(
            {"convention": "mora_released_analytic"}, {}, marks=pytest.mark.slow
        ),
    ],
)
def test_every_kind_agrees(tmp_path, changes, options):
    model, lonlat = small_model(**changes), somewhere(50)
    export_onnx(model, tmp_path / "a.onnx", **options)
    dtype = options.get("input_dtype", "float64")
    got = run(tmp_path / "a.onnx", lonlat.astype(dtype))
    assert got.dtype == options.get("layer_dtype", "float32")
    np.testing.assert_allclose(got, exact(model, lonlat), rtol=0, atol=1e-5)
    assert dtype in metadata(tmp_path / "a.onnx")["input"]
    if options.get("layer_dtype"):
        assert measure_onnx(tmp_path / "a.onnx", model).largest < 1e-12
        with pytest.raises(MoraError, match="has layers of float64; expected float32"):
            quantise_onnx(tmp_path / "a.onnx", tmp_path / "b.onnx", model)


def test_int8_is_near_and_says_how_near(exported, tmp_path):
    model, lonlat = small_model(), somewhere(200)
    error = quantise_onnx(exported[0], tmp_path / "int8.onnx", model)
    got, expected = run(tmp_path / "int8.onnx", lonlat), exact(model, lonlat)
    share = np.linalg.norm(got - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert 1e-4 < share.mean() < 0.1
    assert error.mean_share == pytest.approx(share.mean(), rel=0.5)
    known = metadata(tmp_path / "int8.onnx")
    assert json.loads(known["mora:error"])["mean_share"] == error.mean_share
    assert known["name"] == "tiny"
    types = {
        tensor.data_type
        for tensor in onnx.load(tmp_path / "int8.onnx").graph.initializer
    }
    assert onnx.TensorProto.INT8 in types
    assert [path.name for path in tmp_path.iterdir()] == ["int8.onnx"]
    elsewhere = quantise_onnx(exported[0], tmp_path / "int8.onnx", model, lonlat)
    assert elsewhere.places == 200
    assert elsewhere.mean_share == pytest.approx(share.mean(), rel=1e-6)


def test_measuring_another_network_shows_a_difference(exported):
    same, other = (measure_onnx(exported[0], small_model(seed=s)) for s in (1, 2))
    assert other.mean_share > 0.1 > same.mean_share
    few, others = (measure_onnx(exported[0], MODEL, somewhere(9, s)) for s in (1, 2))
    assert few.places == 9
    assert few.largest != others.largest


def test_missing_packages_and_files_are_named(tmp_path, monkeypatch):
    with pytest.raises(MissingFileError, match="ONNX file: no file at"):
        quantise_onnx(tmp_path / "none.onnx", tmp_path / "a.onnx", small_model())
    monkeypatch.setattr(onnx_export, "PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(MissingExtraError, match=r"'no_such_package'.*mora\[onnx\]"):
        export_onnx(small_model(), tmp_path / "a.onnx")
    with pytest.raises(MissingExtraError, match="Running ONNX needs"):
        measure_onnx(tmp_path / "a.onnx", small_model())
