"""Place vectors of a HuMob run: learned on all its cities together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from mora.errors import ConfigError
from mora.pipeline.display import Display
from mora.pipeline.humob_cities import City
from mora.trajectories.bert.place_inputs import PlaceInputs, build_place_inputs
from mora.trajectories.bert.place_vectors import (
    PlaceVectorConfig,
    embed_places,
    read_place_heads,
    train_place_vectors,
)


def learn_places(
    cities: Sequence[City], config: PlaceVectorConfig, folder: Path, display: Display
) -> dict[str, Any]:
    """Train the heads on what is known of all cities; give facts for the manifest.

    Raises:
        ConfigError: if a city has no points of interest.
    """
    inputs = {city.name: _inputs(city) for city in cities}
    with display.bar("Learning places", "steps") as progress:
        _, state = train_place_vectors(inputs, config, folder, progress=progress)
    return {"history": state.history, "best_epoch": state.best_epoch}


def vectors_of_places(folder: Path, city: City) -> Float32[np.ndarray, "tokens dim"]:
    """Give the vectors of a city's places by the heads in a folder."""
    return embed_places(read_place_heads(folder), _inputs(city)).astype(np.float32)


def _inputs(city: City) -> PlaceInputs:
    if city.categories is None:
        raise ConfigError(
            f"place_vectors, and city {city.name} has no points of interest; expected "
            f"`categories:` for every city, or no place_vectors."
        )
    return build_place_inputs(city.history, city.categories)
