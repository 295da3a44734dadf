"""The subcommands sources, validate, compare and fetch."""

import json

import pytest
from tests.small_run import (
    one_thread,  # noqa: F401 - a fixture for every test below
    settings,
    write_city,
)

from mora.pipeline import run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("city")
    write_city(folder)
    for seed in (0, 1):
        run(
            settings(folder) | {"seed": seed},
            folder=folder / f"run{seed}",
            until="embed",
        )
    return folder


def test_sources_say_what_they_give_and_under_which_licence(mora):
    status, out, _ = mora("sources", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert status == 0
    assert {"lodes", "nyc_tlc", "mitma", "gowalla", "geolife", "humob"} <= set(rows)
    assert rows["gowalla"]["gives"] == "visits"
    for row in rows.values():
        assert row["home"]
        assert row["use"]
    assert "geonames_us" in mora("sources")[1]


def test_a_sound_run_is_valid(mora, finished):
    status, out, err = mora("validate", finished / "run0")
    assert (status, err) == (0, "")
    assert "|" in out


def test_what_is_no_run_is_not(mora, tmp_path):
    status, out, err = mora("validate", tmp_path)
    assert status == 1
    assert out or err


def test_places_are_ranked_by_change(mora, finished):
    status, out, _ = mora(
        "compare", finished / "run0", finished / "run1", "--top", 4, "--json"
    )
    assert status == 0
    assert len(json.loads(out)) == 4


def test_what_can_be_fetched_is_listed_and_dry_runs_fetch_nothing(mora, tmp_path):
    status, out, _ = mora("fetch")
    assert status == 0
    assert "lodes" in out
    status, out, _ = mora(
        "fetch", "lodes", "--with", "state=de", "--with", "year=2021",
        "--folder", tmp_path / "data", "--dry-run",
    )  # fmt: skip
    assert status == 0
    assert "https://" in out
    assert not list(tmp_path.glob("data/*.gz"))
    status, _, err = mora("fetch", "nowhere")
    assert status == 1
    assert "nowhere" in err
