"""From graph, LINE vectors and features to the aligned embedding of every token."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mora.config import EncoderConfig, HeadConfig, TrainingConfig
from mora.config.objectives import ObjectivesConfig
from mora.encoder.heads import make_head
from mora.encoder.lightgcn import LightGCN, Operator, Propagation
from mora.encoder.model import AlignedModel, ModalityBatch
from mora.encoder.node_mlp import NodeMLP
from mora.encoder.objectives import Material, build_objectives
from mora.errors import RunError
from mora.graph.storage import MobilityGraph
from mora.progress import Progress, silent
from mora.training.loop import TrainingState, fit
from mora.training.processes import own_part

# Feature rows of all tokens, and which tokens have them.
Rows = tuple[Float[np.ndarray, "tokens _"], Bool[np.ndarray, " tokens"]]
CONTRASTIVE = ObjectivesConfig()  # the default: MoRA's one objective


class LossOfBatch(nn.Module):
    """The aligned model with its features: tokens in, loss out.

    Lightning wraps what takes part in training; features that came as arguments would
    be searched and converted at every call.

    Args:
        aligned: the model.
        modalities: features of every modality with a head.
    """

    def __init__(
        self, aligned: AlignedModel, modalities: Mapping[str, ModalityBatch]
    ) -> None:
        super().__init__()
        self.aligned = aligned
        self.modalities = dict(modalities)

    def forward(self, batch: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Give the loss of the tokens of this and all other processes."""
        weights = self.aligned.mobility.features
        self._follow(weights)
        return self.aligned(batch.to(weights.device), self.modalities)

    def _follow(self, weights: Tensor) -> None:
        """Bring the features to the device and the precision of the weights."""
        self.modalities = {
            name: ModalityBatch(m.values.to(weights), m.present.to(weights.device))
            for name, m in self.modalities.items()
        }


class AlignmentTask:
    """Batches of tokens and the loss over them.

    A tenth of the tokens (``validation_share``) is held out: they stay in the graph,
    but enter no training loss. Processes that train together have the same batches;
    each computes the rows of its part of them.

    Args:
        model: the aligned model.
        modalities: features of every modality with a head.
        config: batch size, validation share and seed.
        seed: of the split and of the order of the batches.
    """

    def __init__(
        self,
        model: AlignedModel,
        modalities: Mapping[str, ModalityBatch],
        config: TrainingConfig,
        seed: int,
    ) -> None:
        self.model = LossOfBatch(model, modalities)
        self.batch_size = config.batch_size
        self.seed = seed
        tokens = len(model.mobility.features)
        order = torch.randperm(tokens, generator=_generator(seed, "split"))
        held_out = max(2, round(config.validation_share * tokens))
        if tokens - held_out < 2:
            raise RunError(
                f"{tokens} tokens leave {tokens - held_out} for training; expected at "
                f"least 4 tokens."
            )
        self.validation, self.training = order[:held_out], order[held_out:]

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """Cut the training tokens, in the order of this epoch, into even batches."""
        order = torch.randperm(
            len(self.training), generator=_generator(self.seed, f"epoch {epoch}")
        )
        count = -(-len(order) // self.batch_size)
        return torch.tensor_split(self.training[order], count)

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        """Give the loss of a batch."""
        return model(own_part(batch))

    def validation_loss(self, model: nn.Module) -> float:
        """Give the loss among the held-out tokens: the same sum of objectives."""
        parts = -(-len(self.validation) // self.batch_size)
        chunks = torch.tensor_split(self.validation, parts)
        return sum(float(self.loss(model, chunk)) for chunk in chunks) / parts


def build_model(
    line: Float[np.ndarray, "tokens dim"],
    operator: Operator,
    widths: Mapping[str, int],
    heads: Mapping[str, HeadConfig],
    config: EncoderConfig,
    seed: int,
    *,
    objectives: ObjectivesConfig = CONTRASTIVE,
    modalities: Mapping[str, ModalityBatch] | None = None,
    graph: MobilityGraph | None = None,
) -> AlignedModel:
    """Build the aligned model with its initial weights.

    Args:
        line: pre-encoding that the node features start from.
        operator: the normalised mobility graph in CSR form.
        widths: columns of each modality.
        heads: kind of head and temperature of each modality.
        config: kind of encoder, number of propagation layers, anchor.
        seed: of the initial weights.
        objectives: what it is to be trained to do.
        modalities: features of every modality; what some objectives predict.
        graph: the full mobility graph, for the objectives ``flow`` and ``neighbours``.
    """
    features = torch.from_numpy(np.array(line, dtype=np.float32))
    if config.kind == "mlp":
        mobility = NodeMLP(features, _generator(seed, "mlp"))
    else:
        mobility = LightGCN(features, Propagation(*operator), config.layers)
    generator = _generator(seed, "heads")
    built = {
        name: make_head(heads[name].kind, columns, line.shape[1], generator)
        for name, columns in widths.items()
    }
    temperatures = {name: heads[name].temperature for name in widths}
    material = Material(line.shape[1], modalities, temperatures, graph)
    chosen = build_objectives(objectives, material)
    return AlignedModel(mobility, built, temperatures, config.anchor, chosen)


def align(
    line: Float[np.ndarray, "tokens dim"],
    operator: Operator,
    features: Mapping[str, Rows],
    heads: Mapping[str, HeadConfig],
    encoder: EncoderConfig,
    training: TrainingConfig,
    folder: Path,
    *,
    seed: int = 0,
    objectives: ObjectivesConfig = CONTRASTIVE,
    graph: MobilityGraph | None = None,
    progress: Progress = silent,
) -> tuple[AlignedModel, TrainingState]:
    """Train the aligned model.

    Args:
        line: pre-encoding of each token.
        operator: the normalised mobility graph in CSR form.
        features: name of each modality -> feature rows and which tokens have them.
        heads: name of each modality -> its head.
        encoder: layers and width.
        training: optimiser, batches, epochs.
        folder: where checkpoints are kept.
        seed: of the split, the batches and the initial weights.
        objectives: weight and options of each; MoRA's contrastive loss by default.
        graph: the full mobility graph, for the objectives ``flow`` and ``neighbours``.
        progress: told the epochs done and the most there can be.

    Returns:
        The model with its best weights, and the losses. Without any modality there is
        nothing to align: unless flows are predicted, the model as it begins, after no
        epoch.

    Raises:
        ConfigError: if an objective needs the graph and there is none.
    """
    widths = {name: values.shape[1] for name, (values, _) in features.items()}
    modalities = _modalities(features)
    model = build_model(
        line,
        operator,
        widths,
        heads,
        encoder,
        seed,
        objectives=objectives,
        modalities=modalities,
        graph=graph,
    )
    if not features and not objectives.flow.weight:
        return model, TrainingState()
    task = AlignmentTask(model, modalities, training, seed)
    return model, fit(task, training, folder, progress=progress)


def embed_tokens(
    model: AlignedModel, features: Mapping[str, Rows]
) -> Float[np.ndarray, "tokens dim"]:
    """Give the embedding that is exported: the anchor's output, not normalised.

    With mobility as the anchor it is the sum over the layers of LightGCN.

    Args:
        model: trained.
        features: what it was trained on.
    """
    weights = model.mobility.features
    modalities = {
        name: ModalityBatch(m.values.to(weights), m.present.to(weights.device))
        for name, m in _modalities(features).items()
    }
    with torch.no_grad():
        return model.embed(modalities).cpu().numpy().astype(np.float32)


def _modalities(features: Mapping[str, Rows]) -> dict[str, ModalityBatch]:
    return {
        name: ModalityBatch(
            torch.from_numpy(np.array(values, dtype=np.float32)),
            torch.from_numpy(np.array(present)),
        )
        for name, (values, present) in features.items()
    }


def _generator(seed: int, purpose: str) -> torch.Generator:
    """Start a stream of random numbers of its own for each seed and purpose."""
    # PyTorch's generator takes 32 bits of a seed; the checksum begins at the seed.
    return torch.Generator().manual_seed(zlib.crc32(purpose.encode(), seed))
