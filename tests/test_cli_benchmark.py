"""The subcommands benchmark, baselines, experiment and report."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from tests.small_run import (
    one_thread,  # noqa: F401 - a fixture for every test below
    planted_city,
    settings,
    write_city,
)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("city")
    write_city(folder)
    own = settings(folder) | {"folder": str(folder / "run")}
    (folder / "city.yaml").write_text(yaml.safe_dump(own))
    return folder / "city.yaml"


def test_baselines_are_listed(mora):
    status, out, _ = mora("baselines")
    assert status == 0
    for name in ("space2vec", "geoclip", "hrep", "alphaearth", "raw"):
        assert name in out
    rows = json.loads(mora("baselines", "--json")[1])
    by_name = {row["name"]: row for row in rows}
    assert by_name["hrep"]["needs"] == ["flows", "features", "neighbours"]
    assert by_name["hrep"]["checked"].startswith("not reproduced")
    assert by_name["satclip"]["needs"] == ["lonlat", "a file"]


def test_a_quick_benchmark_reads_by_ridge_alone(mora, config):
    status, out, err = mora("benchmark", "--config", config, "--quick", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert list(found["readouts"]) == ["ridge"]
    assert set(found["tasks"]["wealth"]) == {"mora", "lonlat"}
    assert found["splits"] == 3


def test_options_of_the_benchmark_reach_it(mora, config, tmp_path):
    vectors = tmp_path / "mine.csv"
    city = planted_city()
    columns = {"cell": city.tokens.names(), "v": city.community + 0.5}
    pd.DataFrame(columns).to_csv(vectors, index=False)
    status, out, _ = mora(
        "benchmark", "--config", config, "--quick", "--json", "--splits", 4,
        "--vectors", f"mine={vectors}", "--baselines", "harmonics,volume",
        "--protocols", "kfold", "--tune", "--diagnose",
    )  # fmt: skip
    found = json.loads(out)
    assert status == 0
    assert set(found["tasks"]["wealth"]) == {"mora", "mine", "harmonics", "volume"}
    assert set(found["test_ratio"]["wealth"]) == {"kfold"}
    assert "harmonics" in found["chosen"]
    assert found["diagnoses"][0]["task"] == "wealth"
    assert found["splits"] == 4


def test_the_paper_setting_reaches_it(mora, config):
    _, out, _ = mora(
        "benchmark", "--config", config, "--json", "--setting", "paper",
        "--protocols", "random", "--splits", 2, "--baselines", "lonlat",
    )  # fmt: skip
    assert "1000 trees" in json.loads(out)["readouts"]["lightgbm"]


def test_a_benchmark_shows_tables_and_diagnoses(mora, config):
    status, out, _ = mora("benchmark", "--config", config, "--quick", "--diagnose")
    assert status == 0
    assert "blocked splits" in out
    assert "wealth: R2" in out
    assert "wrote report.json, report.md, scores.csv" in out


def test_tasks_are_listed(mora, config):
    out = mora("benchmark", "--list")[1]
    assert "194,232" in out
    assert "hukou" in out
    rows = json.loads(mora("benchmark", "--list", "--config", config, "--json")[1])
    assert [(row["task"], row["samples"]) for row in rows] == [("wealth", 91)]


def test_a_bundle_is_exported_and_scored(mora, config, tmp_path):
    status, out, _ = mora(
        "benchmark", "--config", config, "--export", tmp_path / "bundle"
    )
    assert status == 0
    assert "splits.parquet" in out
    noise = np.random.default_rng(0).normal(size=(91, 2))
    frame = pd.DataFrame(noise, columns=["a", "b"])
    frame.insert(0, "cell", planted_city().tokens.names())
    frame.to_parquet(tmp_path / "noise.parquet")
    given = ("benchmark", "--bundle", tmp_path / "bundle", "--quick")
    vectors = ("--vectors", f"noise={tmp_path / 'noise.parquet'}")
    found = json.loads(mora(*given, *vectors, "--json")[1])
    assert found["tasks"]["wealth"]["noise"]["random"]["mean"] < 0.3
    assert "noise" in mora(*given, *vectors)[1]
    status, _, err = mora(*given, "--vectors", "noise.parquet")
    assert status == 1
    assert "expected NAME=PATH" in err


def test_a_quick_experiment(mora, config):
    status, out, _ = mora("experiment", "--list")
    assert status == 0
    assert "ablation" in out
    arguments = ("experiment", "ablation", "--config", config, "--quick")
    some = ("--variants", "w/o LINE", "--seeds", 1, "--jobs", 1)
    status, out, _ = mora(*arguments, *some)
    assert status == 0
    assert "| w/o LINE |" in out
    assert "wrote table.md" in out
    found = json.loads(mora(*arguments, *some, "--json")[1])
    assert [row["variant"] for row in found["tables"]["tokens"]] == ["MoRA", "w/o LINE"]
    assert found["seeds"] == 1


def test_a_report(mora, config, tmp_path):
    page = tmp_path / "page.html"
    status, out, _ = mora("report", "--config", config, "--quick", "--output", page)
    assert status == 0
    assert "wrote" in out
    assert "Ridge" in page.read_text()


def test_without_a_configuration_the_demos_is_looked_for(mora, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, _, err = mora("benchmark", "--quick")
    assert status == 1
    assert "no file at configs/demo.yaml" in err
