import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mora.distill.config import DistillConfig
from mora.distill.fast import BLOCK, FastNetwork
from mora.distill.harmonic_layer import (
    HarmonicLayer,
    convention_scale,
    legendre_series,
)
from mora.distill.network import DistilledModel, make_network
from mora.distill.wave_layer import WaveLayer
from mora.errors import MoraError
from mora.geometry import EARTH_RADIUS_KM
from mora.harmonics import spherical_harmonics

GOLDEN = Path(__file__).parent / "golden" / "spherical_harmonics_L32.npz"
COLUMNS = {
    "orthonormal": "orthonormal_no_condon_shortley",
    "mora_released_analytic": "mora_released_analytic",
}


def somewhere(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    return np.column_stack([rng.uniform(-180, 180, n), lat])


def small(**changes) -> DistilledModel:
    options = {"degree": 6, "seed": 1, **changes}
    return DistilledModel((16, 12, 5), **options)


def vectors(model, lonlat=None) -> np.ndarray:
    places = somewhere(20) if lonlat is None else lonlat
    with torch.no_grad():
        return model(torch.from_numpy(places)).numpy()


# --- harmonics ---


def test_first_bands_by_hand():
    # lon 90, lat 30: theta = 120, phi = 270; y = sin theta sin phi = -sqrt(3) / 2
    got = HarmonicLayer(2)(torch.tensor([[90.0, 30.0]]).double())[0]
    scale = math.sqrt(3 / (4 * math.pi))
    expected = [math.sqrt(1 / (4 * math.pi)), -scale * math.sqrt(0.75), -scale / 2, 0.0]
    np.testing.assert_allclose(got, expected, atol=1e-15)


@pytest.mark.parametrize("convention", COLUMNS)
def test_harmonics_agree_with_fifty_digits(convention):
    golden = np.load(GOLDEN)
    got = HarmonicLayer(32, convention)(torch.from_numpy(golden["lonlat"]))
    np.testing.assert_allclose(got, golden[COLUMNS[convention]], rtol=0, atol=1e-12)


@pytest.mark.parametrize("degree", [1, 2, 7, 32, 64])
def test_harmonics_agree_with_the_kernel_also_at_the_poles(degree):
    edges = [[0.0, 90.0], [33.0, -90.0], [180.0, 0.0], [-180.0, 89.9999], [360.0, 1.0]]
    lonlat = np.vstack([somewhere(300), edges])
    got = HarmonicLayer(degree)(torch.from_numpy(lonlat))
    expected = spherical_harmonics(lonlat, degree)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_gradients_are_those_of_differences():
    lonlat = somewhere(5, seed=3)
    lonlat[0] = [10.0, 90.0]  # a pole
    layer = HarmonicLayer(8)
    jacobian = torch.autograd.functional.jacobian(
        lambda x: layer(x).sum(dim=0), torch.from_numpy(lonlat)
    )  # (inputs, points, 2)
    step = 1e-5
    for axis in (0, 1):
        ahead, behind = lonlat[1:].copy(), lonlat[1:].copy()
        ahead[:, axis] += step
        behind[:, axis] -= step
        slope = (spherical_harmonics(ahead, 8) - spherical_harmonics(behind, 8)) / step
        np.testing.assert_allclose(jacobian[:, 1:, axis].T, slope / 2, atol=1e-8)
    assert jacobian.isfinite().all()


def test_second_derivatives_of_the_network_exist():
    model = small()
    place = torch.from_numpy(somewhere(3, seed=2)).requires_grad_()
    assert torch.autograd.gradcheck(model, place)


def test_float32_layer_is_near():
    lonlat = somewhere(100)
    got = HarmonicLayer(32).float()(torch.from_numpy(lonlat))
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got, spherical_harmonics(lonlat, 32), atol=2e-6)


def test_series_has_no_more_than_cosines_of_even_orders_and_sines_of_odd():
    series = legendre_series(3)  # rows: cos 0, 1, 2 theta, sin 0, 1, 2 theta
    assert series.shape == (6, 9)
    # band 1, m = 0 is sqrt(3 / 4 pi) cos theta; m = 1 has sin theta
    scale = math.sqrt(3 / (4 * math.pi))
    np.testing.assert_allclose(series[:, 2], [0, scale, 0, 0, 0, 0], atol=1e-15)
    np.testing.assert_allclose(series[:, 3], [0, 0, 0, 0, scale, 0], atol=1e-15)


def test_convention_multiplies_the_columns_of_order_zero():
    scale = convention_scale(3, "mora_released_analytic")
    np.testing.assert_array_equal(np.flatnonzero(scale == np.pi), [0, 2, 6])
    np.testing.assert_array_equal(convention_scale(3, "orthonormal"), np.ones(9))


def test_unknown_convention():
    with pytest.raises(MoraError, match=r"the convention is 'condon'; expected 'ortho"):
        convention_scale(3, "condon")


# --- waves ---


def test_a_wave_turns_once_over_its_length():
    # One direction and one wave: along the equator and up the meridian it adds up to
    # the whole turns of a straight line through the globe.
    layer = WaveLayer([100.0], 1, seed=4)
    frequency = layer.directions.norm(dim=0) / (2 * math.pi)  # turns a globe radius
    np.testing.assert_allclose(frequency, EARTH_RADIUS_KM / 100)


def test_waves_are_smooth_on_the_scale_of_their_length():
    lonlat = np.array([[10.0, 50.0], [10.0, 50.009]])  # 1 km apart
    apart = {}
    for length in (2.0, 2000.0):
        here, there = WaveLayer([length], 50)(torch.from_numpy(lonlat))
        apart[length] = float((here - there).abs().max())
    assert apart[2000.0] < 0.01
    assert apart[2.0] > 0.5


def test_waves_have_neither_seam_nor_pole():
    layer = WaveLayer([300.0, 900.0], 8)
    ends = torch.tensor([[-180.0, 12.0], [180.0, 12.0], [0.0, 90.0], [77.0, 90.0]])
    got = layer(ends.double())
    assert got.shape == (4, 32)
    torch.testing.assert_close(got[0], got[1])
    torch.testing.assert_close(got[2], got[3])


@pytest.mark.parametrize(
    "change", [{"wavelengths_km": [60.0]}, {"waves": 5}, {"seed": 1}]
)
def test_every_option_of_waves_matters(change):
    options = {"wavelengths_km": [50.0], "waves": 4, "seed": 0}
    one, other = (
        WaveLayer(**o).directions.numpy() for o in (options, {**options, **change})
    )
    assert one.shape != other.shape or not np.allclose(one, other)


# --- network ---


def test_layers_are_those_of_the_paper():
    shapes = {n: tuple(p.shape) for n, p in DistilledModel().named_parameters()}
    assert shapes["network.0.weight"] == (512, 1024)
    assert shapes["network.16.weight"] == (128, 512)
    assert len(shapes) == 18
    assert {shapes[f"network.{i}.weight"] for i in range(2, 16, 2)} == {(512, 512)}
    kinds = [type(layer).__name__ for layer in DistilledModel().network]
    assert kinds == ["Linear", "ReLU"] * 8 + ["Linear"]


def test_network_agrees_with_plain_arithmetic():
    model, lonlat = small(), somewhere(7)
    x = spherical_harmonics(lonlat, 6)
    for layer in range(0, 5, 2):
        weights = model.network[layer]
        x = x @ weights.weight.detach().numpy().T + weights.bias.detach().numpy()
        x = np.maximum(x, 0) if layer < 4 else x
    np.testing.assert_allclose(vectors(model, lonlat), x, rtol=0, atol=1e-13)


def test_both_sides_of_the_date_line_are_one_place():
    ends = np.array([[-180.0, 40.0], [180.0, 40.0], [20.0, 90.0], [-99.0, 90.0]])
    got = vectors(small(wavelengths_km=[500.0]), ends)
    np.testing.assert_allclose(got[0], got[1], atol=1e-12)
    np.testing.assert_allclose(got[2], got[3], atol=1e-12)


def test_no_place_gives_no_vector():
    assert vectors(small(), np.empty((0, 2))).shape == (0, 5)


def test_first_weights_keep_the_size_of_what_passes():
    assert 0.1 < vectors(DistilledModel()).std() < 3


def test_making_a_network_leaves_the_random_numbers_of_others_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    small()
    torch.testing.assert_close(torch.rand(3), expected)


@pytest.mark.parametrize(
    "change",
    [
        {"degree": 5},
        {"convention": "mora_released_analytic"},
        {"wavelengths_km": (200.0,)},
        {"wavelengths_km": (200.0,), "waves": 3},
        {"seed": 2},
    ],
)
def test_every_option_of_the_network_matters(change):
    model = small(**change)
    assert not np.allclose(vectors(model), vectors(small()))
    if "waves" in change:
        assert model.network[0].in_features == 36 + 6


def test_widths_decide_the_layers():
    model = DistilledModel((7, 3), degree=2)
    assert model.widths == (7, 3)
    assert model.dim == 3


def test_configuration_decides_the_network():
    model = make_network(DistillConfig(degree=4, width=9, depth=2), dim=6)
    assert model.widths == (9, 9, 6)
    assert model.degree == 4
    waves = DistillConfig(degree=4, width=9, depth=2, wavelengths_km=[90.0], waves=5)
    assert make_network(waves, dim=6).network[0].in_features == 16 + 10


# --- fast ---


@pytest.mark.parametrize("convention", COLUMNS)
@pytest.mark.parametrize("wavelengths_km", [(), (800.0, 60.0)])
def test_fast_network_agrees_with_the_network(convention, wavelengths_km):
    model = small(convention=convention, wavelengths_km=wavelengths_km)
    lonlat = somewhere(BLOCK + 30)
    got, expected = FastNetwork(model)(lonlat), vectors(model, lonlat)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6)


def test_fast_network_of_the_paper_is_off_by_less_than_a_millionth():
    model, lonlat = DistilledModel(), somewhere(BLOCK)
    expected = vectors(model, lonlat)
    away = np.linalg.norm(FastNetwork(model)(lonlat) - expected, axis=1)
    assert (away / np.linalg.norm(expected, axis=1)).max() < 1e-6


def test_fast_network_fills_what_it_is_given():
    model, lonlat = small(), somewhere(5)
    out = np.empty((5, 5), np.float32)
    assert FastNetwork(model)(lonlat, out=out) is out
    np.testing.assert_allclose(out, vectors(model, lonlat), atol=2e-6)


def test_threads_share_the_blocks(monkeypatch):
    model, lonlat = small(), somewhere(3 * BLOCK + 1)
    network = FastNetwork(model)
    filled = []
    fill = network._fill
    monkeypatch.setattr(
        network,
        "_fill",
        lambda starts, *rest: filled.append(starts) or fill(starts, *rest),
    )
    np.testing.assert_array_equal(network(lonlat, threads=3), network(lonlat))
    assert sorted(len(starts) for starts in filled) == [1, 1, 2, 4]


def test_fast_network_without_places():
    assert FastNetwork(small())(np.empty((0, 2))).shape == (0, 5)


def test_fast_network_needs_a_thread_and_places_on_earth():
    with pytest.raises(MoraError, match="threads is 0; expected at least 1"):
        FastNetwork(small())(somewhere(2), threads=0)
    with pytest.raises(MoraError, match="1 of 1 points are not on Earth"):
        FastNetwork(small())(np.array([[0.0, 91.0]]))
