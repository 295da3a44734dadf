"""Position encodings against their formulas, written out number by number."""

import math

import numpy as np
import pytest

from mora.baselines import analytical
from mora.baselines.registry import (
    BASELINES,
    BaselineInput,
    MissingInputError,
    find_baseline,
)
from mora.baselines.waves import BLOCK_ROWS, embed_in_blocks, geometric_radii
from mora.errors import MoraError
from mora.harmonics import spherical_harmonics

NAMES = ("space2vec", "sphere2vec", "nerf", "siren")


def at(*lonlat, seed=0):
    return BaselineInput(lonlat=np.array(lonlat, dtype=np.float64), seed=seed)


@pytest.fixture
def given():
    rng = np.random.default_rng(0)
    return at(*zip(rng.uniform(-180, 180, 40), rng.uniform(-90, 90, 40), strict=True))


def radius(scale, scales, smallest, largest):
    return smallest * (largest / smallest) ** (scale / (scales - 1))


def space2vec_by_hand(lon, lat, variant, scales, smallest, largest):
    """Space2Vec, eqs. 4-6, column by column."""
    radii = [radius(s, scales, smallest, largest) for s in range(scales)]
    if variant == "grid":
        angles = [x / r for x in (lon, lat) for r in radii]
    else:
        half, high = -1 / 2, math.sqrt(3) / 2
        along = [lon, half * lon + high * lat, half * lon - high * lat]
        angles = [x / r for r in radii for x in along]
    return [wave(angle) for angle in angles for wave in (math.sin, math.cos)]


def sphere2vec_by_hand(lon, lat, variant, scales, smallest, largest):
    row = []
    for scale in range(scales):
        r = radius(scale, scales, smallest, largest)
        phi, lam = math.radians(lat) / r, math.radians(lon) / r
        if variant == "sphereC+":
            row += [math.sin(phi), math.cos(phi), math.sin(lam), math.cos(lam)]
        else:
            row += [math.sin(phi)]
        row += [math.cos(phi) * math.cos(lam), math.cos(phi) * math.sin(lam)]
    return row


def nerf_by_hand(lon, lat, frequencies):
    """NeRF, eq. 4, of x, y and z."""
    lam, phi = math.radians(lon), math.radians(lat)
    x, y = math.cos(phi) * math.cos(lam), math.cos(phi) * math.sin(lam)
    places = [
        2**k * math.pi * axis
        for axis in (x, y, math.sin(phi))
        for k in range(frequencies)
    ]
    return [math.sin(p) for p in places] + [math.cos(p) for p in places]


@pytest.mark.parametrize("variant", ["grid", "theory"])
@pytest.mark.parametrize(("scales", "smallest", "largest"), [(32, 0.1, 360), (3, 1, 9)])
def test_space2vec_is_its_formula(given, variant, scales, smallest, largest):
    options = {"scales": scales, "smallest": smallest, "largest": largest}
    got = analytical.space2vec(given, variant=variant, **options)
    by_hand = [space2vec_by_hand(*p, variant, **options) for p in given.lonlat]
    np.testing.assert_allclose(got, by_hand, atol=1e-6)


@pytest.mark.parametrize("variant", ["sphereC", "sphereC+"])
@pytest.mark.parametrize(("scales", "smallest", "largest"), [(16, 0.001, 1), (2, 1, 3)])
def test_sphere2vec_is_its_formula(given, variant, scales, smallest, largest):
    options = {"scales": scales, "smallest": smallest, "largest": largest}
    got = analytical.sphere2vec(given, variant=variant, **options)
    by_hand = [sphere2vec_by_hand(*p, variant, **options) for p in given.lonlat]
    np.testing.assert_allclose(got, by_hand, atol=1e-6)


@pytest.mark.parametrize("frequencies", [1, 16, 32])
def test_nerf_is_its_formula(given, frequencies):
    got = analytical.nerf(given, frequencies=frequencies)
    by_hand = [nerf_by_hand(*place, frequencies) for place in given.lonlat]
    np.testing.assert_allclose(got, by_hand, atol=1e-5 if frequencies > 16 else 1e-6)


def test_values_worked_by_hand():
    east = at((90, 0))
    quarter = analytical.space2vec(east, scales=2, smallest=90 / np.pi, largest=180)
    np.testing.assert_allclose(
        quarter[0], [0, -1, np.sin(0.5), np.cos(0.5), 0, 1, 0, 1], atol=1e-6
    )
    unit = analytical.sphere2vec(east, variant="sphereC", scales=2, smallest=0.5)
    np.testing.assert_allclose(unit[0], [0, -1, 0, 0, 0, 1], atol=1e-6)
    nerf = analytical.nerf(east, frequencies=2)
    np.testing.assert_allclose(
        nerf[0], [0, 0, 0, 0, 0, 0, 1, 1, -1, 1, 1, 1], atol=1e-6
    )


def test_widths_are_those_of_mora_table_2(given):
    widths = {name: find_baseline(name)(given).shape[1] for name in NAMES[1:]}
    assert widths == {"sphere2vec": 96, "nerf": 96, "siren": 1024}


@pytest.mark.parametrize("name", ["sphere2vec", "nerf", "siren"])
def test_nothing_changes_after_one_turn_around_the_earth(name):
    options = {"sphere2vec": {"scales": 2, "smallest": 0.5, "largest": 1}}
    encode = find_baseline(name)
    here, there = at((100, 30)), at((-260, 30))
    same = options.get(name, {})
    np.testing.assert_allclose(encode(here, **same), encode(there, **same), atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_place_is_encoded_alone(given, name):
    first = at(given.lonlat[0])
    np.testing.assert_allclose(
        find_baseline(name)(given)[:1], find_baseline(name)(first), atol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("space2vec", {"variant": "theory"}),
        ("space2vec", {"scales": 31}),
        ("space2vec", {"smallest": 0.2}),
        ("space2vec", {"largest": 180}),
        ("sphere2vec", {"variant": "sphereC"}),
        ("sphere2vec", {"scales": 15}),
        ("sphere2vec", {"smallest": 0.002}),
        ("sphere2vec", {"largest": 2}),
        ("nerf", {"frequencies": 15}),
        ("siren", {"degree": 5}),
        ("siren", {"layers": 2}),
    ],
)
def test_every_option_changes_the_result(given, name, changed):
    usual, other = find_baseline(name)(given), find_baseline(name)(given, **changed)
    assert usual.shape != other.shape or np.abs(usual - other).max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_valid_and_the_first_is_the_default(given, name):
    chosen = BASELINES[name]
    results = [chosen(given, **options) for options in chosen.settings]
    np.testing.assert_array_equal(results[0], chosen(given))
    assert len({result.tobytes() for result in results}) == 4
    assert chosen.reproduction.reached


def test_siren_without_layers_is_the_harmonics_exactly(given):
    harmonics = spherical_harmonics(given.lonlat, 32).astype(np.float32)
    np.testing.assert_array_equal(analytical.siren(given), harmonics)


def test_siren_is_sines_of_sums_drawn_from_the_seed(given):
    got = analytical.siren(given, degree=3, layers=2, width=4, w0=20)
    rng = np.random.default_rng(given.seed)
    x = spherical_harmonics(given.lonlat, 3)
    first = rng.uniform(-1 / 9, 1 / 9, (9, 4)), rng.uniform(-1 / 9, 1 / 9, 4)
    reach = math.sqrt(6 / 4)
    second = rng.uniform(-reach, reach, (4, 4)), rng.uniform(-reach, reach, 4)
    hidden = np.sin(20 * (np.einsum("ni,io->no", x, first[0]) + first[1]))
    expected = np.sin(np.einsum("ni,io->no", hidden, second[0]) + second[1])
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_siren_follows_seed_width_and_w0(given):
    options = {"degree": 5, "layers": 1, "width": 8}
    usual = analytical.siren(given, **options)
    np.testing.assert_array_equal(usual, analytical.siren(given, **options))
    other_seed = analytical.siren(at(*given.lonlat, seed=1), **options)
    assert np.abs(usual - other_seed).max() > 0.1
    assert np.abs(usual - analytical.siren(given, **options, w0=10)).max() > 0.1
    assert analytical.siren(given, **options | {"width": 9}).shape == (40, 9)


def test_blocks_make_no_difference():
    rng = np.random.default_rng(0)
    many = rng.uniform(-90, 90, (2 * BLOCK_ROWS + 1, 2))
    sizes = []

    def encode(lonlat):
        sizes.append(len(lonlat))
        return lonlat * 2

    np.testing.assert_allclose(embed_in_blocks(encode, many), many * 2, rtol=1e-6)
    assert sizes == [BLOCK_ROWS, BLOCK_ROWS, 1]
    assert embed_in_blocks(encode, many[:0]).shape == (0, 2)


def test_radii_grow_by_a_factor():
    np.testing.assert_allclose(geometric_radii(3, 1, 100), [1, 10, 100])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("space2vec", {"variant": "hexagon"}, "variant is 'hexagon'; expected 'grid'"),
        ("space2vec", {"scales": 1}, "scales is 1, .* at least 2 scales"),
        ("space2vec", {"smallest": 0}, "smallest 0 .* 0 < smallest < largest"),
        ("sphere2vec", {"variant": "sphereM"}, "'sphereM'; expected 'sphereC' or"),
        ("sphere2vec", {"largest": 0.001}, "0 < smallest < largest"),
        ("nerf", {"frequencies": 0}, r"frequencies is 0; expected 1\.\.32"),
        ("nerf", {"frequencies": 33}, r"frequencies is 33; expected 1\.\.32"),
        ("siren", {"layers": -1}, "layers is -1, .*; expected layers >= 0"),
        ("siren", {"width": 0}, "width 0 .* width >= 1"),
        ("siren", {"w0": 0}, "w0 0; expected .* w0 > 0"),
        ("siren", {"degree": 0}, "degree is 0"),
    ],
)
def test_options_out_of_range_are_refused(given, name, options, message):
    with pytest.raises(MoraError, match=message):
        find_baseline(name)(given, **options)


@pytest.mark.parametrize("name", NAMES)
def test_tokens_without_a_place_are_refused(name):
    with pytest.raises(MissingInputError, match="no lon/lat"):
        find_baseline(name)(BaselineInput())
