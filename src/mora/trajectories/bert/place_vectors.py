"""Place vectors that mean the same in every city, from heads that all cities share.

Vectors that are trained for each city on its own are rotated against each other: what a
network has learned of them in one city says nothing in the next. Here a place's vector
is a function of its inputs alone, the same function in all cities, so that it exists
for a city that was not trained on, too.

Two objectives train it. InfoNCE between what is in a place and how it is used, in
batches that mix the cities, makes the two views tell of each other: what they share is
the function of a place, and a place must be told from those of other cities as well as
from those of its own. Reconstruction of the hours of use from what is in the place and
around it keeps how strongly a function shows, of which InfoNCE needs only as much as
tells places apart.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from mora.config import TrainingConfig
from mora.config.section import Section
from mora.encoder.contrastive import info_nce
from mora.errors import MissingFileError, MoraError
from mora.progress import Progress, silent
from mora.training import TrainingState, fit
from mora.training.processes import own_part
from mora.training.weights import write_weights
from mora.trajectories.bert.place_inputs import PlaceInputs

WEIGHTS, SETTINGS = "places.safetensors", "places.json"


class PlaceVectorConfig(Section):
    """How place vectors are learned.

    Attributes:
        dim: numbers of a vector.
        hidden: width of the hidden layer of each head.
        temperature: of InfoNCE.
        reconstruction_weight: of the mean squared error of the hours of use; 0 for
            InfoNCE alone.
        training: of the loop; a batch mixes places of all cities.
        seed: of the first weights, the places held out and the order of the batches.
    """

    dim: int = Field(32, ge=1)
    hidden: int = Field(64, ge=1)
    temperature: float = Field(0.1, gt=0)
    reconstruction_weight: float = Field(1.0, ge=0)
    training: TrainingConfig = TrainingConfig(
        learning_rate=1e-3, batch_size=512, epochs=50, patience=10
    )
    seed: int = Field(0, ge=0)


class PlaceHeads(nn.Module):
    """One small network for each view of a place, and one that tells the hours of use.

    Args:
        categories: columns of the view of what is in a place.
        use: columns of the view of how it is used.
        profile: columns of the hours of use.
        config: widths.
    """

    def __init__(
        self, categories: int, use: int, profile: int, config: PlaceVectorConfig
    ) -> None:
        super().__init__()
        self.columns = (categories, use, profile)
        self.config = config
        self.categories = _head(categories, config.hidden, config.dim)
        self.use = _head(use, config.hidden, config.dim)
        self.hours = nn.Linear(config.dim, profile)

    def forward(
        self,
        categories: Float[Tensor, "batch categories"],
        use: Float[Tensor, "batch use"],
        profile: Float[Tensor, "batch hours"],
    ) -> Float[Tensor, ""]:
        """Give the loss of some visited places.

        Args:
            categories: what is in each.
            use: how each is used.
            profile: the hours of use, part of ``use``.
        """
        inside, used = self.categories(categories), self.use(use)
        loss = info_nce(inside, used, temperature=self.config.temperature)
        error = F.mse_loss(self.hours(F.normalize(inside, dim=1)), profile)
        return loss + self.config.reconstruction_weight * error

    def embed(
        self,
        categories: Float[Tensor, "places categories"],
        use: Float[Tensor, "places use"],
        visited: Bool[Tensor, " places"],
    ) -> Float[Tensor, "places dim"]:
        """Give the vectors of places, of length 1.

        Args:
            categories: what is in each.
            use: how each is used.
            visited: places without visits are known by the first view alone.
        """
        inside = F.normalize(self.categories(categories), dim=1)
        used = F.normalize(self.use(use), dim=1)
        return F.normalize(inside + used * visited[:, None], dim=1)


class PlaceTask:
    """Batches of places of all cities, and their loss.

    Attributes:
        model: the heads.
        seed: of the loop.

    Args:
        model: the heads.
        cities: inputs of each.
        config: batches, share held out, seed.
    """

    def __init__(
        self,
        model: PlaceHeads,
        cities: Sequence[PlaceInputs],
        config: PlaceVectorConfig,
    ) -> None:
        self.model, self.config, self.seed = model, config, config.seed
        kept = [city.visited for city in cities]
        pairs = list(zip(cities, kept, strict=True))
        self.categories = _stack([city.categories[rows] for city, rows in pairs])
        self.use = _stack([city.use[rows] for city, rows in pairs])
        self.profile = cities[0].profile
        places = len(self.use)
        order = torch.from_numpy(np.random.default_rng(self.seed).permutation(places))
        held_out = max(2, round(config.training.validation_share * places))
        if places - held_out < 2:
            raise MoraError(
                f"{places} visited places leave {places - held_out} for training; "
                f"expected at least 4 visited places in all cities together."
            )
        self.validation, self.training = order[:held_out], order[held_out:]

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """Cut the places of all cities, in the order of this epoch, into batches."""
        rng = np.random.default_rng([self.seed, epoch])
        order = torch.from_numpy(rng.permutation(len(self.training)))
        count = -(-len(order) // self.config.training.batch_size)
        return torch.tensor_split(self.training[order], count)

    def loss(self, model: nn.Module, batch: Int[Tensor, " batch"]) -> Tensor:
        """Give the loss of a batch."""
        rows = own_part(batch)
        device = next(self.model.parameters()).device
        use = self.use[rows].to(device)
        return model(self.categories[rows].to(device), use, use[:, self.profile])

    def validation_loss(self, model: nn.Module) -> float:
        """Give the mean loss of the batches of places held out."""
        count = -(-len(self.validation) // self.config.training.batch_size)
        chunks = torch.tensor_split(self.validation, count)
        return sum(float(self.loss(model, chunk)) for chunk in chunks) / count


def train_place_vectors(
    cities: Mapping[str, PlaceInputs],
    config: PlaceVectorConfig,
    folder: Path,
    *,
    progress: Progress = silent,
) -> tuple[PlaceHeads, TrainingState]:
    """Train the heads on all cities together.

    Args:
        cities: name of each city -> inputs of its places.
        config: widths and training.
        folder: of the checkpoint and, at the end, of the heads.
        progress: told the batches done and the most there can be.

    Returns:
        The heads with their best weights, and the losses.

    Raises:
        MoraError: if there are no cities, they have other columns, or too few places.
    """
    _require_alike(cities)
    inputs = list(cities.values())
    model = _make_heads(_columns(inputs[0]), config)
    task = PlaceTask(model, inputs, config)
    state = fit(task, config.training, folder, progress=progress)
    write_weights(folder / WEIGHTS, model.state_dict())
    settings = {"columns": model.columns, "config": config.model_dump()}
    (folder / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n")
    return model.eval(), state


def read_place_heads(folder: Path) -> PlaceHeads:
    """Read the heads that :func:`train_place_vectors` left in a folder.

    Raises:
        MissingFileError: if there are none.
    """
    path = folder / SETTINGS
    if not path.exists():
        raise MissingFileError(path, "settings of trained place vectors")
    settings = json.loads(path.read_text())
    model = PlaceHeads(*settings["columns"], PlaceVectorConfig(**settings["config"]))
    model.load_state_dict(load_file(folder / WEIGHTS))
    return model.eval()


def embed_places(
    heads: PlaceHeads, inputs: PlaceInputs
) -> Float[np.ndarray, "places dim"]:
    """Give the vector of every place of a city, which need not have been trained on.

    Args:
        heads: trained on some cities.
        inputs: of the city, with the same columns.

    Returns:
        Vectors of length 1; the same for places with the same inputs, in any city.

    Raises:
        MoraError: if the columns are others.
    """
    if _columns(inputs) != heads.columns:
        raise MoraError(
            f"the places have {_columns(inputs)} columns of categories, use and hours; "
            f"the heads were trained on {heads.columns}. Count the same categories."
        )
    arrays = (inputs.categories, inputs.use, inputs.visited)
    device = next(heads.parameters()).device
    with torch.no_grad():
        vectors = heads.embed(*(torch.from_numpy(a).to(device) for a in arrays))
    return vectors.cpu().numpy()


def _require_alike(cities: Mapping[str, PlaceInputs]) -> None:
    if not cities:
        raise MoraError("no cities to learn place vectors from; expected at least one.")
    first, *others = cities
    for name in others:
        if _columns(cities[name]) != _columns(cities[first]):
            raise MoraError(
                f"{name} has {_columns(cities[name])} columns of categories, use and "
                f"hours and {first} has {_columns(cities[first])}; expected the same. "
                f"Count the same categories in the same order in every city."
            )


def _columns(inputs: PlaceInputs) -> tuple[int, int, int]:
    hours = inputs.profile.stop - inputs.profile.start
    return inputs.categories.shape[1], inputs.use.shape[1], hours


def _make_heads(columns: tuple[int, int, int], config: PlaceVectorConfig) -> PlaceHeads:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return PlaceHeads(*columns, config)


def _head(inputs: int, hidden: int, dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, dim))


def _stack(parts: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts))
