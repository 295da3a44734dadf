"""Another anchor than mobility, and an encoder of mobility without the graph."""

import numpy as np
import pytest
import torch
from tests.small_run import one_thread  # noqa: F401 - a fixture for every test below
from tests.two_processes import HEADS, TOKENS, planted, settings

from mora.config import EncoderConfig
from mora.encoder.alignment import align, embed_tokens
from mora.encoder.contrastive import info_nce
from mora.encoder.model import AlignedModel, ModalityBatch
from mora.encoder.node_mlp import NodeMLP
from mora.errors import GraphError
from mora.graph.sampling import normalise
from mora.line import embed


def train(folder, features=None, **encoder):
    _, graph, line, given = planted()
    features = features or given
    config = EncoderConfig(**encoder)
    operator = normalise(graph)
    model, _ = align(line, operator, features, HEADS, config, settings(), folder)
    return model, features


def test_the_anchor_is_what_is_exported(tmp_path):
    model, features = train(tmp_path, anchor="poi")
    values = torch.from_numpy(features["poi"][0]).float()
    with torch.no_grad():
        expected = model.heads["poi"](values).numpy()
    np.testing.assert_allclose(embed_tokens(model, features), expected, atol=1e-6)


def test_mobility_stands_in_where_the_anchor_is_missing(tmp_path):
    *_, given = planted()
    absent = np.arange(TOKENS) % 4 == 0
    changed = given | {"poi": (given["poi"][0], ~absent)}
    model, features = train(tmp_path, changed, anchor="poi")
    got, mobility = embed_tokens(model, features), model.mobility().detach().numpy()
    np.testing.assert_array_equal(got[absent], mobility[absent])
    assert not np.allclose(got[~absent], mobility[~absent])


def test_each_anchor_gives_other_vectors(tmp_path):
    names = ["mobility", *HEADS]
    got = [embed_tokens(*train(tmp_path / n, anchor=n)).tobytes() for n in names]
    assert len(set(got)) == len(names)


def test_pairs_of_an_anchor_by_hand():
    rng = torch.Generator().manual_seed(0)
    values = {n: torch.randn(6, 3, generator=rng) for n in ("mobility", "a", "b")}
    mobility = NodeMLP(values["mobility"], rng)
    mobility.network = torch.nn.Identity()
    heads = {"a": torch.nn.Identity(), "b": torch.nn.Identity()}
    model = AlignedModel(mobility, heads, {"a": 0.5, "b": 0.2}, anchor="a")
    present = {"a": torch.arange(6) != 2, "b": torch.arange(6) != 4}
    batch = {n: ModalityBatch(values[n], present[n]) for n in heads}
    has_a, both = present["a"], present["a"] & present["b"]
    with_mobility = info_nce(
        values["mobility"][has_a], values["a"][has_a], temperature=0.5
    )
    with_b = info_nce(values["a"][both], values["b"][both], temperature=0.2)
    torch.testing.assert_close(
        model(torch.arange(6), batch), (with_mobility + with_b) / 2
    )


def test_the_network_over_tokens_sees_no_neighbour():
    rows = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    first = NodeMLP(rows, torch.Generator().manual_seed(1))
    rows[1:] = 0
    second = NodeMLP(rows, torch.Generator().manual_seed(1))
    torch.testing.assert_close(first()[0], second()[0])
    torch.testing.assert_close(first()[[3, 1]], first(torch.tensor([3, 1])))
    other = NodeMLP(rows, torch.Generator().manual_seed(2))
    assert not torch.allclose(second()[0], other()[0])


def test_without_the_graph_training_gives_other_vectors(tmp_path):
    graph = embed_tokens(*train(tmp_path / "graph"))
    alone = embed_tokens(*train(tmp_path / "mlp", kind="mlp"))
    assert graph.shape == alone.shape
    assert not np.allclose(graph, alone)


def test_random_vectors_take_the_place_of_line():
    _, graph, line, _ = planted()
    got = embed(graph, "random", dim=line.shape[1], scale=0.3)
    assert got.shape == line.shape
    assert got.std() == pytest.approx(0.3, rel=0.15)
    np.testing.assert_allclose(
        embed(graph, "random", dim=4, scale=0.6) / 2,
        embed(graph, "random", dim=4, scale=0.3),
        rtol=1e-6,
    )
    assert not np.array_equal(got, embed(graph, "random", dim=line.shape[1], seed=1))
    with pytest.raises(GraphError, match=r"scale is 0\.0; expected above 0"):
        embed(graph, "random", scale=0.0)
