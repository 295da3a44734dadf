"""Weights from files: every format, and every way in which they do not fit."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.bert_batches import (
    full_extras,
    golden_case,
    golden_weights,
    random_windows,
    tiny_model,
)

from mora.baselines.checkpoints import CheckpointError
from mora.errors import ConfigError, MissingFileError
from mora.trajectories.bert.presets import bert_preset
from mora.trajectories.bert.released import (
    load_released,
    read_weights,
    set_weights,
    sizes_of,
)

TINY = bert_preset("tiny")


def write(weights, path):
    if path.suffix == ".npz":
        np.savez(path, **{name: v.numpy() for name, v in weights.items()})
    elif path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path)
    return path


@pytest.fixture
def weights():
    return dict(tiny_model(seed=3).state_dict())


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".safetensors", ".npz"])
def test_weights_come_back_from_every_kind_of_file(tmp_path, suffix, prefix, weights):
    named = {prefix + name: value for name, value in weights.items()}
    model = load_released(write(named, tmp_path / f"model{suffix}"), TINY)
    inputs = random_windows()
    torch.testing.assert_close(model(inputs), tiny_model(seed=3)(inputs))
    assert not torch.allclose(model(inputs), tiny_model(seed=0)(inputs))
    assert not model.training


@pytest.mark.parametrize(
    ("name", "heads", "own"), [("st_moe_bert", 12, 4), ("mobility_bert", 4, 4)]
)
def test_released_weights_need_no_sizes(tmp_path, name, heads, own):
    path = write(golden_weights(name), tmp_path / "model.pt")
    limits = {"max_seq_length": 128, "input_seq_length": 40, "predict_seq_length": 10}
    changes = {"attention_heads": heads, "self_attention_heads": own, **limits}
    model = load_released(path, **changes)
    inputs, expected = golden_case(name)
    torch.testing.assert_close(model(inputs), expected, rtol=0, atol=2e-6)


def test_parts_that_are_never_reached_are_left_out(tmp_path):
    path = write(golden_weights("mobility_bert"), tmp_path / "model.npz")
    assert not [n for n in read_weights(path) if "pooler" in n or "word" in n]


def test_sizes_of_weights_by_hand():
    sizes = sizes_of(golden_weights("st_moe_bert"))
    assert sizes["model_name"] == "MobilityBERTMoE"
    assert (sizes["num_location_ids"], sizes["hidden_size"]) == (400, 48)
    assert (sizes["hidden_layers"], sizes["bert_intermediate_size"]) == (2, 3072)
    assert (sizes["experts"], sizes["location_embedding_size"]) == (8, 16)
    assert (sizes["days"], sizes["slots"], sizes["max_seq_length"]) == (75, 48, 128)
    assert sizes_of(golden_weights("mobility_bert"))["model_name"] == "MobilityBERT"


def test_sizes_of_another_model():
    with pytest.raises(CheckpointError, match="mine: 8 weights that tell the sizes"):
        sizes_of({"fc.weight": torch.zeros(2, 2)}, "mine")


def test_added_options_may_be_missing_and_keep_their_first_values(tmp_path, weights):
    path = write(weights, tmp_path / "model.pt")
    config = bert_preset("tiny", mask_token=True, prior=True)
    model = load_released(path, config)
    assert model.mask_token.abs().max() == 0
    inputs = random_windows(**full_extras())
    inputs.prior = torch.zeros_like(inputs.prior)
    torch.testing.assert_close(model(inputs), tiny_model(seed=3)(inputs))


def test_seed_is_for_weights_that_the_file_does_not_have(tmp_path, weights):
    path = write(weights, tmp_path / "model.pt")
    config = bert_preset("tiny", location_input="both", place_features_size=3)
    first, again, other = (load_released(path, config, seed) for seed in (1, 1, 2))
    one = first.place_projection.weight
    assert torch.equal(one, again.place_projection.weight)
    assert not torch.equal(one, other.place_projection.weight)


def test_missing_and_unknown_weights_are_named(weights):
    del weights["layer_norm.bias"]
    weights["fc.weight"] = torch.zeros(1)
    message = (
        r"mine: 1 weights are missing \(layer_norm.bias\) and 1 are unknown "
        r"\(fc.weight\); expected the \d+ weights"
    )
    with pytest.raises(CheckpointError, match=message):
        set_weights(tiny_model(), weights, "mine")


def test_shape_of_another_city(weights):
    message = r"location_embedding.weight has shape \(20, 8\); .* expects \(21, 8\)"
    with pytest.raises(CheckpointError, match=message):
        set_weights(tiny_model(num_location_ids=21), weights)


def test_refused_weights_leave_the_network_as_it_was(weights):
    model = tiny_model()
    weights["moe.gate.bias"] = torch.full((3,), torch.nan)
    with pytest.raises(CheckpointError, match=r"moe.gate.bias holds values .* not fin"):
        set_weights(model, weights)
    for name, value in tiny_model().state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


def test_half_precision_weights_become_those_of_the_network(weights):
    model = tiny_model()
    set_weights(model, {name: v.half() for name, v in weights.items()})
    assert model.layer_norm.weight.dtype == torch.float32


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(MissingFileError, match="weights of ST-MoE-BERT: no file at"):
        read_weights(tmp_path / "none.pt")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".npz"])
def test_file_that_is_broken(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"neither weights nor code")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_weights(path)


def test_objects_are_not_unpickled(tmp_path):
    path = tmp_path / "model.npz"
    np.savez(path, code=np.array([{"a": 1}], dtype=object))
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_weights(path)


def test_entries_beside_the_weights_are_named(tmp_path, weights):
    path = write({**weights, "epoch": 3}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"1 of \d+ entries are no tensors \(ep"):
        read_weights(path)


def test_names_that_repeat_without_their_prefix(tmp_path, weights):
    weights["module.layer_norm.bias"] = weights["layer_norm.bias"].clone()
    path = write(weights, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="names repeat"):
        read_weights(path)


@pytest.mark.parametrize(
    "given",
    [{}, {"dropout": 0.1}, {"config": TINY, "attention_heads": 2}],
)
def test_heads_must_come_from_somewhere(tmp_path, weights, given):
    path = write(weights, tmp_path / "model.pt")
    with pytest.raises(ConfigError, match="either a configuration or options with"):
        load_released(path, **given)
