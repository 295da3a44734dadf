"""Small distilled encoders for tests."""

import numpy as np
import torch

from mora.distill.coordinate_encoder import CoordinateEncoder
from mora.distill.network import DistilledModel


def small_model(**changes) -> DistilledModel:
    options = {"degree": 6, "seed": 1, **changes}
    return DistilledModel((16, 12, 5), **options)


def small_encoder(**changes) -> CoordinateEncoder:
    return CoordinateEncoder(small_model(**changes), {"run": "by hand"})


def constant_encoder(*values: float) -> CoordinateEncoder:
    """One that gives the same vector everywhere."""
    model = DistilledModel((len(values),), degree=1)
    torch.nn.init.zeros_(model.network[0].weight)
    model.network[0].bias.data = torch.tensor(values).double()
    return CoordinateEncoder(model)


def somewhere(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    return np.column_stack([rng.uniform(-180, 180, n), lat])


def exact(model: DistilledModel, lonlat: np.ndarray) -> np.ndarray:
    """What the network in float64 gives."""
    with torch.no_grad():
        return model(torch.from_numpy(lonlat)).numpy()
