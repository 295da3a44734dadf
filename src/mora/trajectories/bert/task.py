"""What the training loop needs to know of ST-MoE-BERT: batches, losses, rates."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from mora.config import TrainingConfig
from mora.config.section import Section
from mora.training.processes import own_part
from mora.trajectories.bert.candidates import CandidateConfig
from mora.trajectories.bert.held_out import HeldOut, validation_windows
from mora.trajectories.bert.inputs import NO_TARGET, EventInputs
from mora.trajectories.bert.network import MobilityBERT
from mora.trajectories.bert.prediction import PredictionConfig, predict_events
from mora.trajectories.bert.presets import BertConfig
from mora.trajectories.bert.trained import TrainedBert
from mora.trajectories.bert.vocabulary import VocabularyKind
from mora.trajectories.bert.windows import WindowConfig, Windows
from mora.trajectories.humob.scores import score_users


class LearningConfig(Section):
    """How a network is trained.

    Attributes:
        network: sizes and options; ``num_location_ids`` comes from the vocabulary.
        training: of the loop; the defaults are those of the released code.
        vocabulary: ``compact`` or ``full``, as released.
        windows: how events are cut.
        candidates: which places a user may be at, for a prior or a restricted network.
        select_by: the weights kept are those with the lowest cross-entropy on the days
            held out, or with the highest GEO-BLEU of what they predict there.
        prediction: how they predict there.
        keep_untrained: where no epoch did better there than the untrained network,
            that one is kept. With a prior it is the prior.
        validation_share: users whose last days are held out.
        held_out_days: how many days those are.
        location_learning_rate: of the location embedding; None for the same as all.
        reuse_locations: tuning begins with the location tables of the other city, as
            released: its ids then mean other places. Needs the full vocabulary.
        seed: of the first weights, the users held out, the order of the windows and
            dropout.
    """

    network: BertConfig = BertConfig()
    training: TrainingConfig = TrainingConfig(
        learning_rate=3e-4,
        weight_decay=0.01,
        batch_size=400,
        epochs=30,
        schedule="linear",
        warmup=0.1,
    )
    vocabulary: VocabularyKind = "compact"
    windows: WindowConfig = WindowConfig()
    candidates: CandidateConfig = CandidateConfig()
    select_by: Literal["cross_entropy", "geo_bleu"] = "cross_entropy"
    prediction: PredictionConfig = PredictionConfig()
    keep_untrained: bool = False
    validation_share: float = Field(0.1, gt=0, lt=1)
    held_out_days: int = Field(15, ge=1)
    location_learning_rate: float | None = Field(1e-4, gt=0)
    reuse_locations: bool = False
    seed: int = Field(0, ge=0)


class WindowLoss(nn.Module):
    """The training loss of a batch of windows; Fabric wraps its ``forward``.

    Args:
        network: gives the logits.
    """

    def __init__(self, network: MobilityBERT) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, inputs: EventInputs, targets: Int[Tensor, "batch predict"]
    ) -> Float[Tensor, ""]:
        """Give the mean cross-entropy over the future events, plus the balance loss.

        Args:
            inputs: what the network reads.
            targets: locations to answer; those that are ``NO_TARGET`` do not count.
        """
        logits, balance = self.network.logits_and_balance_loss(inputs)
        # A batch without any target has no cross-entropy: 0, not 0 / 0.
        count = max(int((targets != NO_TARGET).sum()), 1)
        return cross_entropy(logits, targets) / count + balance


class BertTask:
    """What the training loop needs to know of the network.

    Attributes:
        model: the loss around the network.
        learning_rates: own rates by the beginning of a parameter's name.
        seed: of dropout.

    Args:
        trained: network and reader.
        windows: to learn from.
        held_out: to choose the weights by.
        config: how to learn.
    """

    def __init__(
        self,
        trained: TrainedBert,
        windows: Windows,
        held_out: HeldOut,
        config: LearningConfig,
    ) -> None:
        self.trained, self.windows, self.held_out = trained, windows, held_out
        self.config, self.seed = config, config.seed
        self.model = WindowLoss(trained.model)
        self.learning_rates = _learning_rates(trained.model, config)
        self.validation = validation_windows(trained.reader, held_out)

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """Give the positions of the windows of each batch, in the epoch's order."""
        rng = np.random.default_rng([self.config.seed, epoch])
        order = torch.from_numpy(rng.permutation(len(self.windows)))
        return order.split(self.config.training.batch_size)

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        """Give the loss of this process's part of a batch."""
        part = own_part(batch)
        rows = part if len(part) else batch[:1]  # every process must take the step
        return model(*self._read(self.windows, rows))

    def validation_loss(self, model: nn.Module) -> float:
        """Give the mean cross-entropy on the days held out, or minus GEO-BLEU."""
        del model  # the network inside is the same
        if self.config.select_by == "geo_bleu":
            found = predict_events(
                self.trained,
                self.held_out.history,
                self.held_out.wanted,
                self.config.prediction,
            )
            generated = self.held_out.wanted.with_tokens(found.astype(np.int32))
            return -score_users(generated, self.held_out.wanted).means()["geo_bleu"]
        total, count = 0.0, 0
        every = torch.arange(len(self.validation))
        for rows in every.split(self.config.training.batch_size):
            inputs, targets = self._read(self.validation, rows)
            total += float(cross_entropy(self.trained.model(inputs), targets))
            count += int((targets != NO_TARGET).sum())
        return total / max(count, 1)

    def _read(
        self, windows: Windows, rows: Int[Tensor, " batch"]
    ) -> tuple[EventInputs, Int[Tensor, "batch predict"]]:
        device = next(self.model.parameters()).device
        batch = self.trained.reader.read(windows, rows)
        return batch.inputs.to(device), batch.targets.to(device)


def cross_entropy(
    logits: Float[Tensor, "batch predict locations"], targets: Tensor
) -> Float[Tensor, ""]:
    """Give the sum of -log p(target) over the events that have a target."""
    return F.cross_entropy(
        logits.flatten(0, 1),
        targets.flatten(),
        ignore_index=NO_TARGET,
        reduction="sum",
    )


def _learning_rates(network: MobilityBERT, config: LearningConfig) -> dict[str, float]:
    if config.location_learning_rate is None or not hasattr(
        network, "location_embedding"
    ):
        return {}
    return {"network.location_embedding": config.location_learning_rate}
