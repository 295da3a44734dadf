"""`mora benchmark`: any vectors on the tasks of a run, diagnoses, listings, bundles."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.small_run import (
    evaluation,
    one_thread,  # noqa: F401 - a fixture for every test below
    planted_city,
    settings,
    write_city,
)

from mora.benchmark.bundle import read_bundle
from mora.config import load_config
from mora.errors import ConfigError, MoraError, RunError
from mora.pipeline.benchmarking import benchmark_run, describe
from mora.pipeline.bundle import export_bundle, score_bundle
from mora.pipeline.display import Display
from mora.pipeline.listing import declared_tasks, tasks_of_run
from mora.pipeline.tasks import cut_groups

GROUP = {"table": {"columns": {"id": "cell"}}, "value": "young"}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Give a configuration whose run is done up to its vectors."""
    folder = tmp_path_factory.mktemp("city")
    write_city(folder)
    config = settings(folder, evaluation=evaluation(folder))
    group = {"path": str(folder / "people.csv"), "columns": {"id": "cell"}}
    config["evaluation"] |= {
        "groups": {"age": {"table": group, "value": "young"}},
        "readouts": "ridge",
    }
    config["evaluation"]["labels"][0] |= {
        "source": "a planted city",
        "licence": "CC0",
        "domains": {"wealth": "economic"},
    }
    config["folder"] = str(folder / "run")
    return config, folder


@pytest.fixture(scope="module")
def found(given):
    return benchmark_run(given[0], with_diagnoses=True)


def truth(folder, name="truth.parquet"):
    """Write vectors that hold the planted answer."""
    city = planted_city()
    frame = pd.DataFrame(
        {"cell": city.tokens.names(), "v0": city.community.astype(float)}
    )
    frame.to_parquet(folder / name)
    return folder / name


# ---------------------------------------------------------------- benchmark


def test_the_planted_answer_beats_coordinates(given, tmp_path):
    found = benchmark_run(given[0], vectors={"truth": truth(tmp_path)})
    r2 = {
        model: np.mean(found.report.scores["wealth"][model]["ridge"]["blocked"])
        for model in ("truth", "mora", "lonlat")
    }
    assert r2["truth"] > 0.9
    assert r2["lonlat"] < 0.3
    assert found.report.pairs == [("mora", "truth"), ("mora", "lonlat")]
    assert found.report.dims["truth"] == 1


def test_what_is_written_can_be_read(found):
    found.write()
    content = json.loads((found.folder / "report.json").read_text())
    assert content["about"]["wealth"]["source"] == "a planted city"
    assert content["diagnoses"][0]["task"] == "wealth"
    assert "wealth" in (found.folder / "report.md").read_text()
    scores = pd.read_csv(found.folder / "scores.csv")
    assert {"mora", "lonlat"} <= set(scores["model"])


def test_groups_tell_errors_apart(found):
    groups = found.diagnoses[0].groups["age"]
    assert list(groups) == ["Q1", "Q2", "Q3", "Q4"]
    assert sum(error.units for error in groups.values()) == len(planted_city().tokens)
    text = describe(found.diagnoses[0])
    assert text.startswith("wealth: R2 0.")
    assert "by age: Q1 RMSE" in text


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"at": [30.5], "names": ["low", "high"]}, {"low", "high"}),
        ({"names": ["a", "b", "c", "d"]}, {"a", "b", "c", "d"}),
        ({"value": "old", "names": ["a", "b", "c", "d"]}, {"a", "b", "c", "d"}),
    ],
)
def test_each_setting_of_groups_matters(given, found, changed, names):
    config = load_config(given[0])
    base = config.evaluation.groups["age"].model_dump(mode="json")
    changes = {"groups": {"age": base | changed}}
    other = benchmark_run(given[0], changes=changes, with_diagnoses=True)
    assert set(other.diagnoses[0].groups["age"]) == names
    before = [e.rmse for e in found.diagnoses[0].groups["age"].values()]
    after = [e.rmse for e in other.diagnoses[0].groups["age"].values()]
    assert changed.keys() == {"names"} or before != after


def test_a_table_of_groups_can_be_another_one(given, found):
    base = load_config(given[0]).evaluation.groups["age"].model_dump(mode="json")
    table = {"path": str(given[1] / "labels.csv"), "columns": {"id": "cell"}}
    changes = {"groups": {"age": {**base, "table": table, "value": "crowd"}}}
    other = benchmark_run(given[0], changes=changes, with_diagnoses=True)
    assert other.diagnoses[0].groups != found.diagnoses[0].groups


def test_cuts_by_hand():
    group = load_config(
        settings_of({"table": {}, "value": "x", "at": [1, 2], "names": ["a", "b", "c"]})
    ).evaluation.groups["g"]
    values = np.array([0.0, 1.0, 1.5, 2.0, np.nan])
    assert cut_groups(values, group).tolist() == ["a", "b", "b", "c", ""]


def settings_of(group):
    return {
        "name": "x",
        "mobility": {"kind": "visits"},
        "evaluation": {"groups": {"g": group}},
    }


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"value": "x", "at": [1]}, "got 4 names for 2 groups"),
        ({"value": "x", "at": [2, 1], "names": ["a", "b", "c"]}, "do not ascend"),
    ],
)
def test_groups_that_do_not_fit_are_refused(group, message):
    with pytest.raises(ConfigError, match=message):
        load_config(settings_of({"table": {}, **group}))


def test_finished_scores_are_taken(given, found, monkeypatch):
    def never(*_):
        raise AssertionError("a score was computed again")

    monkeypatch.setattr("mora.benchmark.ridge.RidgeReadout.fit_predict", never)
    again = benchmark_run(given[0])
    assert again.report.scores == found.report.scores


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baselines": ["rawr"]}, "no baseline 'rawr'.*Did you mean 'raw'"),
        ({"protocols": ["blokced"]}, "blokced.*Did you mean 'blocked'"),
        ({"splits": 1}, "splits"),
        ({"labels": []}, "evaluation.labels: none"),
    ],
)
def test_what_cannot_be_scored_is_refused(given, changes, message):
    with pytest.raises(MoraError, match=message):
        benchmark_run(given[0], changes=changes)


def test_names_of_models_are_taken_once(given, tmp_path):
    with pytest.raises(ConfigError, match="vectors mora: the name is that of a model"):
        benchmark_run(given[0], vectors={"mora": truth(tmp_path)})


def test_vectors_of_some_places_are_scored_with_a_warning(given, tmp_path):
    frame = pd.read_parquet(truth(tmp_path))
    frame.iloc[5:].to_csv(tmp_path / "some.csv", index=False)
    vectors = {"truth": truth(tmp_path), "some": tmp_path / "some.csv"}
    found = benchmark_run(given[0], vectors=vectors)
    (said,) = [w for w in found.report.warnings if "no vector" in w]
    assert said.startswith("some has no vector, or not all of it, for 5 of ")


def test_vectors_of_other_places_are_refused(given, tmp_path):
    frame = pd.DataFrame({"cell": ["872830828ffffff"], "v0": [1.0]})
    frame.to_csv(tmp_path / "far.csv", index=False)
    with pytest.raises(MoraError, match="1 of 1 rows lie outside all 91"):
        benchmark_run(given[0], vectors={"far": tmp_path / "far.csv"})


def test_tuned_baselines_say_what_was_chosen(given):
    changes = {"baselines": ["harmonics"], "tune": True}
    found = benchmark_run(given[0], changes=changes)
    chosen = found.report.chosen["harmonics"]["wealth"]["blocked"]
    assert len(chosen) == 2
    assert set(chosen) <= {0, 1, 2, 3}
    widths = [vectors.shape[1] for vectors in found.models["harmonics"]]
    assert sorted(widths) == [25, 100, 256, 1024]  # whatever degree is configured


@pytest.mark.parametrize(
    ("changes", "vectors"),
    [
        ({"baselines": ["rawr"]}, {}),
        ({"protocols": ["blokced"]}, {}),
        ({}, {"mine": Path("none.parquet")}),
    ],
)
def test_mistakes_are_found_before_the_run(given, tmp_path, changes, vectors):
    with pytest.raises(MoraError):
        benchmark_run(given[0], folder=tmp_path, changes=changes, vectors=vectors)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ listing


def test_the_papers_nine_tasks_come_first():
    rows = declared_tasks()
    names = ["POP", "EDU", "ELD", "HSR", "CRI", "NTL", "HOU", "ENE", "COS"]
    assert {row["task"] for row in rows[:9]} == set(names)
    by_name = {row["task"]: row for row in rows}
    assert by_name["CRI"]["transform"] == "log1p"
    assert by_name["POP"]["samples"] == 194_232
    assert [row["task"] for row in rows if not row["public"]] == ["ENE", "COS"]
    assert by_name["ENE"]["scale"] == "city"


def test_the_tasks_of_a_run_have_counts(given):
    rows = tasks_of_run(given[0], None, Display())
    assert rows[0]["task"] == "wealth"
    assert rows[0]["samples"] == len(planted_city().tokens)
    assert rows[0]["lowest"] < rows[0]["highest"]
    assert (given[1] / "run" / "coverage.png").is_file()


def test_an_unknown_declaration_is_refused():
    config = settings_of({"table": {}, "value": "x"})
    config["evaluation"]["labels"] = [{"declared": "paper.crimes", "table": {}}]
    with pytest.raises(ConfigError, match=r"Did you mean 'paper\.crime'"):
        load_config(config)


# ------------------------------------------------------------------- bundle


@pytest.fixture(scope="module")
def bundle(given, tmp_path_factory):
    target = tmp_path_factory.mktemp("bundle")
    export_bundle(given[0], target, changes={"protocols": ["blocked", "random@50"]})
    return target


def test_a_bundle_gives_the_scores_of_the_run(given, bundle, tmp_path):
    vectors = {"truth": truth(tmp_path)}
    ours = benchmark_run(
        given[0], vectors=vectors, changes={"protocols": ["blocked", "random@50"]}
    )
    report = score_bundle(bundle, vectors, {"readouts": "ridge"}, Display())
    for protocol in ("blocked", "random@50"):
        np.testing.assert_allclose(
            report.scores["wealth"]["truth"]["ridge"][protocol],
            ours.report.scores["wealth"]["truth"]["ridge"][protocol],
        )


def test_a_bundle_is_plain_tables(bundle):
    splits = pd.read_parquet(bundle / "splits.parquet")
    assert list(splits) == ["task", "protocol", "trial", "fold", "unit", "part"]
    counts = splits[splits["protocol"] == "blocked"].groupby("trial")["unit"].nunique()
    assert set(counts) == {len(planted_city().tokens)}
    manifest = json.loads((bundle / "bundle.json").read_text())
    assert manifest["tasks"]["wealth"]["licence"] == "CC0"
    assert set(manifest["sha256"]) == {"units", "labels", "pooling", "splits"}
    assert "a planted city; CC0" in (bundle / "README.md").read_text()
    assert len(read_bundle(bundle).tokens) == len(planted_city().tokens)


def test_a_changed_bundle_is_refused(bundle, tmp_path):
    for file in bundle.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    labels = pd.read_parquet(tmp_path / "labels.parquet")
    labels.assign(label=0.0).to_parquet(tmp_path / "labels.parquet", index=False)
    with pytest.raises(RunError, match="labels differ from the checksums"):
        read_bundle(tmp_path)


def test_another_version_and_no_bundle_are_refused(tmp_path):
    with pytest.raises(RunError, match="holds no bundle"):
        read_bundle(tmp_path)
    (tmp_path / "bundle.json").write_text('{"version": 99}')
    with pytest.raises(RunError, match="has version 99; expected 1"):
        read_bundle(tmp_path)


def test_splits_of_a_bundle_are_fixed(bundle, tmp_path):
    vectors = {"truth": truth(tmp_path)}
    with pytest.raises(ConfigError, match="splits set; expected at least one"):
        score_bundle(bundle, vectors, {"splits": 7}, Display())
    with pytest.raises(ConfigError, match="0 vectors"):
        score_bundle(bundle, {}, {}, Display())
