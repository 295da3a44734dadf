import numpy as np
import pytest

from mora.errors import MissingFileError, MoraError
from mora.trajectories.raw.steps import (
    _check_window,
    read_steps,
    shuffle_steps,
    shuffled_order,
    to_steps,
    write_steps,
)
from mora.trajectories.traces import build_traces

DAY = 86_400.0


def traces_of(*points):
    user, seconds, lon, lat = zip(*points, strict=True)
    lonlat = np.column_stack([lon, lat]).astype(float)
    return build_traces(np.array(user), np.array(seconds, float), lonlat)


def one_user():
    """Seen before midnight, twice in step 1 and once in step 4, of 15 minutes."""
    return traces_of(
        ("a", DAY - 60, 9, 9),
        ("a", DAY + 900, 1, 2),
        ("a", DAY + 1799, 2, 4),
        ("a", DAY + 3600, 5, 10),
    )


def many_users(users=6, seed=0):
    rng = np.random.default_rng(seed)
    n = 40 * users
    seconds = rng.uniform(0, 2 * DAY, n)
    return build_traces(rng.integers(0, users, n), seconds, rng.uniform(-9, 9, (n, 2)))


def test_the_last_point_of_a_step_stays_until_the_next():
    steps = to_steps(one_user(), length=6)
    assert steps.known.tolist() == [[False, True, False, False, True, False]]
    assert steps.lonlat[0, :, 0].tolist() == [2, 2, 2, 2, 5, 5]
    assert steps.lonlat[0, :, 1].tolist() == [4, 4, 4, 4, 10, 10]
    assert steps.start_seconds.tolist() == [DAY]
    assert steps.gaps().tolist() == [4]
    assert steps.steps_a_day == 96
    assert steps.hour()[0].tolist() == [0, 0.25, 0.5, 0.75, 1, 1.25]


def test_linear_fill_goes_straight():
    steps = to_steps(one_user(), length=6, fill="linear")
    assert steps.lonlat[0, :, 0].tolist() == [2, 2, 3, 4, 5, 5]


def test_parameters_change_the_steps():
    assert to_steps(one_user(), length=2, min_known=1).lonlat.shape == (1, 2, 2)
    hourly = to_steps(one_user(), length=2, minutes=60)
    assert hourly.lonlat[0, :, 0].tolist() == [2, 5]
    common = to_steps(one_user(), length=3, start=DAY - 900)
    assert common.lonlat[0, :, 0].tolist() == [9, 9, 2]
    assert common.start_seconds.tolist() == [DAY - 900]


def test_users_with_too_few_known_steps_are_named_and_counted():
    traces = traces_of(
        *[("a", DAY + 900 * i, i, i) for i in range(5)],
        ("b", DAY, 3, 3),
        ("c", DAY - 9, 3, 3),
    )
    steps = to_steps(traces, length=5)
    assert steps.users.tolist() == ["a"]
    assert steps.left_out.tolist() == ["b", "c"]
    assert "0.0% of the steps filled, 2 users left out" in steps.describe()
    assert to_steps(traces, length=5, min_known=1).left_out.tolist() == ["c"]
    with pytest.raises(MoraError, match=r"none of 3 users is known in 6 of 5 .*most 5"):
        to_steps(traces, length=5, min_known=6)


def test_a_user_without_points_is_left_out():
    traces = one_user()
    nothing = traces.select(np.zeros(len(traces), bool))
    both = traces_of(("a", DAY, 1, 1), ("a", DAY + 900, 1, 1), ("b", DAY, 2, 2))
    left = to_steps(both.select(both.user_rows() == 0), length=2)
    assert left.left_out.tolist() == ["b"]
    with pytest.raises(MoraError, match="none of 1 users"):
        to_steps(nothing, length=2)


@pytest.mark.parametrize("fill", ["last", "linear"])
def test_agrees_with_a_loop(fill):
    traces = many_users()
    steps = to_steps(traces, length=70, minutes=30, fill=fill, min_known=1)
    for user in range(len(steps)):
        begin = steps.start_seconds[user]
        seen = {}
        for row in range(traces.offsets[user], traces.offsets[user + 1]):
            step = int((traces.seconds[row] - begin) // 1800)
            if 0 <= step < 70:
                seen[step] = traces.lonlat[row]
        assert np.flatnonzero(steps.known[user]).tolist() == sorted(seen)
        for step in range(70):
            before = [s for s in seen if s <= step] or [min(seen)]
            after = [s for s in seen if s >= step] or [max(seen)]
            low, high = max(before), min(after)
            part = (step - low) / (high - low) if high > low else 0.0
            part = part if fill == "linear" else 0.0
            expected = seen[low] + part * (seen[high] - seen[low])
            np.testing.assert_allclose(steps.lonlat[user, step], expected, rtol=1e-5)


def test_other_users_change_nothing():
    traces = many_users()
    alone = to_steps(traces.take_users([2]), length=50, min_known=1)
    together = to_steps(traces, length=50, min_known=1).take_users([2])
    np.testing.assert_array_equal(alone.lonlat, together.lonlat)
    assert alone.users.tolist() == together.users.tolist() == [2]


def test_known_steps_become_points():
    traces = to_steps(one_user(), length=6).to_traces()
    assert traces.seconds.tolist() == [DAY + 900, DAY + 3600]
    assert traces.lonlat.tolist() == [[2, 4], [5, 10]]


def test_shuffled_steps_are_the_same_places_in_another_order():
    steps = to_steps(many_users(), length=50, min_known=1)
    shuffled = shuffle_steps(steps, seed=1)
    order = shuffled_order(steps, seed=1)
    np.testing.assert_array_equal(
        np.sort(shuffled.lonlat, axis=1), np.sort(steps.lonlat, axis=1)
    )
    for user in range(len(steps)):
        places = steps.lonlat[user, order[user]]
        np.testing.assert_array_equal(shuffled.lonlat[user], places)
        known = steps.known[user, order[user]]
        np.testing.assert_array_equal(shuffled.known[user], known)
    assert (order != np.arange(50)).any(axis=1).all()
    assert (shuffled_order(steps, seed=2) != order).any()


def test_an_array_is_read_as_it_was_written(tmp_path):
    steps = to_steps(many_users(), length=50, min_known=1)
    write_steps(steps, tmp_path / "steps.npy")
    again = read_steps(tmp_path / "steps.npy", start=DAY, users=steps.users)
    np.testing.assert_array_equal(again.lonlat, steps.lonlat)
    np.testing.assert_array_equal(again.known, steps.known)
    assert again.users.tolist() == steps.users.tolist()
    assert set(again.start_seconds) == {DAY}
    assert list(tmp_path.iterdir()) == [tmp_path / "steps.npy"]
    half = read_steps(tmp_path / "steps.npy", minutes=30, fill="linear")
    assert half.minutes == 30
    assert half.users.tolist() == list(range(6))
    assert (half.lonlat != steps.lonlat).any()


def test_bad_files_are_refused(tmp_path):
    path = tmp_path / "steps.npy"
    with pytest.raises(MissingFileError, match=r"steps: no file at .*steps\.npy"):
        read_steps(path)
    np.save(path, np.zeros((2, 3)))
    with pytest.raises(MoraError, match=r"has shape \(2, 3\) and type float64"):
        read_steps(path)
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(MoraError, match="is no array of numbers"):
        read_steps(path)
    np.save(path, np.full((2, 3, 2), np.nan))
    with pytest.raises(MoraError, match="2 of them without any position"):
        read_steps(path)
    np.save(path, np.full((2, 3, 2), 100.0))
    with pytest.raises(MoraError, match="6 of 6 points are not on Earth"):
        read_steps(path)
    np.save(path, np.zeros((2, 3, 2)))
    with pytest.raises(MoraError, match=r"2 rows, 0 of them .* for 1 users"):
        read_steps(path, users=np.array([5]))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"length": 0}, "length is 0, minutes 15"),
        ({"minutes": 0}, "minutes 0 and"),
        ({"min_known": 0}, "min_known 0; expected"),
    ],
)
def test_bad_windows_are_refused(option, message):
    with pytest.raises(MoraError, match=message):
        to_steps(one_user(), **option)


def test_another_fill_is_refused():
    with pytest.raises(MoraError, match="fill is 'nearest'; expected 'last' or"):
        _check_window(960, 15, "nearest", 2)
