"""Predicting the masked days: no leak, a sliding window, and going on after a stop."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from bert_events import grid, regular_events, tiny, with_masked_days

from mora.errors import MoraError, RunError
from mora.trajectories.bert.candidates import CandidateConfig
from mora.trajectories.bert.day_choice import choose_days
from mora.trajectories.bert.inputs import EventInputs
from mora.trajectories.bert.network import make_model
from mora.trajectories.bert.prediction import (
    PredictionConfig,
    join_events,
    predict_events,
)
from mora.trajectories.bert.trained import EventReader, TrainedBert
from mora.trajectories.bert.vocabulary import build_vocabulary
from mora.trajectories.bert.windows import WindowConfig
from mora.trajectories.events import MASKED


@pytest.fixture
def events():
    return regular_events()


def trained_on(events, windows=None, **network):
    vocabulary = build_vocabulary(events.tokens, events.token)
    config = tiny(num_location_ids=len(vocabulary), **network)
    windows = WindowConfig(**(windows or {}))
    reader = EventReader(config, windows, CandidateConfig(), vocabulary)
    return TrainedBert(make_model(config, seed=1).eval(), reader)


def halves(events, day=9):
    return events.between(0, day), events.between(day, 99)


class Recorder(torch.nn.Module):
    """Answers the newest known location plus one, and keeps what it was shown."""

    def __init__(self, locations):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.locations, self.shown = locations, []

    def forward(self, inputs: EventInputs):
        self.shown.append(inputs)
        newest = inputs.history_locations[:, -1:]
        ahead = newest + 1 + torch.arange(inputs.future_features.shape[1])
        return torch.nn.functional.one_hot(
            ahead % self.locations, self.locations
        ).float()


def recorded(events, history, wanted, config=None):
    trained = trained_on(events)
    recorder = Recorder(len(trained.reader.vocabulary))
    trained = TrainedBert(recorder, trained.reader)
    return predict_events(trained, history, wanted, config), recorder, trained.reader


OPTIONS = [
    ({}, {}),
    ({"decoding": "proximity"}, {}),
    ({"restrict": True}, {"prior": True}),
    ({}, {"restrict_to_candidates": True, "prior": True, "padding_mask": True}),
]


@pytest.mark.parametrize(("options", "network"), OPTIONS)
def test_places_of_the_target_days_are_never_read(events, options, network):
    events = events.take_users([0, 1])
    history, wanted = halves(events)
    trained = trained_on(events, **network)
    config = PredictionConfig(**options)
    found = predict_events(trained, history, wanted, config)
    elsewhere = wanted.with_tokens((wanted.token + 7) % len(events.tokens))
    masked = wanted.with_tokens(np.full(len(wanted), MASKED))
    for other in (elsewhere, masked):
        np.testing.assert_array_equal(
            predict_events(trained, history, other, config), found
        )
    # Nor are those that the history itself has on the target days.
    late = history.between(0, 8)
    np.testing.assert_array_equal(
        predict_events(trained, events, wanted.between(10, 99), config),
        predict_events(trained, events.between(0, 10), wanted.between(10, 99), config),
    )
    assert len(late) < len(history)


def test_window_slides_over_the_answers():
    events = regular_events(users=1, days=4, tokens=grid(9))
    history, wanted = halves(events, 2)  # 12 known, 12 wanted
    found, recorder, reader = recorded(events, history, wanted)
    known = reader.vocabulary.encode(history.token)
    answers = reader.vocabulary.encode(found)
    every = np.concatenate([known, answers])
    for block, inputs in enumerate(recorder.shown):
        end = 12 + 4 * block
        np.testing.assert_array_equal(inputs.history_locations[0], every[end - 8 : end])
    assert len(recorder.shown) == 3


def test_delta_goes_on_unless_it_restarts(events):
    history, wanted = halves(events)
    _, whole, _ = recorded(events, history, wanted)
    config = PredictionConfig(delta_restarts=True)
    _, anew, _ = recorded(events, history, wanted, config)
    assert (whole.shown[0].future_features[:, 0, 5] == 6).all()  # 22:00 to 1:00
    assert (anew.shown[0].future_features[:, 0, 5] == 0).all()
    torch.testing.assert_close(
        whole.shown[0].future_features[:, 1:, 5],
        anew.shown[0].future_features[:, 1:, 5],
    )


def test_users_at_once_does_not_matter(events):
    history, wanted = halves(events)
    wanted = wanted.select(np.arange(len(wanted)) % 7 > 0)  # unequal lengths
    trained = trained_on(events, padding_mask=True, prior=True)
    few = predict_events(trained, history, wanted, PredictionConfig(users_at_once=2))
    many = predict_events(trained, history, wanted, PredictionConfig(users_at_once=50))
    np.testing.assert_array_equal(few, many)


def test_users_do_not_see_each_other(events):
    history, wanted = halves(events)
    trained = trained_on(events)
    alone = predict_events(trained, history, wanted.take_users([2]))
    among = predict_events(trained, history, wanted)
    np.testing.assert_array_equal(among[wanted.user_rows() == 2], alone)


def test_restricted_answers_are_own_places(events):
    history, wanted = halves(events)
    trained = trained_on(events)
    free = predict_events(trained, history, wanted)
    found = predict_events(trained, history, wanted, PredictionConfig(restrict=True))
    for user in range(len(wanted.users)):
        own = history.token[history.user_rows() == user]
        assert np.isin(found[wanted.user_rows() == user], own).all()
    assert (free != found).any()


def test_look_back_reaches_the_network(events):
    history, wanted = halves(events)
    short = trained_on(events, windows={"look_back_days": 1}, padding_mask=True)
    long = TrainedBert(
        short.model, replace(short.reader, windows=WindowConfig(look_back_days=None))
    )
    inputs = []
    for trained in (short, long):
        trained.model.register_forward_pre_hook(lambda _, i: inputs.append(i[0]))
        predict_events(trained, history, wanted)
    assert inputs[0].history_padding.any()
    assert not inputs[-1].history_padding.any()


def test_goes_on_after_a_stop(events, tmp_path):
    history, wanted = halves(events)
    trained = trained_on(events)
    config = PredictionConfig(users_at_once=2)
    steps = []

    def stop(done, total):
        steps.append((done, total))
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_events(trained, history, wanted, config, folder=tmp_path, progress=stop)
    kept = sorted(path.name for path in tmp_path.glob("*.npy"))
    assert kept == ["part-0000000.npy", "part-0000002.npy"]
    calls = []
    trained.model.register_forward_pre_hook(lambda *_: calls.append(1))
    found = predict_events(trained, history, wanted, config, folder=tmp_path)
    assert len(calls) == 5  # blocks of the two users who were left: 18 events each
    assert steps == [(2, 6), (4, 6)]
    np.testing.assert_array_equal(
        found, predict_events(trained, history, wanted, config)
    )


def test_parts_of_another_prediction_are_refused(events, tmp_path):
    history, wanted = halves(events)
    trained = trained_on(events)
    predict_events(trained, history, wanted, folder=tmp_path)
    other = PredictionConfig(delta_restarts=True)
    with pytest.raises(RunError, match="holds parts of a prediction of other events"):
        predict_events(trained, history, wanted, other, folder=tmp_path)
    with pytest.raises(RunError, match="Give another folder"):
        predict_events(trained, history, wanted.take_users([0]), folder=tmp_path)


def test_users_without_history_are_named(events):
    history, wanted = halves(events)
    with pytest.raises(MoraError, match=r"1 of 6 users have no known .*first: 20"):
        predict_events(trained_on(events), history.take_users([0, 1, 3, 4, 5]), wanted)
    masked = with_masked_days(history, 0, [2])
    with pytest.raises(MoraError, match=r"1 of 6 users have no known .*first: 20"):
        predict_events(trained_on(events), masked, wanted)


def test_users_of_unknown_places_have_no_candidates(events):
    elsewhere = np.setdiff1d(np.arange(len(events.tokens)), events.token[:72])
    trained = trained_on(events)
    vocabulary = build_vocabulary(events.tokens, elsewhere)
    config = tiny(num_location_ids=len(vocabulary))
    reader = replace(trained.reader, vocabulary=vocabulary, network=config)
    trained = TrainedBert(make_model(config), reader)
    history, wanted = (half.take_users([0]) for half in halves(events))
    with pytest.raises(MoraError, match=r"1 of 1 users have been at none .*first: 0"):
        predict_events(trained, history, wanted, PredictionConfig(restrict=True))
    found = predict_events(trained, history, wanted)
    assert np.isin(found, elsewhere).all()


def test_other_places_are_refused(events):
    history, wanted = halves(events)
    other = replace(wanted, tokens=grid(6))
    with pytest.raises(MoraError, match="over 25 places and 48 slots a day"):
        predict_events(trained_on(events), history, other)
    with pytest.raises(MoraError, match="the network knows 25 places"):
        predict_events(trained_on(events), replace(history, tokens=grid(6)), other)


def test_join_keeps_the_order_of_what_is_wanted(events):
    wanted = events.between(9, 99)
    wanted = wanted.select(wanted.user_rows() != 3)
    joined, asked = join_events(events, wanted)
    np.testing.assert_array_equal(joined.users, [0, 10, 20, 40, 50])
    np.testing.assert_array_equal(asked, 18)
    np.testing.assert_array_equal(joined.time()[joined.masked()], wanted.time())
    known = joined.select(~joined.masked())
    np.testing.assert_array_equal(
        known.token, events.between(0, 9).take_users([0, 1, 2, 4, 5]).token
    )


def test_nothing_wanted_gives_nothing(events):
    history, wanted = halves(events)
    none = wanted.select(np.zeros(len(wanted), bool))
    assert len(predict_events(trained_on(events), history, none)) == 0


def test_with_gaps_answers_are_no_history(events):
    history, wanted = halves(events)
    trained = trained_on(events, windows={"gap_events": 4})
    recorder = Recorder(trained.reader.network.num_location_ids)
    predict_events(replace(trained, model=recorder), history, wanted)
    first = recorder.shown[0].history_locations
    for inputs in recorder.shown[1:]:
        torch.testing.assert_close(inputs.history_locations, first)


def test_days_are_chosen_by_the_past(events):
    anywhere = np.random.default_rng(0).integers(0, 25, len(events))
    events = events.with_tokens(anywhere.astype(np.int32))
    history, wanted = halves(events)
    trained = trained_on(events)
    plain = predict_events(trained, history, wanted)
    found = [
        predict_events(
            trained, history, wanted, PredictionConfig(choose_days=True, past_days=n)
        )
        for n in (1, 9)
    ]
    assert not np.array_equal(found[0], plain)
    assert not np.array_equal(*found)
    expected = choose_days(plain, history, wanted, 9)
    np.testing.assert_array_equal(found[1], expected)
