import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.periodic_users import MINUTES, make_steps, periodic_users

from mora.config import TrainingConfig
from mora.errors import MissingFileError, MoraError
from mora.training import TrainingState
from mora.trajectories.raw.batches import mean_over_processes, split_users
from mora.trajectories.raw.contrastive import pretrain_contrastive
from mora.trajectories.raw.forecast import forecast
from mora.trajectories.raw.inputs import make_inputs, study_box
from mora.trajectories.raw.network import make_network
from mora.trajectories.raw.presets import RAW_TRAINING, raw_preset
from mora.trajectories.raw.pretraining import (
    FailureSignWarning,
    NextPointTask,
    failure_signs,
    pretrain_raw,
)
from mora.trajectories.raw.saved import CARD, WEIGHTS, load_raw, save_raw
from mora.trajectories.raw.user_vectors import embed_users


def config(**changes):
    return raw_preset("test", **{"minutes": MINUTES, "layers": 1} | changes)


def training(**changes):
    given = {"learning_rate": 3e-3, "batch_size": 8, "epochs": 2, "accelerator": "cpu"}
    return TrainingConfig(**given | changes)


def task(steps=None, *, seed=0, settings=None, **changes):
    steps = periodic_users(20) if steps is None else steps
    return NextPointTask(steps, config(**changes), settings or training(), seed)


def silently(*arguments, pretrain=pretrain_raw, **options):
    """Pretrain too shortly to learn, which is warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FailureSignWarning)
        return pretrain(*arguments, **options)


def weights(network):
    return torch.cat([p.detach().ravel() for p in network.parameters()])


def test_loss_by_hand():
    # The head says 0 everywhere; the next points are (1, 1) and (1, -1).
    box = (0.0, 0.0, 2.0, 2.0)
    steps = make_steps([[[0, 0], [2, 2], [2, 0]]] * 2, minutes=MINUTES)
    made = task(steps, box=box)
    with torch.no_grad():
        made.model.head[3].weight.zero_()
    assert made.loss(made.model, (torch.tensor([0]), [0])).item() == pytest.approx(1.0)
    assert made.validation_loss(made.model) == pytest.approx(1.0)


def test_loss_agrees_with_a_loop():
    made = task(periodic_users(5))
    batch = torch.tensor([3, 1])
    losses = []
    for user in batch.tolist():
        inputs = make_inputs(made.steps.take_users([user]), made.config)
        output = made.model(*inputs)[0].detach()
        for step in range(output.shape[0] - 1):
            error = output[step] - inputs.points[0, step + 1]
            losses += [float(error[0]) ** 2, float(error[1]) ** 2]
    assert made.loss(made.model, (batch, [0])).item() == pytest.approx(
        np.mean(losses), rel=1e-4
    )


def test_steps_without_a_fix_are_scored_only_without_gap_mask():
    steps = periodic_users(6)
    known = np.random.default_rng(0).random(steps.known.shape) < 0.6
    steps = replace(steps, known=known)
    elsewhere = np.where(known[..., None], steps.lonlat, np.float32(139.0))
    moved = replace(steps, lonlat=elsewhere)
    box = study_box(steps.lonlat[known])
    batch = torch.arange(6)
    for gap_mask in (False, True):
        losses = [
            made.loss(made.model, (batch, [0])).item()
            for made in (task(s, gap_mask=gap_mask, box=box) for s in (steps, moved))
        ]
        assert (losses[0] == losses[1]) is gap_mask


def test_a_batch_without_any_known_step_has_no_loss():
    steps = periodic_users(4)
    known = steps.known.copy()
    known[1] = False
    made = task(replace(steps, known=known), gap_mask=True)
    assert made.loss(made.model, (torch.tensor([1]), [0])).item() == 0.0


def test_every_user_is_trained_on_once_or_held_out():
    made = task(periodic_users(21), settings=training(validation_share=0.3))
    batches = [users for users, _ in made.batches(0)]
    assert max(map(len, batches)) <= 8
    trained = torch.cat(list(batches)).sort().values
    assert torch.equal(trained, made.training_users)
    everyone = torch.cat([made.training_users, made.held_out]).sort().values
    assert torch.equal(everyone, torch.arange(21))
    assert len(made.held_out) == 6


def test_order_depends_on_epoch_and_seed_only():
    first, again = task().batches(0), task().batches(0)
    for (users, seed), (same, same_seed) in zip(first, again, strict=True):
        assert torch.equal(users, same)
        assert seed == same_seed
    assert not torch.equal(first[0][0], task().batches(1)[0][0])
    assert not torch.equal(first[0][0], task(seed=1).batches(0)[0][0])
    assert len(task(settings=training(batch_size=4)).batches(0)) > len(first)


def test_somebody_is_on_each_side_whatever_the_share():
    for share, held_out in [(0.01, 1), (0.99, 2)]:
        kept, others = split_users(periodic_users(3), share, 0)
        assert (len(kept), len(others)) == (3 - held_out, held_out)


def test_the_box_is_that_of_the_users_trained_on():
    steps = periodic_users(20)
    made = task(steps)
    of_trained = steps.lonlat[made.training_users.numpy()].reshape(-1, 2)
    assert made.config.box == study_box(of_trained)
    assert task(steps, box=(139.0, 35.0, 140.0, 36.0)).config.box[0] == 139.0


@pytest.mark.parametrize(("users", "days", "taken"), [(1, 2, 8), (3, 1, 1)])
def test_too_little_to_train_on_is_refused(users, days, taken):
    steps = periodic_users(users, days)
    steps = make_steps(steps.lonlat[:, :taken], minutes=MINUTES)
    with pytest.raises(MoraError, match=f"{users} users with {taken} steps each"):
        task(steps)


def test_what_is_saved_is_read_back(tmp_path):
    seen = []
    steps = periodic_users(20)
    result = silently(
        steps,
        config(output="mixture"),
        training(),
        tmp_path,
        seed=3,
        progress=lambda *at: seen.append(at),
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [CARD, WEIGHTS]
    read = load_raw(tmp_path)
    assert read.config == result.network.config
    assert read.config.box is not None
    assert torch.equal(weights(read), weights(result.network))
    card = json.loads((tmp_path / CARD).read_text())
    assert card["users"] == {"training": 18, "held_out": 2}
    assert card["objective"] == "next point"
    assert card["seed"] == 3
    assert len(card["history"]) == 2
    assert card["signs"] == result.signs
    assert seen[-1][0] == seen[-1][1]


def test_the_seed_gives_the_weights(tmp_path):
    steps = periodic_users(12)
    first, again, other = (
        weights(silently(steps, config(), training(), tmp_path, seed=seed).network)
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_reading_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match=r"a pretrained RAW network: .*model\.s"):
        load_raw(tmp_path)


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_any_precision_gives_a_network_that_can_be_used(tmp_path, precision):
    options = {"output": "mixture", "covariance": "full", "time_features": True}
    steps, settings = periodic_users(8), training(precision=precision, epochs=1)
    network = silently(steps, config(**options), settings, tmp_path).network
    assert np.isfinite(forecast(network, steps, 2)).all()
    assert np.isfinite(embed_users(network, steps)).all()
    assert load_raw(tmp_path).config == network.config


@pytest.mark.parametrize("pretrain", [pretrain_raw, pretrain_contrastive])
def test_a_run_that_was_killed_ends_with_the_same_weights(tmp_path, pretrain):
    settings = training(checkpoint_seconds=0.0, validation_share=0.25)
    given = (periodic_users(24), config(dropout=0.2), settings)
    whole = silently(*given, tmp_path / "whole", pretrain=pretrain)

    def stop(done, total):
        if done == total - 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        silently(*given, tmp_path / "killed", pretrain=pretrain, progress=stop)
    again = silently(*given, tmp_path / "killed", pretrain=pretrain)
    assert torch.equal(weights(again.network), weights(whole.network))


def test_a_card_keeps_further_facts(tmp_path):
    network = make_network(config(), 0)
    save_raw(network, tmp_path / "new", {"city": "planted"})
    card = json.loads((tmp_path / "new" / CARD).read_text())
    assert (card["city"], card["config"]["width"]) == ("planted", 32)


def state(losses, best=None):
    history = [{"training": t, "validation": v} for t, v in losses]
    best = len(history) if best is None else best
    return TrainingState(epoch=len(history), best_epoch=best, history=history)


def test_a_run_that_works_shows_no_sign():
    good = state([(0.4, 0.4), (0.1, 0.12)])
    assert failure_signs(good, in_nats=False) == []
    assert failure_signs(state([(0.4, 0.4)]), in_nats=False) == []
    assert failure_signs(state([(1.0, 1.0), (-2.0, -1.9)]), in_nats=True) == []


def test_no_fall_of_the_loss_is_a_sign():
    flat = state([(0.40, 0.4), (0.39, 0.4)])
    assert (
        "fell from 0.4 in the first epoch to 0.39"
        in failure_signs(flat, in_nats=False)[0]
    )
    # The same differences of a negative log likelihood may be far from nothing.
    deep = state([(-0.40, -0.4), (-0.47, -0.4)])
    assert failure_signs(deep, in_nats=True) == []


def test_a_gap_at_the_best_epoch_is_a_sign():
    fitted = [(0.4, 0.4), (0.2, 0.32)]
    assert "users held out is 0.32" in failure_signs(state(fitted), in_nats=False)[0]
    assert failure_signs(state(fitted, best=1), in_nats=False) == []
    assert failure_signs(state(fitted), in_nats=True) == []
    assert len(failure_signs(state([(1.0, 1.0), (0.0, 0.6)]), in_nats=True)) == 1


def test_a_loss_of_nothing_is_no_sign():
    assert failure_signs(state([(0.1, 0.1), (0.0, 0.0)]), in_nats=False) == []


def test_a_sign_is_warned_of(tmp_path):
    still = training(learning_rate=1e-12)
    same = make_steps(np.repeat(periodic_users(1).lonlat, 8, axis=0), minutes=MINUTES)
    with pytest.warns(FailureSignWarning, match="the training loss fell from"):
        pretrain_raw(same, config(), still, tmp_path)


def test_mean_of_nothing_is_zero():
    mean = mean_over_processes(torch.tensor(0.0), torch.tensor(0))
    assert mean.item() == 0.0


def test_mean_over_processes_has_the_gradient_of_one(monkeypatch):
    # Two processes: the other one holds a sum of 10 of 3.
    def with_other(x):
        return x + torch.tensor([10.0, 3.0])

    monkeypatch.setattr("mora.trajectories.raw.batches.sum_over_processes", with_other)
    monkeypatch.setattr("mora.trajectories.raw.batches.process_count", lambda: 2)
    total = torch.tensor(2.0, requires_grad=True)
    mean = mean_over_processes(total, torch.tensor(1))
    mean.backward()
    assert mean.item() == pytest.approx(12 / 4)
    assert total.grad.item() == pytest.approx(2 / 4)  # halved when averaged


@pytest.mark.slow
def test_a_real_step_of_the_base_network(tmp_path):
    lonlat = np.random.default_rng(0).uniform(139.0, 139.5, (3, 960, 2))
    lonlat[..., 1] -= 104
    settings = RAW_TRAINING.model_copy(update={"batch_size": 2, "epochs": 1})
    base = raw_preset("base", box=(139.0, 35.0, 139.5, 35.5))
    before = make_network(base, 0)
    result = silently(make_steps(lonlat), base, settings, tmp_path)
    assert np.isfinite(result.state.best_loss)
    moved = (weights(result.network) - weights(before)).abs().max().item()
    # Adam's first step is as long as the learning rate.
    assert moved == pytest.approx(RAW_TRAINING.learning_rate, rel=0.1)
