"""The days of a run's visits, read again for the period that is stated."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from tests.small_run import planted_city, settings, write_city
from tests.test_cli_coordinates import SMALL, TRAINING

from mora.pipeline import run

VISITS = planted_city(users=40, weeks=2).visits
ZONE = "Pacific/Kiritimati"  # 14 hours ahead: another day than in UTC


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    """Run a city of 40 people, whose table is then left as it was."""
    folder = tmp_path_factory.mktemp("period")
    write_city(folder, planted_city(users=40, weeks=2))
    config = settings(folder, modalities={"poi": settings(folder)["modalities"]["poi"]})
    config["training"] |= {"epochs": 2}
    config["mobility"]["timezone"] = ZONE
    run(config, folder=folder / "run", until="embed")
    return folder / "run"


@pytest.fixture
def publish_as(mora, city, tmp_path):
    """Publish the city as of a period; gives status, card and errors."""
    config, network = tmp_path / "publish.yaml", tmp_path / "small.yaml"
    network.write_text(yaml.safe_dump({"distill": SMALL, "training": TRAINING}))

    def call(*period, **given):
        given = {"licence": "mit", "min_users": 2, "attacks": False} | given
        config.write_text(yaml.safe_dump(given | {"period": list(period)}))
        status, _, err = mora(
            "publish", city, "--to", tmp_path / "hub", "--config", config,
            "--distilling", network, "--force",
        )  # fmt: skip
        card = tmp_path / "hub" / "README.md"
        return status, card.read_text() if card.is_file() else "", err

    return call


def days():
    """Give the first and the last day of the visits where the city is said to be."""
    local = pd.to_datetime(VISITS["time"], utc=True).dt.tz_convert(ZONE)
    return f"{local.min():%Y-%m-%d} to {local.max():%Y-%m-%d}"


def test_another_year_is_refused_with_both_spans(publish_as):
    status, card, err = publish_as("2000-01-01", "2000-12-31")
    assert (status, card) == (1, "")
    said = " ".join(err.split())
    assert "period is 2000-01-01 to 2000-12-31, but the records of the run" in said
    assert f"are of {days()}; expected" in said


def test_a_part_of_the_records_is_told_in_the_card(publish_as):
    status, card, err = publish_as("2024-01-01", "2024-01-03")
    assert (status, err) == (0, "")
    assert f"2024-01-01 to 2024-01-03 as stated, from records of {days()}." in card


def test_a_table_that_has_changed_says_nothing_of_the_run(publish_as, city):
    told = json.loads((city / "config.json").read_text())
    table = Path(told["mobility"]["table"]["path"])
    before = table.read_bytes()
    try:
        table.write_bytes(before + b"\n")
        status, card, _ = publish_as("2000-01-01", "2000-12-31")
    finally:
        table.write_bytes(before)
    assert status == 0
    assert "movement of 2000-01-01 to 2000-12-31." in card


def test_a_misspelt_input_is_refused(publish_as):
    licences = {"mobility.tabel": "odbl"}
    status, card, err = publish_as("2024-01-01", "2024-01-31", input_licences=licences)
    assert (status, card) == (1, "")
    assert "did you mean 'mobility.table'?" in " ".join(err.split())
