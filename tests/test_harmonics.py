import threading
from pathlib import Path

import mpmath
import numpy as np
import pytest
from scipy.special import sph_harm_y

from mora import harmonics
from mora.errors import MoraError
from mora.harmonics import spherical_harmonics

GOLDEN = Path(__file__).parent / "golden" / "spherical_harmonics_L32.npz"


def somewhere(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    return np.column_stack([rng.uniform(-180, 180, n), lat])


def test_first_band_is_the_place_on_the_unit_sphere():
    # lon 90, lat 30: theta = 120, phi = 270; y = sin theta sin phi = -sqrt(3) / 2
    got = spherical_harmonics(np.array([[90.0, 30.0]]), degree=2)[0]
    scale = np.sqrt(3 / (4 * np.pi))
    expected = [np.sqrt(1 / (4 * np.pi)), -scale * np.sqrt(0.75), -scale / 2, 0.0]
    np.testing.assert_allclose(got, expected, atol=1e-15)


@pytest.mark.parametrize(
    ("dtype", "error"), [(np.float64, 1e-13), (np.float32, 2e-7), ("float32", 2e-7)]
)
def test_agrees_with_fifty_digit_arithmetic(dtype, error):
    golden = np.load(GOLDEN)
    got = spherical_harmonics(golden["lonlat"], degree=32, dtype=dtype)
    assert got.dtype == dtype
    expected = golden["orthonormal_no_condon_shortley"]
    np.testing.assert_allclose(got, expected, rtol=0, atol=error)


@pytest.mark.parametrize(("dtype", "error"), [(np.float64, 1e-13), (np.float32, 2e-7)])
@pytest.mark.parametrize("lat", [80.0, -89.0, 89.9, 89.9999, -90.0])
def test_stays_exact_towards_the_poles(lat, dtype, error):
    points = np.array([[-74.0, lat], [0.0, lat], [179.99, lat]])
    got = spherical_harmonics(points, degree=32, dtype=dtype)
    expected = np.array([fifty_digits(*point, degree=32) for point in points])
    np.testing.assert_allclose(got, expected, rtol=0, atol=error)


def fifty_digits(lon: float, lat: float, degree: int) -> np.ndarray:
    """Work the definition out: derivatives of (x^2 - 1)^l, sector by sector."""
    with mpmath.workdps(50):
        theta, phi = mpmath.radians(mpmath.mpf(lat) + 90), mpmath.radians(lon + 180)
        x, sine = mpmath.cos(theta), mpmath.sin(theta)
        values = np.zeros(degree * degree)
        for order in range(degree):
            fore, legendre = mpmath.mpf(0), mpmath.fac2(2 * order - 1) * sine**order
            for band in range(order, degree):
                ratio = mpmath.factorial(band - order) / mpmath.factorial(band + order)
                norm = mpmath.sqrt((2 * band + 1) * ratio / (2 * mpmath.pi))
                middle = band * (band + 1)
                values[middle - order] = norm * legendre * mpmath.sin(order * phi)
                values[middle + order] = norm * legendre * mpmath.cos(order * phi)
                if order == 0:
                    values[middle] = norm * legendre / mpmath.sqrt(2)
                up = (2 * band + 1) * x * legendre - (band + order) * fore
                fore, legendre = legendre, up / (band - order + 1)
    return values


@pytest.mark.parametrize("threads", [2, 3, 200])
def test_threads_share_the_points_and_change_nothing(threads):
    lonlat = somewhere(101)
    used = set()
    evaluate = harmonics._evaluate

    def spy(*given) -> None:
        used.add(threading.get_ident())
        evaluate(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harmonics, "_evaluate", spy)
        shared = spherical_harmonics(lonlat, degree=9, threads=threads)
    assert threading.get_ident() not in used
    np.testing.assert_array_equal(shared, spherical_harmonics(lonlat, degree=9))


def test_agrees_with_scipy_up_to_its_sign():
    lonlat = somewhere(67)
    phi, theta = np.radians(lonlat + np.array([180, 90])).T
    got = spherical_harmonics(lonlat, degree=12)
    for band in range(12):
        for order in range(1, band + 1):
            complex_valued = sph_harm_y(band, order, theta, phi) * np.sqrt(2)
            signed = (-1) ** order * complex_valued
            middle = band * (band + 1)
            np.testing.assert_allclose(got[:, middle + order], signed.real, atol=1e-13)
            np.testing.assert_allclose(got[:, middle - order], signed.imag, atol=1e-13)


def test_turning_the_earth_leaves_the_power_of_each_band():
    # addition theorem: the squares of band l sum to (2 l + 1) / (4 pi) everywhere
    got = spherical_harmonics(somewhere(100), degree=32)
    for band in range(32):
        power = (got[:, band**2 : (band + 1) ** 2] ** 2).sum(axis=1)
        np.testing.assert_allclose(power, (2 * band + 1) / (4 * np.pi), rtol=1e-12)


def test_poles_do_not_depend_on_the_longitude():
    poles = np.array([[0.0, 90.0], [123.0, 90.0], [-77.0, -90.0]])
    got = spherical_harmonics(poles, degree=20)
    np.testing.assert_allclose(got[0], got[1], atol=1e-13)
    middle = [band * (band + 1) for band in range(20)]
    np.testing.assert_allclose(np.delete(got, middle, axis=1), 0, atol=1e-13)


def test_a_point_does_not_depend_on_the_others():
    lonlat = somewhere(97)[::-1]  # not contiguous
    alone = [spherical_harmonics(lonlat[i : i + 1], degree=8) for i in (0, 40, 96)]
    together = spherical_harmonics(lonlat, degree=8)[[0, 40, 96]]
    np.testing.assert_array_equal(np.concatenate(alone), together)


def test_no_points_give_no_rows():
    assert spherical_harmonics(np.zeros((0, 2)), degree=3).shape == (0, 9)


def test_a_higher_degree_adds_columns():
    lonlat = somewhere(5)
    few, many = (spherical_harmonics(lonlat, degree) for degree in (4, 6))
    np.testing.assert_array_equal(many[:, :16], few)
    assert many.shape == (5, 36)


@pytest.mark.parametrize("place", [[10.0, 91.0], [np.nan, 0.0], [400.0, 0.0]])
def test_a_place_off_the_earth_is_refused(place):
    with pytest.raises(MoraError, match=r"1 of 2 points are not on Earth .* swapped"):
        spherical_harmonics(np.array([[0.0, 0.0], place]))


@pytest.mark.parametrize("given", [{"degree": 0}, {"threads": 0}])
def test_nothing_to_do_it_with_is_refused(given):
    with pytest.raises(MoraError, match=r"is 0.*; expected at least 1 of each"):
        spherical_harmonics(somewhere(1), **given)


def test_other_types_are_refused():
    with pytest.raises(MoraError, match="dtype is int64; expected float32 or float64"):
        spherical_harmonics(somewhere(1), dtype=np.int64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_array_is_used_again(dtype):
    lonlat = np.array([[10.0, 50], [-70, -20], [170, 89]])
    out = np.full((3, 16), np.nan, dtype)
    got = spherical_harmonics(lonlat, 4, dtype=dtype, out=out)
    assert got is out
    np.testing.assert_array_equal(out, spherical_harmonics(lonlat, 4, dtype=dtype))


@pytest.mark.parametrize(("shape", "dtype"), [((3, 9), np.float64), ((3, 16), "f4")])
def test_an_array_of_another_form_is_refused(shape, dtype):
    message = r"out is float\d\d of shape .*; expected float64 of shape \(3, 16\)"
    with pytest.raises(MoraError, match=message):
        spherical_harmonics(np.zeros((3, 2)), 4, out=np.empty(shape, dtype))
