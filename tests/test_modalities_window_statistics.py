import numpy as np
import pytest

from mora.modalities import window_statistics as module
from mora.modalities.rasters import MemoryRaster
from mora.modalities.window_statistics import (
    STATISTICS,
    class_shares,
    describe_groups,
    gradient_magnitude,
    pixel_statistics,
    window_shares,
    window_statistics,
)


def noise(channels: int = 3, dtype=np.uint8) -> MemoryRaster:
    rng = np.random.default_rng(1)
    return MemoryRaster.in_degrees(
        rng.integers(0, 17, (90, 180, channels)).astype(dtype)
    )


def places(n: int = 30):
    rng = np.random.default_rng(2)
    lonlat = np.column_stack([rng.uniform(-180, 180, n), rng.uniform(-80, 80, n)])
    return lonlat, rng.uniform(50, 900, n)


def test_statistics_by_hand():
    # Pixels 0, 2, 4 in one group: mean 2, variance 8/3, deciles 0.4, 2, 3.6.
    raster = MemoryRaster.in_degrees(
        np.array([[0.0, 2.0, 4.0, 9.0]]).reshape(1, 4, 1), (0, -1, 4, 1)
    )
    found = pixel_statistics(raster, np.array([3, 0, 1]), *np.divmod(np.arange(4), 4))
    by_name = dict(zip(STATISTICS, found.T, strict=True))
    np.testing.assert_allclose(by_name["mean"], [2, np.nan, 9])
    np.testing.assert_allclose(by_name["std"], [(8 / 3) ** 0.5, np.nan, 0])
    np.testing.assert_allclose(by_name["p10"], [0.4, np.nan, 9])
    np.testing.assert_allclose(by_name["p50"], [2, np.nan, 9])
    np.testing.assert_allclose(by_name["p90"], [3.6, np.nan, 9])


def test_statistics_agree_with_numpy():
    raster, counts = noise(), np.array([5, 1, 0, 40])
    pixels = np.random.default_rng(0).choice(90 * 180, 46, replace=False)
    found = pixel_statistics(raster, counts, *np.divmod(pixels, 180)).reshape(
        4, 3, len(STATISTICS)
    )
    groups = np.split(raster.values.reshape(-1, 3)[pixels], np.cumsum(counts)[:-1])
    for group in (0, 1, 3):
        values = groups[group].astype(float)
        expected = [
            values.mean(0),
            values.std(0),
            *np.percentile(values, [10, 50, 90], axis=0),
        ]
        np.testing.assert_allclose(found[group, :, :5].T, expected)
    assert np.isnan(found[2]).all()


def test_pixels_without_data_are_left_out():
    values = np.array([[1.0, np.nan, 5.0, np.nan]]).reshape(1, 4, 1)
    raster = MemoryRaster.in_degrees(values, (0, -1, 4, 1))
    found = pixel_statistics(raster, np.array([3, 1]), *np.divmod(np.arange(4), 4))
    assert found[0, 0] == 3
    assert np.isnan(found[1]).all()


def test_groups_of_nothing_and_of_one():
    nothing = np.zeros((0, 2))
    found = describe_groups(nothing, nothing, np.zeros(3, dtype=int))
    assert np.isnan(found).all()
    assert found.shape == (3, 12)
    one, steepness = np.array([[7.0, -1.0]]), np.array([[0.5, 2.0]])
    found = describe_groups(one, steepness, np.array([0, 1]))
    np.testing.assert_array_equal(found[1], [7, 0, 7, 7, 7, 0.5, -1, 0, -1, -1, -1, 2])


def test_groups_do_not_depend_on_the_order_within():
    rng = np.random.default_rng(0)
    values, steepness = rng.normal(size=(2, 60, 3))
    sizes = np.array([20, 0, 40])
    turned = np.concatenate([np.arange(20)[::-1], np.arange(20, 60)[::-1]])
    np.testing.assert_allclose(
        describe_groups(values[turned], steepness[turned], sizes),
        describe_groups(values, steepness, sizes),
    )


def test_gradient_of_a_slope():
    # Two-degree pixels; from west to east, the slope is steeper where columns are
    # closer together on the ground.
    rows, columns = np.indices((90, 180)).astype(float)
    southwards = MemoryRaster.in_degrees(rows[:, :, None] * 3)
    eastwards = MemoryRaster.in_degrees(columns[:, :, None])
    equator, north, edge = (44, 90), (14, 90), (0, 0)
    pixels = np.array([equator, north, edge]).T
    np.testing.assert_allclose(gradient_magnitude(southwards, *pixels)[:, 0], 3)
    steepness = gradient_magnitude(eastwards, *pixels[:, :2])[:, 0]
    expected = 1 / np.cos(np.radians([1, 61]))
    np.testing.assert_allclose(steepness, expected)


def test_gradient_crosses_the_antimeridian_only_where_the_raster_does():
    columns = np.tile(np.arange(180.0), (90, 1))[:, :, None]
    edge = np.array([45]), np.array([0])
    around = gradient_magnitude(MemoryRaster.in_degrees(columns), *edge)
    assert around[0, 0] == pytest.approx(178 / 2, rel=1e-3)
    alone = gradient_magnitude(
        MemoryRaster.in_degrees(columns, (0, -90, 359, 90)), *edge
    )
    assert alone[0, 0] == pytest.approx(1, rel=0.01)


def test_gradient_without_neighbours_or_data_is_zero():
    first = np.array([0])
    assert (
        gradient_magnitude(
            MemoryRaster.in_degrees(np.ones((1, 1, 1)), (0, 0, 1, 1)), first, first
        )
        == 0
    )
    holes = MemoryRaster.in_degrees(
        np.array([[1.0, 5.0, np.nan]]).reshape(1, 3, 1), (0, 0, 3, 1)
    )
    assert gradient_magnitude(holes, first, first + 1) == 0


def test_shares_by_hand():
    raster = MemoryRaster.in_degrees(
        np.array([[0, 1, 1, 0, 255, 2]], dtype=np.uint8).reshape(1, 6, 1)
    )
    found = class_shares(raster, np.array([4, 1, 1]), *np.divmod(np.arange(6), 6), 3)
    np.testing.assert_allclose(
        found,
        [[0.5, 0.5, 0, np.log(2)], [np.nan] * 4, [0, 0, 1, 0]],
    )


def test_window_shares_agree_with_windows_of_indicators():
    raster = noise(1)
    lonlat, radius_km = places()
    shares = window_shares(raster, lonlat, radius_km, 17)
    np.testing.assert_allclose(shares[:, :17].sum(axis=1), 1)
    indicator = MemoryRaster.in_degrees((raster.values == 5).astype(float))
    np.testing.assert_allclose(
        shares[:, 5], window_statistics(indicator, lonlat, radius_km)[:, 0]
    )
    few = window_shares(raster, lonlat, radius_km, 2)
    assert few.shape == (30, 3)


def test_batches_do_not_change_the_result(monkeypatch):
    raster = noise()
    lonlat, radius_km = places()
    whole = window_statistics(raster, lonlat, radius_km)
    monkeypatch.setattr(module, "PIXELS_PER_BATCH", 10)
    np.testing.assert_array_equal(window_statistics(raster, lonlat, radius_km), whole)


def test_turning_the_earth_changes_nothing():
    raster = noise()
    lonlat, radius_km = places()
    turned = MemoryRaster.in_degrees(np.roll(raster.values, 70, axis=1))
    shifted = np.column_stack([(lonlat[:, 0] + 140 + 180) % 360 - 180, lonlat[:, 1]])
    np.testing.assert_allclose(
        window_statistics(turned, shifted, radius_km),
        window_statistics(raster, lonlat, radius_km),
    )


def test_larger_windows_vary_less_between_places():
    raster = noise()
    lonlat, _ = places()
    small, large = (
        window_statistics(raster, lonlat, np.full(30, radius))
        for radius in (150.0, 3000.0)
    )
    assert large[:, 0].std() < small[:, 0].std() / 3
