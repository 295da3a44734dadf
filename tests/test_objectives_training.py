"""Training with other objectives: each one learns, all add up, options count."""

import numpy as np
import pytest
import torch
from tests.small_run import one_thread  # noqa: F401 - a fixture for every test below
from tests.two_processes import HEADS, planted, settings

from mora.config import EncoderConfig
from mora.config.objectives import ObjectivesConfig
from mora.encoder.alignment import align, build_model, embed_tokens
from mora.encoder.model import ModalityBatch
from mora.errors import ConfigError
from mora.graph.sampling import normalise

OFF = {"contrastive": {"weight": 0}}
ALL = {"masked", "vicreg", "barlow", "flow", "neighbours"}


def alone(name, **options):
    return ObjectivesConfig(**OFF | {name: {"weight": 1, **options}})


def train(folder, objectives, *, given=None, graph=True, **changes):
    _, flows, line, features = planted()
    return align(
        line,
        normalise(flows),
        features if given is None else given,
        {name: HEADS[name] for name in HEADS},
        EncoderConfig(),
        settings(**changes),
        folder,
        objectives=objectives,
        graph=flows if graph else None,
    )


def model_of(objectives):
    _, graph, line, features = planted()
    batches = {
        name: ModalityBatch(torch.from_numpy(values), torch.from_numpy(present))
        for name, (values, present) in features.items()
    }
    widths = {name: values.shape[1] for name, (values, _) in features.items()}
    model = build_model(
        line, normalise(graph), widths, HEADS, EncoderConfig(), 0,
        objectives=objectives, modalities=batches, graph=graph,
    )  # fmt: skip
    return model.eval(), batches


@pytest.mark.parametrize("name", ["contrastive", *sorted(ALL)])
def test_each_alone_learns(tmp_path, name):
    model, state = train(tmp_path, alone(name), epochs=15)
    assert state.best_loss < 0.97 * state.history[0]["validation"]
    *_, line, features = planted()
    assert not np.allclose(embed_tokens(model, features), embed_tokens(
        build_model(line, normalise(planted()[1]), {}, {}, EncoderConfig(), 0), {}
    ))  # fmt: skip


def test_the_loss_is_the_weighted_sum():
    weights = {"contrastive": 0.5, "masked": 2.0, "flow": 0.25, "barlow": 0.1}
    both = ObjectivesConfig(**{name: {"weight": w} for name, w in weights.items()})
    model, batches = model_of(both)
    parts = 0.0
    for name, weight in weights.items():
        single, _ = model_of(alone(name))
        parts += weight * single(torch.arange(30), batches).item()
    assert model(torch.arange(30), batches).item() == pytest.approx(parts, rel=1e-5)


def test_by_default_it_is_the_contrastive_loss_to_the_last_bit(tmp_path):
    *_, line, features = planted()
    graph = planted()[1]
    plain, _ = align(
        line, normalise(graph), features, HEADS, EncoderConfig(), settings(),
        tmp_path / "plain",
    )  # fmt: skip
    given, _ = train(tmp_path / "given", alone("contrastive"))
    assert (
        embed_tokens(plain, features).tobytes()
        == embed_tokens(given, features).tobytes()
    )
    assert not any("objectives" in name for name, _ in plain.named_parameters())


def test_a_run_that_was_stopped_ends_with_the_same_weights(tmp_path):
    config = alone("flow").model_copy(update={"masked": alone("masked").masked})
    whole, _ = train(tmp_path / "whole", config, epochs=6, batch_size=20)
    train(tmp_path / "half", config, epochs=3, batch_size=20)
    resumed, _ = train(tmp_path / "half", config, epochs=6, batch_size=20)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_all_together_at_every_precision(tmp_path, precision):
    config = ObjectivesConfig(
        contrastive={"temperature": "learned", "false_negatives": 0.9},
        **{name: {"weight": 0.5} for name in ALL},
    )
    model, state = train(tmp_path, config, epochs=2, precision=precision)
    assert np.isfinite(state.best_loss)
    names = {name.split(".")[1] for name in model.state_dict() if "objectives" in name}
    assert names == {"contrastive", "masked", "flow", "neighbours"}


def test_flows_can_be_learned_without_any_modality(tmp_path):
    _, state = train(tmp_path / "flow", alone("flow"), given={})
    assert state.epoch == 10
    _, state = train(tmp_path / "none", alone("masked"), given={})
    assert state.epoch == 0


def test_without_a_graph_flows_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"objectives\.flow: got no mobility graph"):
        train(tmp_path, alone("flow"), graph=False)
