"""Training lowers the loss, and what is held out, reused and written."""

import numpy as np
import pytest
import torch
from bert_events import grid, regular_events, tiny, with_masked_days
from safetensors.torch import load_file

from mora.config import TrainingConfig
from mora.errors import ConfigError, MissingFileError, MoraError
from mora.trajectories.bert.candidates import CandidateConfig
from mora.trajectories.bert.held_out import hold_out, validation_windows
from mora.trajectories.bert.learning import finetune_bert, train_bert
from mora.trajectories.bert.network import make_model
from mora.trajectories.bert.prediction import PredictionConfig, predict_events
from mora.trajectories.bert.task import BertTask, LearningConfig, cross_entropy
from mora.trajectories.bert.trained import EventReader, read_bert
from mora.trajectories.bert.vocabulary import build_vocabulary
from mora.trajectories.bert.windows import WindowConfig, build_windows
from mora.trajectories.humob.medoid import MedoidOptions


@pytest.fixture
def events():
    return regular_events()


def config(epochs=2, **changes):
    training = TrainingConfig(
        learning_rate=1e-2, batch_size=16, epochs=epochs, accelerator="cpu"
    )
    settings = {
        "network": tiny(),
        "training": training,
        "windows": WindowConfig(window_stride=6),
        "held_out_days": 3,
        "validation_share": 0.3,
    }
    return LearningConfig(**{**settings, **changes})


def weights(learned):
    return learned.trained.model.state_dict()


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_training_lowers_the_loss(events, tmp_path):
    learned = train_bert(events, config(epochs=12), tmp_path)
    losses = [epoch["validation"] for epoch in learned.state.history]
    assert min(losses) < 0.8 * losses[0]
    assert learned.state.history[-1]["training"] < learned.state.history[0]["training"]
    assert len(learned.skipped) == 0


def test_reads_back_what_predicts_the_same(events, tmp_path):
    learned = train_bert(events, config(), tmp_path)
    again = read_bert(tmp_path, events.tokens)
    history, wanted = events.between(0, 9), events.between(9, 99)
    np.testing.assert_array_equal(
        predict_events(again, history, wanted),
        predict_events(learned.trained, history, wanted),
    )
    assert again.reader.network == learned.trained.reader.network
    with pytest.raises(MissingFileError, match="settings of a trained network"):
        read_bert(tmp_path / "elsewhere", events.tokens)


def test_same_seed_same_weights(events, tmp_path):
    first, second, other = (
        weights(train_bert(events, config(seed=seed), tmp_path / str(number)))
        for number, seed in enumerate([0, 0, 1])
    )
    assert same(first, second)
    assert not same(first, other)


@pytest.mark.parametrize(
    "change",
    [
        {"windows": WindowConfig(window_stride=11)},
        {"location_learning_rate": None},
        {"vocabulary": "full"},
        {"validation_share": 0.7},
        {"held_out_days": 5},
    ],
    ids=str,
)
def test_every_option_counts(events, tmp_path, change):
    plain = train_bert(events, config(epochs=1), tmp_path / "plain")
    other = train_bert(events, config(epochs=1, **change), tmp_path / "other")
    name = "input_projection.weight"
    assert not torch.equal(weights(plain)[name], weights(other)[name])


def test_locations_learn_at_their_own_rate(events, tmp_path):
    before = make_model(tiny(num_location_ids=3 + len(np.unique(events.token))))
    moved = []
    for rate in (1e-6, 1e-2):
        settings = config(epochs=1, location_learning_rate=rate)
        after = weights(train_bert(events, settings, tmp_path / str(rate)))
        name = "location_embedding.weight"
        moved.append(float((after[name] - before.state_dict()[name]).abs().max()))
    assert moved[0] < 1e-4 < moved[1]


def test_selects_by_geo_bleu(events, tmp_path):
    learned = train_bert(events, config(select_by="geo_bleu"), tmp_path)
    scores = [-epoch["validation"] for epoch in learned.state.history]
    assert all(0 < score <= 1 for score in scores)


def test_prior_and_candidates_reach_the_network(events, tmp_path):
    network = tiny(prior=True, restrict_to_candidates=True, padding_mask=True)
    learned = train_bert(events, config(network=network), tmp_path)
    plain = train_bert(events, config(), tmp_path / "plain")
    # What a user did before tells most of what the user does next.
    assert learned.state.best_loss < plain.state.best_loss


def test_place_features_are_read_and_written(events, tmp_path):
    network = tiny(location_input="both", place_features_size=2)
    features = np.random.default_rng(0).normal(size=(len(events.tokens), 2))
    learned = train_bert(
        events, config(network=network), tmp_path, place_features=features
    )
    table = read_bert(tmp_path, events.tokens).reader.place_features
    vocabulary = learned.trained.reader.vocabulary
    assert (table[:3] == 0).all()
    np.testing.assert_allclose(table[3:], features[vocabulary.token_of[3:]], rtol=1e-6)
    with pytest.raises(MoraError, match="24 rows of place features for 25 places"):
        train_bert(
            events, config(network=network), tmp_path, place_features=features[1:]
        )


def test_last_days_of_some_users_are_held_out(events):
    held_out = hold_out(events, share=0.3, days=3, seed=0)
    assert len(held_out.wanted.users) == 2
    assert held_out.wanted.day.min() == 9
    assert held_out.history.day.max() == 8
    assert len(held_out.training) + len(held_out.wanted) == len(events)
    kept = held_out.training.between(9, 12).counts() == 0
    np.testing.assert_array_equal(events.users[kept], held_out.wanted.users)
    other = hold_out(events, share=0.3, days=3, seed=1)
    assert not np.array_equal(other.wanted.users, held_out.wanted.users)


def test_users_to_be_predicted_are_not_held_out(events):
    events = with_masked_days(events, 9, users=[0, 1, 2, 3, 4])
    held_out = hold_out(events, share=0.9, days=3, seed=0)
    np.testing.assert_array_equal(held_out.wanted.users, [50])
    assert held_out.training.masked().sum() == events.masked().sum()


def test_nobody_to_hold_out_is_said(events):
    with pytest.raises(MoraError, match="none of 6 users has known events both before"):
        hold_out(events, share=0.3, days=12, seed=0)


def test_what_is_held_out_teaches_nothing(events, tmp_path):
    held_out = hold_out(events, share=0.3, days=3, seed=0)
    rows = np.isin(
        events.user_rows(), np.searchsorted(events.users, held_out.wanted.users)
    )
    late = rows & (events.day >= 9)
    changed = events.with_tokens(np.where(late, 0, events.token).astype(np.int32))
    settings = config(epochs=1)
    first = train_bert(events, settings, tmp_path / "a")
    second = train_bert(changed, settings, tmp_path / "b")
    assert same(weights(first), weights(second))
    assert first.state.best_loss != second.state.best_loss


def test_batches_hold_every_window_once(events, tmp_path):
    settings = config()
    learned = train_bert(events, settings, tmp_path)
    held_out = hold_out(events, 0.3, 3, 0)
    windows = learned.trained.reader
    cut, _ = build_windows(
        held_out.training, windows.vocabulary, windows.network, windows.windows
    )
    task = BertTask(learned.trained, cut, held_out, settings)
    first, again, second = (torch.cat(list(task.batches(e))) for e in (0, 0, 1))
    assert sorted(first.tolist()) == list(range(len(cut)))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    # Every held-out event is in one validation window.
    rows = torch.arange(len(task.validation))
    targets = learned.trained.reader.read(task.validation, rows).targets
    places = windows.vocabulary.encode(held_out.wanted.token) > 2
    assert int((targets != -100).sum()) == places.sum()


def test_cross_entropy_of_a_hand_worked_batch():
    logits = torch.zeros(1, 3, 4)
    logits[0, 0, 2] = np.log(5.0)
    targets = torch.tensor([[2, 0, -100]])
    expected = -np.log(5 / 8) - np.log(1 / 4)
    torch.testing.assert_close(
        cross_entropy(logits, targets), torch.tensor(expected, dtype=torch.float32)
    )


class TestTuning:
    """Another city begins with the weights of the first."""

    @pytest.fixture
    def pretrained(self, events, tmp_path):
        train_bert(events, config(), tmp_path / "a")
        return tmp_path / "a"

    def other_city(self):
        return regular_events(seed=9, tokens=grid(6))

    def still(self):
        """Give training that hardly moves the weights."""
        training = config(epochs=1).training.model_copy(update={"learning_rate": 1e-12})
        return {"training": training, "location_learning_rate": None}

    def test_locations_are_learned_anew(self, pretrained, tmp_path):
        settings = config(**self.still())
        learned = finetune_bert(pretrained, self.other_city(), settings, tmp_path / "b")
        old, new = load_file(pretrained / "model.safetensors"), weights(learned)
        size = len(learned.trained.reader.vocabulary)
        fresh = make_model(tiny(num_location_ids=size)).state_dict()
        tables = {"location_embedding.weight", "output_projection.weight"}
        for name in new:
            table = name in tables or name == "output_projection.bias"
            torch.testing.assert_close(new[name], (fresh if table else old)[name])

    def test_locations_are_reused_on_request(self, events, tmp_path):
        settings = config(vocabulary="full", reuse_locations=True, **self.still())
        train_bert(events, config(vocabulary="full"), tmp_path / "a")
        city = regular_events(seed=9)
        learned = finetune_bert(tmp_path / "a", city, settings, tmp_path / "b")
        old = load_file(tmp_path / "a" / "model.safetensors")
        for name, value in weights(learned).items():
            torch.testing.assert_close(value, old[name])

    def test_reuse_needs_a_full_vocabulary_of_the_same_size(self, events, tmp_path):
        train_bert(events, config(vocabulary="full"), tmp_path / "a")
        settings = config(reuse_locations=True)
        with pytest.raises(ConfigError, match="with the compact vocabulary"):
            finetune_bert(tmp_path / "a", events, settings, tmp_path / "b")
        settings = config(reuse_locations=True, vocabulary="full")
        with pytest.raises(ConfigError, match=r"\(25, 8\) there and \(36, 8\) here"):
            finetune_bert(tmp_path / "a", self.other_city(), settings, tmp_path / "b")

    def test_places_known_by_features_carry_over_whole(self, events, tmp_path):
        network = tiny(
            location_input="features", location_output="features", place_features_size=3
        )
        features = np.eye(3)[np.arange(25) % 3]
        settings = config(network=network)
        train_bert(events, settings, tmp_path / "a", place_features=features)
        city = self.other_city()
        learned = finetune_bert(
            tmp_path / "a",
            city,
            config(**self.still()),
            tmp_path / "b",
            place_features=np.eye(3)[np.arange(36) % 3],
        )
        old = load_file(tmp_path / "a" / "model.safetensors")
        for name, value in weights(learned).items():
            torch.testing.assert_close(value, old[name])


def test_reader_skips_the_user_for_the_plain_network(events):
    vocabulary = build_vocabulary(events.tokens, events.token)
    shapes = []
    for name in ("MobilityBERT", "MobilityBERTMoE"):
        network = tiny(model_name=name, num_location_ids=len(vocabulary))
        windows, _ = build_windows(events, vocabulary, network, WindowConfig())
        reader = EventReader(network, WindowConfig(), CandidateConfig(), vocabulary)
        inputs = reader.read(windows, torch.tensor([0, 1])).inputs
        shapes.append(inputs.history_features.shape[2])
        assert make_model(network)(inputs).shape == (2, 4, len(vocabulary))
    assert shapes == [5, 6]


def test_floor_of_the_prior_counts(events, tmp_path):
    network = tiny(prior=True)
    losses = [
        train_bert(
            events,
            config(network=network, epochs=1, candidates={"prior_floor": floor}),
            tmp_path / str(floor),
        ).state.best_loss
        for floor in (0.01, 0.5)
    ]
    assert losses[0] != losses[1]


def test_the_untrained_network_is_kept_where_training_does_harm(events, tmp_path):
    network = tiny(prior=True)
    first = make_model(network).state_dict()["output_projection.weight"]
    assert (first == 0).all()
    for rate, kept in ((1.0, True), (1e-4, False)):
        training = TrainingConfig(
            learning_rate=rate, batch_size=16, epochs=1, accelerator="cpu"
        )
        both = {
            keep: weights(
                train_bert(
                    events,
                    config(network=network, training=training, keep_untrained=keep),
                    tmp_path / f"{rate}-{keep}",
                )
            )["output_projection.weight"]
            for keep in (True, False)
        }
        assert (both[False] != 0).any()
        assert bool((both[True] == 0).all()) == kept


def test_selection_answers_as_the_prediction_will(events, tmp_path):
    losses = []
    for name in ("argmax", "proximity"):
        settings = config(
            select_by="geo_bleu", prediction=PredictionConfig(decoding=name)
        )
        losses.append(train_bert(events, settings, tmp_path / name).state.best_loss)
    assert losses[0] != losses[1]


def test_validation_with_gaps_sees_no_held_out_day(events, tmp_path):
    settings = config(windows=WindowConfig(window_stride=6, gap_events=8))
    reader = train_bert(events, settings, tmp_path).trained.reader
    held = hold_out(events, 0.3, 3, 0)
    windows = validation_windows(reader, held)
    assert (windows.target > windows.history_end).any()
    days = windows.columns.day
    assert (days[windows.history_end - 1] < 9).all()


def test_histograms_of_the_prior_reach_the_network(events, tmp_path):
    ways = (MedoidOptions(), MedoidOptions(slot_width=4.0))
    settings = config(
        network=tiny(prior=True), candidates=CandidateConfig(histograms=ways)
    )
    learned = train_bert(events, settings, tmp_path)
    assert learned.trained.model.prior_gate.out_features == 2
    assert read_bert(tmp_path, events.tokens).reader.candidates.histograms == ways
