import numpy as np
import pytest
from test_raw_rules import planted_users

from mora.errors import MoraError
from mora.trajectories.raw.network import make_network
from mora.trajectories.raw.presets import RawConfig
from mora.trajectories.raw.probes import (
    ProbeConfig,
    encoder_of,
    probe_states,
    summarise_attention,
)
from mora.trajectories.raw.steps import to_steps

FEW = ProbeConfig(repeats=2)


@pytest.fixture(scope="module")
def users():
    traces, homes, works, _ = planted_users(users=50, days=4)
    return to_steps(traces, length=72, minutes=60), homes, works


def knows_history(steps):
    """States of a network that sees the step before: position now and its change."""
    lonlat = steps.lonlat.astype(np.float64)
    moved = np.diff(lonlat, axis=1, prepend=lonlat[:, :1])
    return np.concatenate([lonlat, moved, np.abs(moved) > 0.02], axis=2)


def knows_the_clock(steps):
    """States of a network that has learned which position is which hour."""
    angle = steps.hour() * (2 * np.pi / 24)
    return np.stack([np.cos(angle), np.sin(angle)], axis=2)


def means(scores):
    return {(s.task, s.model): s.mean for s in scores}


def test_probes_find_what_is_planted(users):
    found = means(probe_states(knows_history, *users, FEW))
    assert found["home", "states"] < found["home", "nothing"] / 2
    assert found["work", "states"] < found["work", "nothing"] / 2
    assert found["hour", "nothing"] == pytest.approx(6, abs=0.7)


def test_the_order_in_time_does_not_change_what_is_only_a_mean(users):
    found = means(probe_states(lambda s: s.lonlat.astype(float), *users, FEW))
    for task in ("home", "work"):
        expected = pytest.approx(found[task, "coordinates"], rel=1e-6)
        assert found[task, "states"] == found[task, "shuffled"] == expected
    # The hour travels with the step, so positions tell it as well in any order.
    assert found["hour", "shuffled"] == pytest.approx(found["hour", "states"], rel=1e-6)


def test_a_clock_is_read_and_lost_when_time_is_shuffled(users):
    found = means(probe_states(knows_the_clock, *users, FEW))
    assert found["hour", "states"] < 0.05
    assert found["hour", "shuffled"] > 4
    assert found["home", "states"] == pytest.approx(found["home", "nothing"], rel=0.05)


def test_settings_change_the_scores(users):
    def scored(**options):
        options = {"repeats": 2, **options}
        scores = probe_states(knows_history, *users, ProbeConfig(**options))
        return [s.values for s in scores]

    base = scored()
    assert scored(batch_users=7) == base  # this one must not
    assert scored(steps_a_user=5)[2] != base[2]
    assert scored(test_share=0.5) != base
    assert scored(seed=1) != base
    assert len(scored(repeats=3)[0]) == 3
    assert probe_states(knows_history, *users)[0].values[:2] == base[0]


def test_users_without_home_are_left_out(users):
    steps, homes, works = users
    homes = homes.copy()
    homes[::2] = np.nan
    found = probe_states(knows_history, steps, homes, works, FEW)
    assert np.isfinite([s.values for s in found]).all()
    with pytest.raises(MoraError, match="'home': 0 of 50 labels are known"):
        probe_states(knows_history, steps, homes * np.nan, works, FEW)


def test_users_with_few_known_steps_are_probed_at_those():
    traces, homes, works, _ = planted_users(users=30, days=4)
    few = traces.select(traces.hour() < 2)
    steps = to_steps(few, length=72, minutes=60)
    assert steps.known.sum(axis=1).max() == 6
    found = means(probe_states(knows_history, steps, homes, works, FEW))
    assert found["hour", "nothing"] < 0.6  # only midnight and one o'clock are known


def test_bad_settings_and_states_are_refused(users):
    with pytest.raises(MoraError, match="steps_a_user is 0 and batch_users 64"):
        probe_states(knows_history, *users, ProbeConfig(steps_a_user=0))
    with pytest.raises(MoraError, match="batch_users 0; expected at least 1"):
        probe_states(knows_history, *users, ProbeConfig(batch_users=0))
    with pytest.raises(MoraError, match=r"states of shape \(50, 71, 2\) for \(50"):
        probe_states(lambda s: s.lonlat[:, 1:], *users)


def attention_of(*heads):
    return np.stack(heads)[None, None].astype(np.float64)


def test_heads_of_known_habits_are_described():
    even = np.tril(np.ones((6, 6))) / np.arange(1, 7)[:, None]
    itself, first = np.eye(6), np.zeros((6, 6))
    first[:, 0] = 1
    table = summarise_attention(attention_of(even, itself, first), steps_a_day=2)
    assert table.index.names == ["layer", "head"]
    even, itself, first = table.to_dict("records")
    assert even["steps_back"] == pytest.approx(1.5)  # mean of 1/2, 2/2, .. 5/2
    assert even["spread"] == pytest.approx(1)
    assert even["daily"] == pytest.approx(even["daily_if_even"])
    # Of the steps 2 to 5, the shares of whole days before are 1/3, 1/4, 2/5 and 2/6.
    assert even["daily"] == pytest.approx((1 / 3 + 1 / 4 + 2 / 5 + 2 / 6) / 4)
    assert (itself["steps_back"], itself["spread"], itself["itself"]) == (0, 0, 1)
    assert (first["steps_back"], first["first"], first["itself"]) == (3, 1, 0)
    assert first["daily"] == 0.5  # from steps 2 and 4, not from 3 and 5


def test_attention_agrees_with_a_loop():
    rng = np.random.default_rng(0)
    weights = np.tril(rng.random((2, 3, 2, 7, 7)))
    weights /= weights.sum(axis=-1, keepdims=True)
    table = summarise_attention(weights, steps_a_day=3)
    for layer, head in table.index:
        back, entropy = [], []
        for user in range(3):
            for step in range(1, 7):
                row = weights[layer, user, head, step, : step + 1]
                back.append(sum(w * (step - j) for j, w in enumerate(row)))
                entropy.append(-(row * np.log(row)).sum() / np.log(step + 1))
        got = table.loc[(layer, head)]
        assert got["steps_back"] == pytest.approx(np.mean(back))
        assert got["spread"] == pytest.approx(np.mean(entropy))
    other = summarise_attention(weights, steps_a_day=2)
    assert (other["daily"] != table["daily"]).all()


def test_windows_up_to_a_day_have_no_day_before():
    table = summarise_attention(attention_of(np.eye(3)), steps_a_day=96)
    assert table[["daily", "daily_if_even"]].isna().all(axis=None)


def test_bad_attention_is_refused():
    with pytest.raises(MoraError, match="attention over 1 steps"):
        summarise_attention(attention_of(np.ones((1, 1))), 96)
    with pytest.raises(MoraError, match=r"add up to 0\.5 and more"):
        summarise_attention(attention_of(np.eye(3) / 2), 96)


def test_states_of_a_network_are_probed(users):
    steps, homes, works = users
    size = {"length": 72, "width": 16, "layers": 1, "heads": 2}
    config = RawConfig(minutes=60, box=(2.0, 48.5, 2.8, 49.2), **size)
    network = make_network(config, seed=0)
    states = encoder_of(network)(steps.take_users([0, 1]))
    assert states.shape == (2, 72, 16)
    assert not network.training
    found = means(probe_states(encoder_of(network), steps, homes, works, FEW))
    assert found["home", "states"] < found["home", "nothing"]
