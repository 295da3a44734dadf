"""`mora report`: one page, with the population beside those who were observed."""

import re

import numpy as np
import pandas as pd
import pytest
from tests.small_run import (
    one_thread,  # noqa: F401 - a fixture for every test below
    planted_city,
    same,
    settings,
    write_city,
)

from mora.config import load_config
from mora.pipeline import run
from mora.pipeline.homes import (
    NotObservedError,
    compare_with_population,
    observed_homes,
)
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import read_mobility
from mora.pipeline.reporting import report_run


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("city")
    write_city(folder)
    config = settings(folder)
    people = {"path": str(folder / "people.csv")}
    config["evaluation"] |= {
        "readouts": "ridge",
        "population": {**people, "columns": {"id": "cell", "population": "population"}},
        "groups": {
            "age": {"table": {**people, "columns": {"id": "cell"}}, "value": "old"}
        },
    }
    config["notes"] = ["The city is <planted>."]
    return config, folder


@pytest.fixture(scope="module")
def page(given):
    return report_run(given[0], folder=given[1] / "run").read_text()


def test_the_page_has_every_part(page):
    parts = (
        "Summary", "Scores", "wealth", "Errors by age", "Moran", "Model card",
        "Whose movement this is", "visits.csv", "mobility:", "The labels",
    )  # fmt: skip
    assert [part for part in parts if part not in page] == []


def test_the_page_names_no_folder_and_loads_nothing(page, given):
    assert str(given[1]) not in page
    assert "<planted>" not in page
    assert re.findall(r"(?:src|href)=\"(?!#|data:)[^\"]*", page) == []
    assert "<script" not in page


def test_no_user_is_on_the_page(page):
    assert not any(user in page for user in planted_city().visits["user"].unique())


def test_the_page_can_stand_elsewhere(given, tmp_path):
    path = report_run(given[0], folder=given[1] / "run", path=tmp_path / "a.html")
    assert path.is_file()


# -------------------------------------------------------------------- homes


def context_of(given, **changes):
    config = load_config(given[0], changes)
    folder = given[1] / "run"
    run(config, folder=folder, until="graph")
    return RunContext(config, folder), read_mobility(folder / "graph")


def test_homes_are_where_people_are_at_night(given, page):  # noqa: ARG001 - makes the run
    context, mobility = context_of(given)
    homes = observed_homes(context, mobility)
    # Groups of fewer than five stay hidden, and few cells have as many homes.
    assert homes.sum() <= 100
    assert set(homes[homes < 5]) <= {0}


def test_homes_are_compared_with_the_population(given, monkeypatch):
    context, mobility = context_of(given)
    monkeypatch.setattr("mora.pipeline.homes.PUBLISHED_USERS", 1)
    config = context.config.model_copy(
        update={"mobility": context.config.mobility.model_copy(update={"min_users": 1})}
    )
    context = RunContext(config, context.folder)
    found = compare_with_population(context, mobility, {})
    people = planted_city().people["population"].sum()
    assert found.people == pytest.approx(people)
    assert found.homes == 100
    assert {row.grouping for row in found.groups} == {"population quarter", "region"}


def test_flows_tell_who_sets_out(given):
    flows = {
        "path": str(given[1] / "flows.csv"),
        "columns": same("origin", "destination", "weight"),
    }
    config = load_config(given[0] | {"mobility": {"kind": "flows", "table": flows}})
    folder = given[1] / "flows_run"
    run(config, folder=folder, until="graph")
    mobility = read_mobility(folder / "graph")
    homes = observed_homes(RunContext(config, folder), mobility)
    table = pd.read_csv(given[1] / "flows.csv")
    expected = table.groupby("origin")["weight"].sum().reindex(mobility.tokens.names())
    np.testing.assert_allclose(homes, expected)


def test_simulated_movement_observes_nobody(given):
    people = {
        "path": str(given[1] / "people.csv"),
        "columns": same("population", "lon", "lat", "zone"),
    }
    config = load_config(
        given[0] | {"mobility": {"kind": "radiation", "population": people}}
    )
    mobility = read_mobility(given[1] / "run" / "graph")
    with pytest.raises(NotObservedError, match="'radiation' says of no place"):
        observed_homes(RunContext(config, given[1] / "run"), mobility)


def test_without_a_population_the_page_says_so(given):
    changed = given[0] | {"evaluation": {**given[0]["evaluation"], "population": None}}
    text = report_run(
        changed, folder=given[1] / "run", path=given[1] / "b.html"
    ).read_text()
    assert "no population to compare with" in text
