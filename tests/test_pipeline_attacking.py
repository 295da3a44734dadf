"""Was a person in the data of a run? The run is learned again without some."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from tests.small_run import planted_city, settings, write_city
from tests.test_cli_coordinates import SMALL, TRAINING

from mora.embeddings import read_embeddings
from mora.errors import MoraError
from mora.pipeline import run
from mora.pipeline.attacking import (
    AGAIN,
    NO_CONFIG,
    NO_PEOPLE,
    NOT_ASKED,
    attack_users,
    learn_again,
    read_visits_again,
)
from mora.pipeline.opening import open_run
from mora.tables import iso_weeks


def small(folder):
    """Give the settings of a run that takes a second."""
    config = settings(folder, modalities={"poi": settings(folder)["modalities"]["poi"]})
    config["training"] |= {"epochs": 2}
    return config


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    """Run a city of 40 people."""
    folder = tmp_path_factory.mktemp("people")
    write_city(folder, planted_city(users=40, weeks=2))
    run(small(folder), folder=folder / "run", until="embed")
    return folder


@pytest.fixture(scope="module")
def visits(city):
    context = open_run(city / "run")
    return context, read_visits_again(context, context.config.mobility)


def test_visits_are_read_as_the_run_read_them(visits):
    _, found = visits
    frame = planted_city(users=40, weeks=2).visits
    assert len(found.rows) == len(frame)
    assert len(np.unique(found.user)) == 40
    times = pd.to_datetime(frame["time"], utc=True)
    np.testing.assert_array_equal(found.week, iso_weeks(times, "UTC"))
    cells = found.places.tokens(np.unique(found.code)).names()
    assert set(cells) == set(frame["cell"])


def test_with_everybody_the_same_vectors_are_learned(visits):
    context, found = visits
    learned = learn_again(context, found)(np.ones(len(found.rows), bool))
    first = read_embeddings(context.folder / "embeddings.parquet")
    names = found.places.names(np.unique(found.code))
    row = first.tokens.find(names)
    np.testing.assert_allclose(
        learned[row >= 0], first.vectors[row[row >= 0]], atol=1e-6
    )
    assert np.isnan(learned[row < 0]).all()


def test_places_of_those_left_out_are_unknown(visits):
    context, found = visits
    few = found.user < 12
    learned = learn_again(context, found)(few)
    unvisited = ~np.isin(np.unique(found.code), found.code[few])
    assert unvisited.any()
    assert np.isnan(learned[unvisited]).all()
    assert np.isfinite(learned).all(axis=1).any()


def test_a_run_is_attacked_and_the_card_says_what_was_found(city, mora, tmp_path):
    given = {"licence": "cc-by-4.0", "period": ["2024-01-01", "2024-02-01"]}
    config, network = tmp_path / "publish.yaml", tmp_path / "small.yaml"
    options = {"min_users": 2, "attack_people": 10, "attack_pairs": 60, "caliper": 2.0}
    config.write_text(yaml.safe_dump(given | options))
    network.write_text(yaml.safe_dump({"distill": SMALL, "training": TRAINING}))
    status, _, err = mora(
        "publish", city / "run", "--to", tmp_path / "hub", "--config", config,
        "--distilling", network, "--attack-users", 2,
    )  # fmt: skip
    assert (status, err) == (0, "")
    told = json.loads((tmp_path / "hub" / "privacy.json").read_text())["attacks"]
    found = [r for r in told["results"] if r["attack"] == "user membership"]
    assert [r["subject"] for r in found] == [AGAIN] * 3
    assert {r["pairs"] for r in found} == {10}
    assert all(r["auc"]["low"] <= r["auc"]["value"] <= r["auc"]["high"] for r in found)
    assert told["skipped"] == []
    assert f"| user membership | {AGAIN} |" in (tmp_path / "hub/README.md").read_text()


@pytest.mark.slow
def test_each_option_of_the_attack_matters(city):
    usual = attack_users(city / "run", 2, people=6).results
    done = []
    again = attack_users(city / "run", 2, people=6, progress=lambda *t: done.append(t))
    assert again.results == usual
    assert done == [(1, 2), (2, 2)]
    assert attack_users(city / "run", 2, people=8).results != usual
    assert attack_users(city / "run", 2, people=6, seed=1).results != usual
    assert attack_users(city / "run", 4, people=6).results[0].pairs == 24


def test_it_is_not_tried_unasked(city):
    assert attack_users(city / "run", 0).skipped == NOT_ASKED


def test_it_is_not_tried_without_the_table(city, tmp_path):
    told = json.loads((city / "run" / "config.json").read_text())
    told["mobility"]["table"]["path"] = str(tmp_path / "gone.csv")
    (tmp_path / "config.json").write_text(json.dumps(told))
    assert "no file at" in attack_users(tmp_path, 2).skipped
    told["mobility"]["table"]["path"] = None
    (tmp_path / "config.json").write_text(json.dumps(told))
    assert "mobility.table: no table" in attack_users(tmp_path, 2).skipped


def test_it_is_not_tried_where_there_are_no_people(city, tmp_path):
    assert attack_users(tmp_path, 2).skipped == NO_CONFIG
    told = json.loads((city / "run" / "config.json").read_text())
    told["mobility"] = {"kind": "neighbours"}
    (tmp_path / "config.json").write_text(json.dumps(told))
    assert attack_users(tmp_path, 2).skipped == NO_PEOPLE


def test_runs_and_people_that_cannot_be_are_refused(city):
    with pytest.raises(MoraError, match="runs is 3; expected an even number"):
        attack_users(city / "run", 3)
    with pytest.raises(MoraError, match="50 targets of 40 people"):
        attack_users(city / "run", 2)
