import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.periodic_users import MINUTES, periodic_users

from mora.config import TrainingConfig
from mora.errors import MoraError
from mora.trajectories.raw.contrastive import (
    ContrastiveConfig,
    ContrastiveTask,
    augment,
    pretrain_contrastive,
)
from mora.trajectories.raw.inputs import make_inputs
from mora.trajectories.raw.network import make_network
from mora.trajectories.raw.presets import raw_preset
from mora.trajectories.raw.pretraining import NextPointTask
from mora.trajectories.raw.saved import CARD, load_raw
from mora.trajectories.raw.user_vectors import embed_users

BOX = (139.6, 35.6, 139.9, 35.9)


def config(**changes):
    return raw_preset("test", **{"minutes": MINUTES, "layers": 1} | changes)


def training(**changes):
    given = {"learning_rate": 3e-3, "batch_size": 8, "epochs": 4, "accelerator": "cpu"}
    return TrainingConfig(**given | {"validation_share": 0.25} | changes)


def task(steps=None, options=None, *, seed=0, settings=None, **changes):
    steps = periodic_users(24) if steps is None else steps
    options = ContrastiveConfig(dim=8, **options or {})
    return ContrastiveTask(
        steps, config(**changes), settings or training(), options, seed
    )


def first_loss(**arguments):
    made = task(**arguments)
    return made.loss(made.model, made.batches(0)[0]).item()


def test_loss_agrees_with_whole_trajectories_compared_in_numpy():
    # Without crop and jitter both views are the trajectory itself.
    made = task(options={"crop": 1.0, "jitter": 0.0, "temperature": 0.5})
    users, seed = made.batches(0)[0]
    inputs = make_inputs(made.steps.take_users(users.numpy()), made.config)
    with torch.no_grad():
        projected = F.normalize(made.model(*inputs, 0), dim=1).numpy()
    logits = projected @ projected.T / 0.5
    expected = (np.log(np.exp(logits).sum(axis=1)) - np.diag(logits)).mean()
    assert made.loss(made.model, (users, seed)).item() == pytest.approx(
        expected, rel=1e-4
    )


def test_users_alike_cannot_be_told_apart():
    steps = periodic_users(24)
    same = replace(steps, lonlat=np.repeat(steps.lonlat[:1], 24, axis=0))
    made = task(same, {"jitter": 0.0, "crop": 0.5})
    users, seed = made.batches(0)[0]
    loss = made.loss(made.model, (users, seed)).item()
    assert loss == pytest.approx(math.log(len(users)), rel=1e-4)


@pytest.mark.parametrize(
    "options", [{"temperature": 0.3}, {"crop": 0.9}, {"jitter": 0.2}]
)
def test_options_change_the_loss(options):
    assert first_loss(options=options) != first_loss()


def test_width_of_the_projection_changes_the_loss():
    steps, losses = periodic_users(24), []
    for dim in (4, 8):
        made = ContrastiveTask(
            steps, config(), training(), ContrastiveConfig(dim=dim), 0
        )
        losses.append(made.loss(made.model, made.batches(0)[0]).item())
    assert losses[0] != losses[1]


def test_hidden_steps_matter_with_gap_mask():
    for gap_mask in (False, True):
        losses = {
            first_loss(options={"hidden": h}, gap_mask=gap_mask) for h in (0, 0.5)
        }
        assert len(losses) == 1 + gap_mask


def test_augmentation_is_as_large_as_asked():
    inputs = make_inputs(periodic_users(200), config(box=BOX))
    options = ContrastiveConfig(jitter=0.1, hidden=0.3)
    view = augment(inputs, options, np.random.default_rng(0))
    assert (view.points - inputs.points).std().item() == pytest.approx(0.1, rel=0.05)
    assert view.known.float().mean().item() == pytest.approx(0.7, abs=0.02)
    assert torch.equal(view.times, inputs.times)


def test_nothing_changed_is_nothing_changed():
    inputs = make_inputs(periodic_users(2), config(box=BOX))
    view = augment(
        inputs, ContrastiveConfig(jitter=0.0, hidden=0.0), np.random.default_rng(0)
    )
    assert all(torch.equal(a, b) for a, b in zip(view, inputs, strict=True))


def test_batches_are_those_of_the_next_point():
    steps = periodic_users(24)
    other = NextPointTask(steps, config(), training(), 0)
    made = task(steps)
    for first, second in zip(made.batches(1), other.batches(1), strict=True):
        assert torch.equal(first[0], second[0])
    assert made.config == other.config
    first, second = (t.held_out for t in (made, other))
    assert torch.equal(first, second)


def test_views_depend_on_seed_epoch_and_batch_only():
    assert first_loss() == first_loss()
    made = task()
    users = made.batches(0)[0][0]
    seeds = [made.batches(0)[0][1], made.batches(1)[0][1], made.batches(0)[1][1]]
    losses = {made.loss(made.model, (users, seed)).item() for seed in seeds}
    assert len(losses) == 3
    assert first_loss(seed=1) != first_loss()
    assert made.validation_loss(made.model) == made.validation_loss(made.model)


def test_the_least_crop_is_one_step():
    assert math.isfinite(first_loss(options={"crop": 0.001}))


def test_too_few_users_are_refused():
    with pytest.raises(MoraError, match="2 users to train on and 1 held out"):
        task(periodic_users(3))


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="temperature"):
        ContrastiveConfig(temperature=0.0)


def test_users_never_seen_are_told_apart_better_than_before(tmp_path):
    settings = training(epochs=10, patience=10, batch_size=16)
    steps = periodic_users(80)
    before = task(steps, {"temperature": 0.1}, seed=2, settings=settings)
    untrained = before.validation_loss(before.model)
    result = pretrain_contrastive(
        steps, config(), settings, tmp_path, options=before.options, seed=2
    )
    assert result.state.best_loss < 0.5 * untrained


def test_what_is_saved_is_the_network_without_its_projection(tmp_path):
    steps = periodic_users(24)
    settings = training(learning_rate=1e-2, epochs=3)
    result = pretrain_contrastive(steps, config(), settings, tmp_path, seed=1)
    read = load_raw(tmp_path)
    vectors = embed_users(result.network, steps)
    np.testing.assert_array_equal(embed_users(read, steps), vectors)
    card = json.loads((tmp_path / CARD).read_text())
    assert card["objective"] == "contrast"
    assert card["contrast"]["temperature"] == 0.1
    assert card["users"] == {"training": 18, "held_out": 6}
    untrained = make_network(read.config, 1)
    assert not np.allclose(embed_users(untrained, steps), vectors)
