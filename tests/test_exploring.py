"""What the explorer page shows of a whole run on the planted city."""

import numpy as np
import pytest
from tests.small_run import (
    one_thread,  # noqa: F401 - a fixture for every test below
    planted_city,
    settings,
    write_city,
)

from mora.config import load_config
from mora.pipeline import run
from mora.pipeline.exploring import gather_explorer_run, name_and_unit
from mora.pipeline.inputs import RunContext


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    folder = tmp_path_factory.mktemp("city")
    write_city(folder)
    config = settings(folder)
    columns = {"name": "name", "lon": "lon", "lat": "lat"}
    names = {"path": str(folder / "places.csv"), "columns": columns}
    config |= {"map": {"names": names}, "notes": ["The city is planted."]}
    config["evaluation"]["readouts"] = "ridge"
    labels = config["evaluation"]["labels"][0]
    labels |= {"descriptions": {"wealth": "Wealth of people, points"}}
    labels |= {"source": "A census", "year": "2020"}
    run(config, folder=folder / "run", until="embed")
    return RunContext(load_config(config), folder / "run")


@pytest.fixture(scope="module")
def gathered(context):
    return gather_explorer_run(context)


def test_labels_have_names_units_and_sources(gathered):
    column = gathered.columns["Wealth of people"]
    assert (column.kind, column.unit) == ("label", "points")
    assert column.description == "A census, 2020"
    city = planted_city()
    wealth = dict(zip(city.labels["cell"], city.labels["wealth"], strict=True))
    tokens = gathered.embeddings.tokens
    expected = [wealth[name] for name in tokens.names()]
    np.testing.assert_allclose(column.values, expected)


def test_predictions_are_of_held_out_places_and_residuals_fit(gathered):
    label, predicted, residual = (
        gathered.columns[f"Wealth of people{end}"].values
        for end in ("", ", predicted", ", label minus prediction")
    )
    np.testing.assert_allclose(residual, label - predicted)
    assert 0.2 < np.corrcoef(label, predicted)[0, 1] < 1


def test_predictions_can_be_left_out(context, gathered):
    without = gather_explorer_run(context, predictions=False)
    assert set(gathered.columns) - set(without.columns) == {
        "Wealth of people, predicted",
        "Wealth of people, label minus prediction",
    }


def test_what_is_inside_is_in_the_table(gathered):
    city = planted_city()
    token = gathered.embeddings.tokens.locate(city.places[["lon", "lat"]].to_numpy())
    for place in (0, 20, 50):
        here = city.places["name"][token == place].value_counts()
        words = gathered.inside[place]
        assert set(words) <= set(here.index)
        assert len(words) == min(12, len(here))
        counts = [here[word] for word in words]
        assert counts == sorted(counts, reverse=True)
        assert gathered.names[place] in set(here.index) | {""}


def test_the_run_is_told(gathered):
    assert gathered.name == "city"
    assert gathered.notes == ["The city is planted."]
    assert len(gathered.graph) == len(gathered.embeddings)
    assert {"Young", "Old"} <= set(gathered.columns)


def test_names_and_units_of_descriptions():
    assert name_and_unit("Income, USD") == ("Income", "USD")
    assert name_and_unit("Income of men, women, USD") == ("Income of men, women", "USD")
    assert name_and_unit("Gini index") == ("Gini index", "")
