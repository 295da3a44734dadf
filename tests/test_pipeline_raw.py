"""The steps of a RAW run, on generated people and on tables."""

import json
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mora.cli import app
from mora.config import load_section
from mora.embeddings import read_embeddings
from mora.errors import (
    ConfigError,
    MissingExtraError,
    MissingFileError,
    MoraError,
    PersonalDataError,
)
from mora.personal import require_not_personal
from mora.pipeline.display import Display
from mora.pipeline.raw import RawRun
from mora.pipeline.raw_config import RawRunConfig
from mora.pipeline.raw_experiments import STUDIES, Outcome, Study, run_study
from mora.pipeline.raw_people import read_people
from mora.pipeline.raw_probes import probe_run
from mora.trajectories.raw.presets import RAW_TRAINING
from mora.trajectories.raw.saved import load_raw
from mora.trajectories.raw.user_vectors import read_user_vectors

LAYOUT = {"seed": 1, "width": 24, "height": 24, "centres": 2, "pois": 500}
PEOPLE = {"users": 48, "days": 3, "layout": LAYOUT, "gap_minutes": 40.0}
NETWORK = {"width": 8, "layers": 1, "heads": 2, "time_features": True, "gap_mask": True}
TRAINING = {"epochs": 1, "batch_size": 16, "accelerator": "cpu", "learning_rate": 0.01}


def given(**changes):
    return {
        "name": "tiny",
        "seed": 1,
        "traces": {"generated": PEOPLE},
        "steps": {"length": 24, "minutes": 120.0},
        "test_share": 0.5,
        "preset": "test",
        "network": NETWORK,
        "training": TRAINING,
        "heads": {"repeats": 2},
        "regions": {"resolution": 6},
        "horizon": 2,
    } | changes


def settings(changes=None, **own):
    return load_section(given(**own), RawRunConfig, changes)


class Told(Display):
    """Keeps what it is told."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    run = RawRun(settings(), tmp_path_factory.mktemp("raw"), Told())
    return run, run.evaluate()


def test_a_run_is_gone_on_with(done):
    run, _ = done
    again = RawRun(run.config, run.home, Told())
    again.train()
    assert again.display.lines == ["Pretraining RAW: unchanged"]
    longer = settings({"training": {"weight_decay": 0.5}})
    other = RawRun(longer, run.home, Told())
    assert other.display.lines == []
    before = (run.home / "train" / "manifest.json").read_bytes()
    kept = RawRun(settings({"horizon": 3}), run.home, Told())
    kept.train()  # how far is forecast does not matter to the weights
    assert kept.display.lines == ["Pretraining RAW: unchanged"]
    assert (run.home / "train" / "manifest.json").read_bytes() == before


def test_test_users_are_never_trained_on(done):
    run, _ = done
    people = run.people
    card = json.loads((run.home / "train" / "model.json").read_text())
    trained = card["users"]["training"] + card["users"]["held_out"]
    assert trained == (~people.test).sum() == 24
    # Other points of the test users give the same weights.
    people.steps.lonlat[people.test] += 0.5
    moved = RawRun(run.config, run.home / "moved", Told())
    moved.__dict__["people"] = people
    moved.train()
    people.steps.lonlat[people.test] -= 0.5
    for name, weight in load_raw(moved.home / "train").state_dict().items():
        assert (weight == run.network().state_dict()[name]).all(), name


def test_everything_is_judged_beside_baselines(done):
    run, evaluation = done
    tasks = {score.task for score in evaluation.scores}
    assert {"trips", "transit use", "forecast", "points of interest"} <= tasks
    assert {"RAW", "persistence", "by hand", "user count"} <= set(evaluation.models())
    assert (run.home / "evaluation.csv").is_file()
    lines = (run.home / "forecast.md").read_text().splitlines()
    assert lines[2] == (
        "| minutes | users | RAW | persistence | own mean | own medoid | day before | "
        "next place |"
    )
    assert [line.split(" | ")[0] for line in lines[4:]] == ["| 120", "| 240"]


def test_user_vectors_are_hashed_and_marked(done):
    run, _ = done
    folder = run.embed_users()
    users, vectors = read_user_vectors(folder)
    assert vectors.shape == (48, 8)
    assert not np.isin(users, run.people.steps.users).any()
    assert (np.diff(users.astype(float)) > 0).all()
    with pytest.raises(PersonalDataError):
        require_not_personal(folder / "user_vectors.parquet")
    first = (folder / "salt").read_text()
    run.embed_users()  # unchanged, so that the ids stay the same
    assert (folder / "salt").read_text() == first


def test_forecasts_are_hashed_and_marked(done):
    run, _ = done
    path = run.predict()
    frame = pq.read_table(path).to_pandas()
    assert list(frame.columns) == ["user", "minutes", "lon", "lat"]
    assert frame.groupby("user").size().eq(2).all()
    assert frame.user.nunique() == 48
    assert sorted(frame.minutes.unique()) == [120.0, 240.0]
    assert not frame.user.isin(run.people.steps.users).any()
    with pytest.raises(PersonalDataError):
        require_not_personal(path)


def test_region_vectors_are_embeddings(done):
    run, _ = done
    pooled = run.embed_regions()
    read = read_embeddings(run.home / "embeddings.parquet")
    np.testing.assert_array_equal(read.vectors, pooled.vectors)
    assert read.provenance["pooling"] == "mean"
    require_not_personal(run.home / "embeddings.parquet")


def outcome(home, config):
    run = RawRun(config, home, Told())
    scores = {
        (s.task, s.metric, s.model): s.values
        for s in run.evaluate().scores
        if s.model == "RAW"
    }
    pooled = run.embed_regions()
    return repr(scores), pooled.vectors.tobytes()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return outcome(tmp_path_factory.mktemp("base"), settings())


OTHER_PEOPLE = {"generated": PEOPLE | {"layout": LAYOUT | {"seed": 2}}}
CHANGES = {
    "seed": {"seed": 2},
    "traces": {"traces": {"generated": {"gap_minutes": 80.0}}},
    "length": {"steps": {"length": 20}},
    "minutes": {"steps": {"minutes": 60.0}},
    "fill": {"steps": {"fill": "linear"}, "network": {"gap_mask": False}},
    "min_known": {"steps": {"min_known": 18}},
    "test_share": {"test_share": 0.4},
    "preset": {"preset": "small", "network": {"length": 24}},
    "network": {"network": {"target": "visited", "point": "median"}},
    "pretrained": {"pretrained": OTHER_PEOPLE},
    "pretraining": {"pretraining": "none"},
    "contrast": {"pretraining": "contrastive"},
    "training": {"training": {"epochs": 2}},
    "vectors": {"heads": {"vectors": "mean_std"}},
    "fitted_on": {"heads": {"fitted_on": "all"}},
    "repeats": {"heads": {"repeats": 3}},
    "resolution": {"regions": {"resolution": 7}},
    "pooling": {"regions": {"pooling": "sum"}},
    "min_users": {"regions": {"min_users": 6}},
    "horizon": {"horizon": 3},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_changes_the_result(name, base, tmp_path):
    assert outcome(tmp_path, settings(CHANGES[name])) != base


def test_how_users_are_contrasted_changes_the_network(tmp_path):
    weights = []
    for i, crop in enumerate((0.5, 0.9)):
        changes = {"pretraining": "contrastive", "contrastive": {"crop": crop}}
        run = RawRun(settings(changes), tmp_path / str(i), Told())
        weights.append(run.network().position.weight.detach().numpy())
    assert not np.array_equal(*weights)


def test_equal_settings_give_equal_results(base, tmp_path):
    assert outcome(tmp_path, settings()) == base


def test_name_and_folder_do_not(base, tmp_path):
    assert outcome(tmp_path, settings({"name": "x", "folder": "y"})) == base


# Tables


def write_table(folder):
    people = read_people(settings())
    traces = people.traces
    user = np.array([f"user {u}" for u in traces.users[traces.user_rows()]])
    frame = pd.DataFrame(traces.lonlat, columns=["x", "y"])
    frame["who"] = user
    frame["when"] = pd.to_datetime(traces.seconds, unit="s", utc=True)
    frame.to_csv(folder / "points.csv", index=False)
    names = [f"user {u}" for u in traces.users]
    kind = np.where(
        people.labels["trips"] > np.median(people.labels["trips"]), "a", "b"
    )
    labels = {"id": names, "kind": kind, "trips": people.labels["trips"]}
    pd.DataFrame(labels)[:46].to_csv(folder / "labels.csv", index=False)


def of_table(folder, **more):
    columns = {"user": "who", "time": "when", "lon": "x", "lat": "y"}
    own = {"user": "id", "kind": "kind", "trips": "trips"}
    return {
        "table": {"path": str(folder / "points.csv"), "columns": columns},
        "labels": {"path": str(folder / "labels.csv"), "columns": own},
    } | more


def test_tables_with_labels_are_scored(tmp_path):
    write_table(tmp_path)
    config = settings(traces=of_table(tmp_path), test_share=0.7)
    run = RawRun(config, tmp_path / "run", Told())
    scores = {(s.task, s.metric) for s in run.evaluate().scores}
    assert ("kind", "accuracy") in scores
    assert ("trips", "pearson") in scores
    assert pd.isna(run.people.labels["trips"]).sum() == 2
    assert "salt" not in {p.name for p in run.home.iterdir()}
    text = "".join(p.read_text() for p in run.home.glob("*.md"))
    assert "user 1" not in text


def test_the_timezone_moves_the_clock(tmp_path):
    write_table(tmp_path)
    hours = [
        read_people(settings(traces=of_table(tmp_path, timezone=zone))).traces.hour()
        for zone in ("UTC", "Asia/Tokyo")
    ]
    np.testing.assert_allclose((hours[1] - hours[0]) % 24, 9)


def test_another_table_trains_anew(tmp_path):
    write_table(tmp_path)
    home, config = tmp_path / "run", settings(traces=of_table(tmp_path))
    RawRun(config, home, Told()).train()
    frame = pd.read_csv(tmp_path / "points.csv")
    frame[: len(frame) - 9].to_csv(tmp_path / "points.csv", index=False)
    told = Told()
    RawRun(config, home, told).train()
    assert told.lines[0] == "Pretraining RAW"


def test_labels_of_others_are_refused(tmp_path):
    write_table(tmp_path)
    frame = pd.read_csv(tmp_path / "labels.csv")
    frame["id"] = "nobody"
    frame.to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(MoraError, match="none of 1 labelled users is among 48 users"):
        read_people(settings(traces=of_table(tmp_path)))


def test_two_numbers_are_classes():
    people = read_people(settings())
    rows = np.arange(48)
    people.labels["half"] = (rows % 2).astype(float)
    assert people.task("half", rows).kind == "classes"
    assert people.task("trips", rows).kind == "numbers"


# Bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": {"widht": 3}}, "unknown key 'widht'; did you mean 'width'"),
        ({"network": {"heads": 3}}, "expected a width that the heads divide"),
        ({"preset": "huge"}, "no preset 'huge' of RAW"),
        ({"horizon": 24}, "horizon 24 of 24 steps"),
        ({"traces": {"table": {"path": "x.csv"}}}, "either table or generated"),
        ({"network": {"gap_mask": False, "hidden": 0.1}}, "expected gap_mask: true"),
        ({"test_share": 1.0}, "test_share"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        settings(changes)


def test_what_is_not_set_of_the_training_is_the_papers():
    training = settings({"training": {"epochs": 7}}).training
    assert training.epochs == 7
    assert training.schedule == RAW_TRAINING.schedule == "linear"
    assert training.batch_size == 16
    assert load_section(
        {"name": "a", "traces": {"generated": {}}}, RawRunConfig
    ).training == (RAW_TRAINING)


def test_too_few_people_are_refused(tmp_path):
    few = settings({"traces": {"generated": {"users": 4}}, "test_share": 0.1})
    with pytest.raises(MoraError, match="4 users, 0 of them for the test"):
        RawRun(few, tmp_path, Told()).train()


def test_labels_that_cannot_be_scored_are_told(tmp_path):
    config = settings({"traces": {"generated": {"commuters": 0.0}}})
    told = Told()
    RawRun(config, tmp_path, told).evaluate()
    assert any("not scored: task 'commuter'" in line for line in told.lines)


# Probes


def test_probes_are_written_and_drawn(done):
    pytest.importorskip("matplotlib")
    run, _ = done
    text = probe_run(run)
    assert text == (run.home / "probes.md").read_text()
    for start in ("| home (km)", "| work (km)", "| hour (hours)"):
        assert start in text
    heads = pd.read_csv(run.home / "attention.csv")
    assert list(heads["head"]) == [0, 1]
    assert (run.home / "attention.png").stat().st_size > 5_000


def test_probes_of_tables_take_night_and_noon(tmp_path):
    pytest.importorskip("matplotlib")
    write_table(tmp_path)
    run = RawRun(settings(traces=of_table(tmp_path)), tmp_path / "run", Told())
    assert run.people.home is None
    assert "| home (km)" in probe_run(run)


def test_probes_need_matplotlib(done, monkeypatch):
    run, _ = done
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match="matplotlib"):
        probe_run(run)


# Studies


@pytest.mark.slow
def test_a_study_compares_variants_in_pairs(tmp_path, monkeypatch):
    variants = {"one": {}, "two": {"network": {"target": "move"}}}
    study = Study("One or two", variants)
    monkeypatch.setitem(STUDIES, "tiny", lambda _: study)
    found = run_study("tiny", settings(), tmp_path, [1, 2])
    assert len(found.values["forecast", "km at 120 min"]["two"]) == 2
    text = (tmp_path / "experiments" / "tiny" / "tiny.md").read_text()
    assert "| task | metric | one | two |" in text
    frame = pd.read_csv(tmp_path / "experiments" / "tiny" / "tiny.csv")
    assert set(frame.variant) == {"one", "two"}
    assert set(frame.seed) == {1, 2}


def test_paired_differences_by_hand():
    values = {("trips", "mae"): {"one": [1.0, 2.0], "two": [2.0, 5.0]}}
    text = Outcome(Study("x", {"one": {}, "two": {}}), values, [1, 2]).to_markdown()
    assert "| trips | mae | 1.500 | 3.500 (+2.000 ± 1.000) |" in text


@pytest.mark.parametrize("name", ["pretraining", "options", "transfer", "sparsity"])
def test_variants_of_studies_are_valid_and_differ(name):
    config = settings()
    made = [
        settings(changes).model_dump_json()
        for changes in STUDIES[name](config).variants.values()
    ]
    assert len(set(made)) == len(made) > 2


def test_unknown_studies_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no study 'x'; expected one of pretraining"):
        run_study("x", settings(), tmp_path, [1])


def test_studies_of_made_up_people_refuse_tables(tmp_path):
    write_table(tmp_path)
    with pytest.raises(ConfigError, match="varies generated traces"):
        run_study("sparsity", settings(traces=of_table(tmp_path)), tmp_path, [1])


# Commands


def call(*words):
    return CliRunner().invoke(app, ["raw", *map(str, words)], catch_exceptions=False)


@pytest.mark.parametrize(
    "command",
    ["train", "embed-users", "embed-regions", "predict", "evaluate", "probe"],
)
def test_commands_explain_themselves(command):
    found = call(command, "--help")
    assert found.exit_code == 0
    assert "--config" in found.output


def test_studies_are_listed():
    found = call("experiment", "--list")
    assert found.exit_code == 0
    assert [line.split()[0] for line in found.output.splitlines()] == [*STUDIES]


def test_commands_run_from_a_file(tmp_path):
    file = tmp_path / "raw.yaml"
    file.write_text(json.dumps(given()))  # JSON is YAML
    where = ("--config", file, "--folder", tmp_path / "run")
    assert "Pretraining RAW" in call("train", *where).output
    assert "cells" in call("embed-regions", *where).output
    scores = json.loads(call("evaluate", *where, "--json").output)
    assert {"task", "metric", "model", "mean", "std"} == set(scores[0])


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.yaml"):
        call("train", "--config", tmp_path / "none.yaml")
