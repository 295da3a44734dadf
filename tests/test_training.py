import json
import math
from itertools import pairwise

import pytest
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from safetensors import safe_open
from tests.small_run import one_thread  # noqa: F401 - a fixture for every test below
from torch import nn

from mora.config import TrainingConfig
from mora.errors import ConfigError, RunError
from mora.training import TrainingState, fit, loop
from mora.training.loop import CHECKPOINT
from mora.training.optimiser import learning_rate_factor, make_optimiser


class Killed(Exception):
    """The process ends here."""


class Fit:
    """Linear regression on a fixed sample, two batches an epoch.

    Args:
        killed_in: epoch in which the process ends, in its second batch.
        validation: validation losses to report instead of the true ones.
    """

    def __init__(self, killed_in=None, validation=None):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(40, 3, generator=generator)
        self.y = self.x @ torch.tensor([1.0, -2.0, 3.0])
        self.model = nn.Linear(3, 1)
        with torch.no_grad():
            self.model.weight.copy_(torch.tensor([[0.5, 0.25, -0.5]]))
            self.model.bias.fill_(0.125)
        self.killed_in = killed_in
        self.validation = validation
        self.epochs = []
        self.taken = 0

    def batches(self, epoch):
        self.epochs.append(epoch)
        order = torch.randperm(32, generator=torch.Generator().manual_seed(epoch))
        return [order[:16], order[16:]]

    def loss(self, model, batch):
        self.taken += 1
        if self.killed_in is not None and self.taken == 2 * self.killed_in + 2:
            raise Killed
        return ((model(self.x[batch])[:, 0] - self.y[batch]) ** 2).mean()

    def validation_loss(self, model):
        if self.validation is not None:
            return self.validation[self.epochs[-1]]
        return ((model(self.x[32:])[:, 0] - self.y[32:]) ** 2).mean().item()


def settings(**changes):
    given = {"learning_rate": 0.1, "epochs": 6, "accelerator": "cpu"}
    return TrainingConfig(**given | changes)


def weights(task):
    return {name: value.clone() for name, value in task.model.state_dict().items()}


def assert_same_bits(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_known_first_step(tmp_path):
    # Adam's first step has the length of the learning rate, whatever the gradient.
    class Task(Fit):
        def batches(self, epoch):
            self.epochs.append(epoch)
            return [epoch]

        def loss(self, model, _batch):
            return 7 * model.bias.sum()

    task = Task(validation=[1.0])
    fit(task, settings(epochs=1, learning_rate=0.25), tmp_path)
    assert task.model.bias.item() == pytest.approx(0.125 - 0.25, rel=1e-6)


@pytest.mark.parametrize("optimizer", ["adamw", "adam"])
def test_agrees_with_a_plain_loop(tmp_path, optimizer):
    config = settings(optimizer=optimizer, weight_decay=0.1, epochs=4)
    task, plain = Fit(), Fit()
    state = fit(task, config, tmp_path)
    kind = torch.optim.AdamW if optimizer == "adamw" else torch.optim.Adam
    parameters = [
        {"params": [plain.model.weight], "weight_decay": 0.1},
        {"params": [plain.model.bias], "weight_decay": 0.0},
    ]
    optimiser = kind(parameters, lr=0.1)
    losses = []
    for epoch in range(4):
        for batch in plain.batches(epoch):
            optimiser.zero_grad()
            plain.loss(plain.model, batch).backward()
            optimiser.step()
        losses.append(plain.validation_loss(plain.model))
    assert losses == sorted(losses, reverse=True)  # so the last weights are the best
    assert_same_bits(weights(task), weights(plain))
    assert [record["validation"] for record in state.history] == losses


@pytest.mark.parametrize("killed_in", [1, 3, 5])
@pytest.mark.parametrize("optimizer", ["adamw", "adam"])
def test_a_killed_run_ends_with_the_same_bits(tmp_path, optimizer, killed_in):
    config = settings(optimizer=optimizer, checkpoint_seconds=0)
    whole = Fit()
    expected = fit(whole, config, tmp_path / "whole")
    with pytest.raises(Killed):
        fit(Fit(killed_in=killed_in), config, tmp_path / "killed")
    again = Fit()
    state = fit(again, config, tmp_path / "killed")
    assert again.epochs == list(range(killed_in, 6))
    assert_same_bits(weights(again), weights(whole))
    assert state == expected


def test_best_weights_survive_a_kill(tmp_path):
    validation = [3.0, 1.0, 2.0, 2.0, 2.0, 2.0]
    config = settings(checkpoint_seconds=0)
    best = Fit(validation=validation)
    fit(best, settings(epochs=2), tmp_path / "best")
    with pytest.raises(Killed):
        fit(Fit(killed_in=4, validation=validation), config, tmp_path / "killed")
    again = Fit(validation=validation)
    fit(again, config, tmp_path / "killed")
    assert_same_bits(weights(again), weights(best))


def test_a_finished_run_is_not_trained_again(tmp_path):
    first, second = Fit(), Fit()
    before = fit(first, settings(), tmp_path)
    assert fit(second, settings(), tmp_path) == before
    assert second.epochs == []
    assert_same_bits(weights(first), weights(second))


@pytest.mark.parametrize(
    ("patience", "epochs"), [(1, 3), (2, 4), (3, 5), (4, 8), (9, 8)]
)
def test_stops_when_patience_is_used_up(tmp_path, patience, epochs):
    validation = [3.0, 2.0, 2.5, 2.4, 2.3, 1.0, 1.0, 1.0]
    task = Fit(validation=validation)
    state = fit(task, settings(epochs=8, patience=patience), tmp_path)
    assert state.epoch == len(state.history) == epochs
    assert state.best_epoch == (2 if epochs <= 5 else 6)  # equal is not better
    # The weights left are those of the best epoch.
    best = Fit(validation=validation)
    fit(best, settings(epochs=state.best_epoch), tmp_path / "best")
    assert_same_bits(weights(task), weights(best))


@pytest.mark.parametrize(
    ("state", "over"),
    [
        (TrainingState(), False),
        (TrainingState(epoch=6, best_epoch=6), True),
        (TrainingState(epoch=5, best_epoch=3), True),
        (TrainingState(epoch=5, best_epoch=4), False),
    ],
)
def test_training_is_over(state, over):
    assert state.finished(settings(epochs=6, patience=2)) == over


@pytest.mark.parametrize("optimizer", ["adamw", "adam"])
def test_only_matrices_decay(optimizer):
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    config = settings(optimizer=optimizer, weight_decay=0.1)
    optimiser = make_optimiser(model, config)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    matrix, *others = model.parameters()
    for parameter, old in zip(others, before[1:], strict=True):
        torch.testing.assert_close(parameter.detach(), old, rtol=0, atol=0)
    if optimizer == "adamw":  # decoupled: a step without gradient scales the matrix
        torch.testing.assert_close(matrix.detach(), before[0] * (1 - 0.1 * 0.1))
    else:  # an L2 penalty: Adam's first step has the length of the learning rate
        step = (before[0] - matrix.detach()) / before[0].sign()
        torch.testing.assert_close(step, torch.full_like(step, 0.1), rtol=1e-3, atol=0)


def test_no_decay_is_no_decay():
    model = nn.Linear(3, 2)
    optimiser = make_optimiser(model, settings(weight_decay=0.0))
    before = model.weight.detach().clone()
    model.weight.grad = torch.zeros_like(before)
    optimiser.step()
    assert torch.equal(model.weight.detach(), before)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adam"},
        {"learning_rate": 0.05},
        {"weight_decay": 0.5},
        {"epochs": 5},
        {"schedule": "linear"},
        {"schedule": "cosine"},
        {"warmup": 0.5},
        {"clip_norm": 0.01},
        {"precision": "64-true"},
        {"precision": "bf16-mixed"},
    ],
    ids=str,
)
def test_changes_the_weights(tmp_path, changes):
    class Task(Fit):
        def loss(self, model, batch):
            x, y = (part.to(model.weight.dtype) for part in (self.x, self.y))
            return ((model(x[batch])[:, 0] - y[batch]) ** 2).mean()

    first, second = Task(), Task()
    before = {"weight_decay": 0.1}
    fit(first, settings(**before), tmp_path / "first")
    fit(second, settings(**before | changes), tmp_path / "second")
    assert not torch.equal(first.model.weight.float(), second.model.weight.float())


def test_losses_are_computed_by_what_lightning_wrapped(tmp_path):
    # Gradients of several processes are averaged there.
    class Task(Fit):
        def loss(self, model, batch):
            assert model.module is self.model
            return super().loss(model, batch)

    assert fit(Task(), settings(epochs=1), tmp_path).epoch == 1


@pytest.mark.parametrize("where", ["training", "validation"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_refused(tmp_path, where, value):
    class Task(Fit):
        def loss(self, model, batch):
            factor = value if where == "training" and self.epochs[-1] == 1 else 1.0
            return factor * super().loss(model, batch)

    task = Task(validation=[1.0, value] if where == "validation" else [1.0, 1.0])
    match = r"epoch 2: training loss .*(nan|inf).* expected finite numbers. Lower the"
    with pytest.raises(RunError, match=match):
        fit(task, settings(), tmp_path)


@pytest.mark.parametrize("accelerator", ["abacus", "tpu", "cuda"])
def test_an_accelerator_that_is_not_there_is_refused(tmp_path, accelerator):
    match = rf"training.accelerator '{accelerator}' .* Use accelerator auto, or cpu"
    with pytest.raises(ConfigError, match=match):
        fit(Fit(), settings(accelerator=accelerator), tmp_path)


def test_fewer_devices_than_asked_for_are_told(tmp_path, monkeypatch):
    def fabric(**_options):
        raise MisconfigurationException("But your machine only has: [0].")

    monkeypatch.setattr(loop, "Fabric", fabric)
    match = r"and 1 devices: But your machine only has: \[0\]. Use accelerator auto"
    with pytest.raises(ConfigError, match=match):
        fit(Fit(), settings(), tmp_path)


def test_checkpoints_are_kept_apart_in_time(tmp_path, monkeypatch):
    saved = []
    real = loop.write_checkpoint

    def save(path, model, optimiser, best, state):
        saved.append(state.epoch)
        real(path, model, optimiser, best, state)

    monkeypatch.setattr(loop, "write_checkpoint", save)
    fit(Fit(), settings(checkpoint_seconds=0), tmp_path / "often")
    # After the first batch of an epoch, after the epoch, and at the end.
    assert saved == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    saved.clear()
    fit(Fit(), settings(checkpoint_seconds=1000), tmp_path / "once")
    assert saved == [6]


def test_a_checkpoint_is_whole_or_not_there(tmp_path):
    fit(Fit(), settings(epochs=2), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    with safe_open(tmp_path / CHECKPOINT, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
        parts = {key.split(".")[0] for key in file.keys()}  # noqa: SIM118
    assert state["epoch"] == 2
    assert parts == {"model", "best", "optimizer"}


def test_progress_counts_batches(tmp_path):
    told = []
    fit(Fit(), settings(), tmp_path, progress=lambda *counts: told.append(counts))
    assert told == [(batch, 12) for batch in range(1, 13)]
    assert all(second[0] > first[0] for first, second in pairwise(told))


class Dropping(Fit):
    """The same sample behind dropout, which draws random numbers in every step."""

    def __init__(self, seed=0, **given):
        super().__init__(**given)
        self.seed = seed
        self.model = nn.Sequential(nn.Dropout(0.5), self.model)


def test_dropout_of_a_killed_run_is_drawn_again(tmp_path):
    config = settings(checkpoint_seconds=0)
    whole, again = Dropping(), Dropping()
    fit(whole, config, tmp_path / "whole")
    with pytest.raises(Killed):
        fit(Dropping(killed_in=3), config, tmp_path / "killed")
    torch.rand(7)  # what is drawn elsewhere changes nothing
    fit(again, config, tmp_path / "killed")
    assert again.taken == 5  # the second batch of epoch 4, then two epochs
    assert_same_bits(weights(again), weights(whole))


def test_the_seed_changes_what_is_dropped(tmp_path):
    first, second = Dropping(), Dropping(seed=1)
    fit(first, settings(), tmp_path / "first")
    fit(second, settings(), tmp_path / "second")
    assert not torch.equal(first.model[1].weight, second.model[1].weight)


def test_random_numbers_elsewhere_are_left_alone(tmp_path):
    task = Dropping()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(task, settings(), tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_schedule_worked_by_hand():
    def factors(steps, **changes):
        config = settings(**changes)
        return [learning_rate_factor(step, steps, config) for step in range(steps)]

    assert factors(3) == [1, 1, 1]
    assert factors(5, warmup=0.4) == pytest.approx([1 / 3, 2 / 3, 1, 1, 1])
    assert factors(4, schedule="linear") == pytest.approx([1, 3 / 4, 2 / 4, 1 / 4])
    assert factors(4, warmup=0.5, schedule="linear") == pytest.approx(
        [1 / 3, 2 / 3, 1, 1 / 2]
    )
    half = math.sqrt(0.5)
    assert factors(4, schedule="cosine") == pytest.approx(
        [1, (1 + half) / 2, 1 / 2, (1 - half) / 2]
    )


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_schedule_survives_a_kill(tmp_path, schedule):
    config = settings(schedule=schedule, warmup=0.3, clip_norm=1.0)
    config = config.model_copy(update={"checkpoint_seconds": 0})
    whole, again = Fit(), Fit()
    fit(whole, config, tmp_path / "whole")
    with pytest.raises(Killed):
        fit(Fit(killed_in=2), config, tmp_path / "killed")
    fit(again, config, tmp_path / "killed")
    assert_same_bits(weights(again), weights(whole))


def test_gradients_are_clipped_together(tmp_path):
    seen = []

    class Task(Fit):
        def validation_loss(self, model):
            seen.append([p.grad.clone() for p in self.model.parameters()])
            return super().validation_loss(model)

    fit(Task(), settings(epochs=1), tmp_path / "free")
    fit(Task(), settings(epochs=1, clip_norm=0.01), tmp_path / "clipped")
    free, clipped = [torch.cat([g.flatten() for g in part]).norm() for part in seen]
    assert free > 0.1
    assert clipped == pytest.approx(0.01, rel=1e-3)


def test_parameters_with_their_own_rate(tmp_path):
    task = Fit()
    task.learning_rates = {"bias": 0.0}
    fit(task, settings(epochs=1), tmp_path)
    assert task.model.bias.item() == 0.125
    assert task.model.weight[0, 0].item() != 0.5


def test_a_rate_for_no_parameter_is_refused():
    match = r"rate for 'place', and none of 2 parameters begins so; .* \['weight', 'bia"
    with pytest.raises(ConfigError, match=match):
        make_optimiser(nn.Linear(3, 1), settings(), {"place": 0.1})
