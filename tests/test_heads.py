"""Heads of the modalities, and the model that aligns them with mobility."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import nn

from mora.encoder.contrastive import info_nce
from mora.encoder.heads import HIDDEN, make_head
from mora.encoder.lightgcn import LightGCN, Propagation
from mora.encoder.model import AlignedModel, ModalityBatch
from mora.graph.sampling import normalise
from mora.graph.storage import MobilityGraph

TOKENS, DIM = 24, 6
WIDTHS = {"poi": 10, "demographics": 3}
TEMPERATURES = {"poi": 0.5, "demographics": 0.7}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_rows(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


# make_head


def test_linear_head_is_one_layer():
    head = make_head("linear", 1024, 128, generator())
    assert isinstance(head, nn.Linear)
    assert head.weight.shape == (128, 1024)
    x = random_rows(4, 1024)
    torch.testing.assert_close(head(x), x @ head.weight.T + head.bias)


def test_mlp_head_has_64_hidden_units_and_a_relu():
    head = make_head("mlp", 40, 128, generator())
    first, _, last = head
    assert (first.weight.shape, last.weight.shape) == ((HIDDEN, 40), (128, HIDDEN))
    assert HIDDEN == 64
    x = random_rows(4, 40)
    hidden = (x @ first.weight.T + first.bias).clamp(min=0)
    torch.testing.assert_close(head(x), hidden @ last.weight.T + last.bias)


@pytest.mark.parametrize("columns", [6, 600])
def test_weights_fill_the_kaiming_bounds(columns):
    head = make_head("linear", columns, 2000, generator())
    bound = math.sqrt(6 / columns)
    assert head.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert head.weight.abs().max() <= bound
    assert head.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert head.bias.abs().max().item() == pytest.approx(columns**-0.5, rel=0.01)
    assert head.bias.abs().max() <= columns**-0.5


def test_weights_keep_the_size_of_a_relu_layer():
    # Gain sqrt(2): the mean square of the outputs is twice that of the inputs.
    head = make_head("linear", 500, 4000, generator())
    x = random_rows(20, 500)
    ratio = (head(x) - head.bias).square().mean() / x.square().mean()
    assert ratio.item() == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_generator_alone_decides_the_weights(kind):
    heads = []
    for seed, global_seed in ((0, 1), (0, 2), (3, 1)):
        torch.manual_seed(global_seed)
        heads.append(make_head(kind, 5, 4, generator(seed)).state_dict())
    for name in heads[0]:
        assert torch.equal(heads[0][name], heads[1][name])
        assert not torch.equal(heads[0][name], heads[2][name])


def test_kind_columns_and_dim_shape_the_head():
    sizes = {
        (kind, columns, dim): sum(
            p.numel() for p in make_head(kind, columns, dim, generator()).parameters()
        )
        for kind in ("linear", "mlp")
        for columns, dim in ((5, 4), (6, 4), (5, 3))
    }
    assert sizes["linear", 5, 4] == 5 * 4 + 4
    assert sizes["mlp", 5, 4] == 5 * 64 + 64 + 64 * 4 + 4
    assert len(set(sizes.values())) == 6


# AlignedModel


def make_model(temperatures=TEMPERATURES, layers=2):
    rng = np.random.default_rng(0)
    weight = np.triu(rng.integers(0, 5, (TOKENS, TOKENS)), 1).astype(float)
    graph = MobilityGraph.from_matrix(sp.csr_array(weight))
    mobility = LightGCN(
        random_rows(TOKENS, DIM), Propagation(*normalise(graph)), layers
    )
    heads = {
        name: make_head("mlp" if name == "demographics" else "linear", width, DIM, g)
        for (name, width), g in zip(WIDTHS.items(), map(generator, (1, 2)), strict=True)
    }
    return AlignedModel(mobility, heads, temperatures)


def make_modalities(missing=()):
    """Give features to every token, but those in ``missing`` no POI."""
    present = torch.ones(TOKENS, dtype=torch.bool)
    poi = present.clone()
    poi[list(missing)] = False
    return {
        "poi": ModalityBatch(random_rows(TOKENS, WIDTHS["poi"], seed=3), poi),
        "demographics": ModalityBatch(
            random_rows(TOKENS, WIDTHS["demographics"], seed=4), present
        ),
    }


def loss_by_hand(model, batch, modalities):
    """Contrast each modality over the tokens that have it; mean of the losses."""
    embedding, losses = model.mobility(), []
    for name, features in modalities.items():
        rows = [token for token in batch.tolist() if features.present[token]]
        projected = model.heads[name](features.values[rows])
        temperature = model.temperatures[name]
        losses.append(info_nce(embedding[rows], projected, temperature=temperature))
    return sum(losses) / len(losses)


BATCH = torch.tensor([20, 3, 5, 4, 11, 7, 0, 23])


@pytest.mark.parametrize("missing", [(), (3, 7, 9)])
def test_loss_is_the_mean_over_modalities_of_the_tokens_that_have_them(missing):
    model, modalities = make_model(), make_modalities(missing)
    expected = loss_by_hand(model, BATCH, modalities)
    torch.testing.assert_close(model(BATCH, modalities), expected)


def test_features_of_missing_tokens_do_not_matter():
    model, modalities = make_model(), make_modalities(missing=(3, 7, 9))
    loss = model(BATCH, modalities)
    modalities["poi"].values[[3, 7, 9]] = torch.nan
    assert torch.equal(model(BATCH, modalities), loss)


def test_order_of_the_batch_does_not_matter():
    model, modalities = make_model(), make_modalities()
    torch.testing.assert_close(
        model(BATCH.flip(0), modalities), model(BATCH, modalities)
    )


@pytest.mark.parametrize("name", TEMPERATURES)
def test_each_temperature_changes_the_loss(name):
    modalities = make_modalities()
    changed = make_model(TEMPERATURES | {name: 0.1})
    assert changed(BATCH, modalities) != make_model()(BATCH, modalities)


def test_batch_and_graph_encoder_change_the_loss():
    modalities = make_modalities()
    loss = make_model()(BATCH, modalities)
    assert make_model()(BATCH[:5], modalities) != loss
    assert make_model(layers=0)(BATCH, modalities) != loss


def test_a_modality_that_one_token_has_is_left_out():
    model = make_model()
    few = make_modalities(missing=set(range(TOKENS)) - {3})
    alone = {"demographics": few["demographics"]}
    expected = loss_by_hand(model, BATCH, alone)
    torch.testing.assert_close(model(BATCH, few), expected)


def test_without_two_tokens_of_a_modality_the_loss_is_zero():
    model = make_model()
    loss = model(BATCH[:1], make_modalities())
    assert loss.item() == 0
    loss.backward()
    assert not model.mobility.features.grad.any()


def test_gradients_reach_the_graph_and_every_head():
    model = make_model()
    model(BATCH, make_modalities()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_temperatures_are_not_learned():
    names = [name for name, _ in make_model().named_parameters()]
    assert not any("temperature" in name for name in names)
