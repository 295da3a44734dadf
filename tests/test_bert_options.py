"""Every option of the network changes something; presets have the published sizes."""

import pytest
import torch
from pydantic import ValidationError
from tests.bert_batches import (
    PLACES,
    WIDTH,
    full_extras,
    random_windows,
    tiny_model,
)

from mora.errors import ConfigError, MoraError
from mora.trajectories.bert.network import make_model
from mora.trajectories.bert.presets import PRESETS, BertConfig, bert_preset

PLACE = {"place_features_size": WIDTH}
EXPERTS = {"top_k": 1, "balance_weight": 0.1}
# option: (what both networks have, the option's value in the other network)
SHAPES = {
    "model_name": ({}, "MobilityBERT"),
    "num_location_ids": ({}, PLACES + 1),
    "hidden_size": ({}, 32),
    "hidden_layers": ({}, 2),
    "day_embedding_size": ({}, 5),
    "time_embedding_size": ({}, 5),
    "day_of_week_embedding_size": ({}, 5),
    "weekday_embedding_size": ({}, 5),
    "location_embedding_size": ({}, 9),
    "max_seq_length": ({}, 17),
    "days": ({}, 76),
    "slots": ({}, 96),
    "bert_intermediate_size": ({}, 48),
    "experts": ({}, 4),
    "mask_token": ({}, True),
    "prior": ({}, True),
    "prior_histograms": ({"prior": True}, 2),
    "location_input": ({**PLACE, "location_output": "features"}, "both"),
    "location_output": ({**PLACE, "location_input": "features"}, "features"),
    "place_features_size": ({"location_input": "both", **PLACE}, WIDTH + 1),
}
# The weights are the same and the answers are not.
ANSWERS = {
    "attention_heads": ({"self_attention_heads": 2}, 4),
    "self_attention_heads": ({}, 4),
    "log_delta": ({}, True),
    "padding_mask": ({}, True),
    "top_k": ({}, 1),
    "restrict_to_candidates": ({}, True),
}
TRAINING = {
    "dropout": ({}, 0.6),
    "bert_dropout": ({}, 0.6),
    "balance_weight": ({"top_k": 1}, 0.5),
}
LIMITS = {"input_seq_length": ({}, 7), "predict_seq_length": ({}, 3)}


def pair(option, table):
    shared, value = table[option]
    return tiny_model(**shared), tiny_model(**{**shared, option: value})


def shapes(model):
    return {name: tuple(v.shape) for name, v in model.state_dict().items()}


def test_every_option_is_tried():
    assert {*SHAPES, *ANSWERS, *TRAINING, *LIMITS} == set(BertConfig.model_fields)


@pytest.mark.parametrize("option", SHAPES)
def test_option_changes_the_weights(option):
    first, other = pair(option, SHAPES)
    assert shapes(first) != shapes(other)


@pytest.mark.parametrize("option", ANSWERS)
def test_option_changes_the_answers_of_equal_weights(option):
    first, other = pair(option, ANSWERS)
    other.load_state_dict(first.state_dict())
    inputs = random_windows(**full_extras())
    assert not torch.allclose(first(inputs), other(inputs))


@pytest.mark.parametrize("option", TRAINING)
def test_option_changes_training(option):
    losses = []
    for model in pair(option, TRAINING):
        torch.manual_seed(0)
        logits, balance = model.train().logits_and_balance_loss(random_windows())
        losses.append(logits.logsumexp(dim=2).mean() + balance)
    assert losses[0] != losses[1]


@pytest.mark.parametrize("option", LIMITS)
def test_option_limits_the_windows(option):
    first, other = pair(option, LIMITS)
    assert first(random_windows()).shape == (3, 4, PLACES)
    with pytest.raises(MoraError, match="at most"):
        other(random_windows())


@pytest.mark.parametrize(
    "option", ["mask_token", "prior", "location_input", "location_output"]
)
def test_options_with_weights_of_their_own_change_the_answers_too(option):
    first, other = pair(option, SHAPES)
    inputs = random_windows(**full_extras())
    with torch.no_grad():
        if option == "mask_token":
            other.mask_token.fill_(1.0)
    known = other.state_dict()
    other.load_state_dict(
        {**known, **{n: v for n, v in first.state_dict().items() if n in known}}
    )
    assert not torch.allclose(first(inputs), other(inputs))


def test_published_size():
    config = bert_preset("faithful")
    assert (config.hidden_size, config.hidden_layers) == (256, 24)
    assert (config.attention_heads, config.own_attention_heads) == (16, 16)
    assert config.event_size == 481
    assert (config.input_seq_length, config.predict_seq_length) == (240, 30)
    with torch.device("meta"):
        model = make_model(config)
    found = shapes(model)
    assert found["location_embedding.weight"] == (40_000, 256)
    assert found["bert.embeddings.position_embeddings.weight"] == (3648, 256)
    assert found["bert.encoder.layer.23.intermediate.dense.weight"] == (3072, 256)
    assert found["moe.experts.7.fc.weight"] == (256, 256)
    assert found["output_projection.weight"] == (40_000, 256)


def test_size_of_the_released_script():
    config = bert_preset("faithful_script")
    assert (config.hidden_size, config.hidden_layers) == (768, 12)
    assert (config.attention_heads, config.intermediate_size) == (16, 3072)
    assert config.max_seq_length == 75 * 48


def test_faithful_presets_have_none_of_the_additions():
    added = ["mask_token", "log_delta", "padding_mask", "prior"]
    added += ["restrict_to_candidates", "top_k", "balance_weight"]
    added += ["place_features_size"]
    for name in ("faithful", "faithful_script"):
        config = bert_preset(name)
        assert not any(getattr(config, option) for option in added)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_built_and_changed(name):
    config = bert_preset(name, num_location_ids=7, dropout=0.0)
    with torch.device("meta"):
        model = make_model(config)
    assert model.config.num_location_ids == 7
    assert model.dropout.p == 0


def test_improved_preset_answers():
    config = bert_preset("improved", num_location_ids=PLACES)
    logits = make_model(config).eval()(random_windows(**full_extras()))
    assert logits.shape == (3, 4, PLACES)
    assert logits.isfinite().all()


def test_unknown_preset():
    with pytest.raises(ConfigError, match=r"no preset 'huge' .* expected one of faith"):
        bert_preset("huge")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention_heads": 3}, "cannot be shared by 3 heads; .* attention_heads"),
        ({"self_attention_heads": 5}, "5 heads; .* self_attention_heads"),
        ({"input_seq_length": 13}, "add up to 17 events; expected at most .* = 16"),
        ({"top_k": 4}, "top_k is 4; expected at most experts = 3"),
        ({"model_name": "MobilityBERT", **EXPERTS}, "MobilityBERT has none"),
        ({"location_input": "features"}, "expected place_features_size exactly when"),
        ({"place_features_size": 3}, "expected place_features_size exactly when"),
        ({"hidden": 3}, "Extra inputs are not permitted"),
        ({"dropout": 1.0}, "less than 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        bert_preset("tiny", **changes)
