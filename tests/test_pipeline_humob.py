"""The steps of a HuMob run, on generated cities."""

import json

import numpy as np
import pytest

from mora.config import load_section
from mora.errors import ConfigError, MoraError, PersonalDataError
from mora.personal import require_not_personal
from mora.pipeline.display import Display
from mora.pipeline.humob import NETWORK, HumobRun
from mora.pipeline.humob_cities import read_city
from mora.pipeline.humob_config import HumobConfig
from mora.pipeline.humob_export import score_files, write_cities
from mora.trajectories.events import MASKED
from mora.trajectories.humob.files import read_humob, write_humob
from mora.trajectories.humob.submission import validate_submission

LAYOUT = {"seed": 1, "width": 24, "height": 24, "centres": 2, "pois": 500}
TRAINING = {
    "epochs": 1,
    "batch_size": 64,
    "accelerator": "cpu",
    "learning_rate": 0.03,
}


def city(users, seed=1, days=12):
    layout = LAYOUT | {"seed": seed}
    return {"generated": {"users": users, "days": days, "layout": layout}}


def settings(**changes):
    given = {
        "name": "tiny",
        "cities": {
            "A": city(14) | {"target_users": 3},
            "B": city(12, seed=2) | {"target_users": 4},
        },
        "first_target_day": 9,
        "days": 12,
        "preset": "tiny",
        "network": {"input_seq_length": 12, "prior": True, "padding_mask": True},
        "learning": {"training": TRAINING, "held_out_days": 2},
        "baselines": ["medoid", "user_mode"],
    }
    return load_section(given, HumobConfig, changes)


class Told(Display):
    """Keeps what it is told."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    run = HumobRun(settings(), tmp_path_factory.mktemp("humob"), Told())
    return run, run.score()


def test_every_city_is_scored_beside_the_baselines(done):
    run, tables = done
    assert list(tables) == ["A", "B"]
    for name, table in tables.items():
        models = {score.model for score in table.scores}
        assert models == {NETWORK, "medoid", "user_mode"}
        assert table.find(NETWORK, "geo_bleu").users == len(run.city(name).truth.users)
        assert (run.home / f"scores-{name}.csv").read_text() == table.to_csv()
        assert table.to_markdown() in (run.home / "scores.md").read_text()


def test_what_is_done_is_not_done_again(done):
    run, tables = done
    again = HumobRun(settings(), run.home, Told())
    assert again.score() == tables
    assert {line for line in again.display.lines if "A" in line or "B" in line} == {
        "Training on city A: unchanged",
        "Predicting city A: unchanged",
        "Tuning to city B: unchanged",
        "Predicting city B: unchanged",
    }


def test_truth_changes_no_prediction(done, monkeypatch, tmp_path):
    """What is hidden is hidden: the places of the target days are never read."""
    run, _ = done
    from mora.pipeline import humob

    def elsewhere(name, config):
        found = read_city(name, config)
        moved = found.truth.with_tokens(np.zeros_like(found.truth.token))
        return humob.City(name, found.history, found.wanted, moved, found.categories)

    monkeypatch.setattr(humob, "read_city", elsewhere)
    other = HumobRun(settings(), tmp_path)
    np.testing.assert_array_equal(
        other.predict("B", "network"), run.predict("B", "network")
    )


def test_predictions_are_personal(done):
    run, _ = done
    with pytest.raises(PersonalDataError):
        require_not_personal(run.home / "predict-B" / "tokens.npy")
    ids = run.city("B").wanted.users
    assert len(np.load(run.home / "predict-B" / "tokens.npy")) == len(
        run.city("B").wanted
    )
    assert not any(
        str(ids.tolist()) in p.read_text() for p in run.home.glob("*/*.json")
    )


def test_recommends_what_does_better_on_held_out_days(done):
    run, _ = done
    choice = run.choose("B")
    better = NETWORK if choice["difference"] > 0 else "medoid"
    assert choice["recommended"] == better
    assert f"{better} is recommended" in choice["because"]
    expected = run.predict("B", "network" if better == NETWORK else "medoid")
    np.testing.assert_array_equal(run.predict("B"), expected)
    assert (run.predict("B", "network") != run.predict("B", "medoid")).any()


def test_cities_as_files_give_the_same_predictions(done, tmp_path):
    run, _ = done
    written = write_cities(settings(), tmp_path)
    assert {path.name for path in written} == {
        f"{start}{name}{end}"
        for name in "AB"
        for start, end in [
            ("city", "-dataset.csv.gz"),
            ("city", "-truth.csv.gz"),
            ("POI_city", ".csv"),
        ]
    }
    config = {
        "cities": {
            name: {
                "path": str(tmp_path / f"city{name}-dataset.csv.gz"),
                "truth": str(tmp_path / f"city{name}-truth.csv.gz"),
                "categories": str(tmp_path / f"POI_city{name}.csv"),
                "generated": None,
                "target_users": None,
            }
            for name in "AB"
        }
    }
    given = settings(**config)
    for name in "AB":
        ours, read = run.city(name), read_city(name, given)
        for part in ("history", "wanted", "truth"):
            first, second = getattr(ours, part), getattr(read, part)
            xy = [e.tokens.xy()[e.token] for e in (first, second)]
            np.testing.assert_array_equal(first.time(), second.time())
            if part != "wanted":
                np.testing.assert_array_equal(*xy)
        assert (read.wanted.token == MASKED).all()
        assert read.categories.sum() == ours.categories.sum()


def test_a_submission_is_valid_and_scored_from_files(tmp_path):
    config = settings(
        cities={"A": city(10, days=75) | {"target_users": 2}},
        days=75,
        first_target_day=60,
    )
    run = HumobRun(config, tmp_path / "run")
    path = run.submit("A", "medoid", tmp_path / "sent", "us", "giscup2025")
    assert path.name == "us_cityA_humob25.csv.gz"
    asked = run.city("A").wanted
    assert not validate_submission(path, asked, "giscup2025").findings
    write_humob(run.city("A").truth, tmp_path / "truth.csv", first_day=1)
    from mora.trajectories.humob.scoring import compare

    table = compare(
        {"medoid": run.predict("A", "medoid")},
        run.city("A").truth,
        variant="giscup2025",
    )
    found = score_files(path, tmp_path / "truth.csv", "giscup2025")
    assert found["geo_bleu"] == pytest.approx(table.find("medoid", "geo_bleu").mean)


def test_users_without_history_get_the_city_mode(tmp_path):
    run = HumobRun(settings(), tmp_path)
    found = run.city("B")
    first = found.wanted.users[0]
    rows = found.history.users[found.history.user_rows()] == first
    run._read["B"] = type(found)(
        "B", found.history.select(~rows), found.wanted, found.truth, found.categories
    )
    tokens = run.predict("B", "network")
    mode = np.bincount(run.city("B").history.token).argmax()
    assert (tokens[: found.wanted.offsets[1]] == mode).all()
    assert len(set(tokens[found.wanted.offsets[1] :].tolist())) > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {
            "preset": "improved",
            "network": {
                "hidden_size": 8,
                "hidden_layers": 1,
                "attention_heads": 2,
                "input_seq_length": 12,
                "max_seq_length": 60,
            },
        },
        {"network": {"hidden_size": 8}},
        {"learning": {"training": {"epochs": 2}}},
        {"finetuning": {"learning_rate": 0.05}},
        {"finetuning": {"epochs": 3, "learning_rate": 0.01}},
        {"prediction": {"decoding": "proximity"}},
        {"place_vectors": {"dim": 4, "training": TRAINING}},
        {"pretrain": "B"},
    ],
    ids=str,
)
def test_changes_the_predictions(done, tmp_path, changes):
    run, _ = done
    other = HumobRun(settings(**changes), tmp_path)
    same_question = len(other.city("B").wanted) == len(run.city("B").wanted)
    found = other.predict("B", "network")
    expected = run.predict("B", "network")
    assert not (same_question and np.array_equal(found, expected))


@pytest.mark.parametrize(
    ("changes", "users", "days"),
    [
        ({}, 4, {9, 10, 11}),
        ({"first_target_day": 10}, 4, {10, 11}),
        ({"cities": {"B": {"target_users": 2}}}, 2, {9, 10, 11}),
    ],
    ids=str,
)
def test_what_is_hidden(changes, users, days):
    found = read_city("B", settings(**changes))
    assert len(found.wanted.users) == users
    assert set(found.wanted.day.tolist()) == days
    assert (found.wanted.token == MASKED).all()
    assert (found.truth.token != MASKED).all()
    hidden = np.isin(found.history.users, found.wanted.users)
    late = found.history.day >= min(days)
    assert not (hidden[found.history.user_rows()] & late).any()


def test_days_left_out(tmp_path):
    write_cities(settings(), tmp_path)
    path = str(tmp_path / "cityB-dataset.csv.gz")
    given = {"path": path, "generated": None, "target_users": None, "leave_out": [3]}
    left = read_city("B", settings(cities={"B": given})).history
    assert set(range(9)) - set(left.day.tolist()) == {3}


def test_the_variant_changes_the_scores(done):
    run, tables = done
    other = HumobRun(settings(variant="giscup2025"), run.home).score(["A"])["A"]
    assert (
        other.find("medoid", "dtw_km").mean != tables["A"].find("medoid", "dtw_km").mean
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pretrain": "Z"}, r"pretrain is 'Z'; expected one of the cities A, B"),
        ({"first_target_day": 12}, "expected a day before the last"),
        (
            {"cities": {"A": {"path": "x.csv"}}},
            "either path or generated, and not both",
        ),
        ({"preset": "huge"}, "huge"),
        (
            {"learning": {"seed": 3}},
            r"learning.seed would change nothing; .*`seed:` of",
        ),
        ({"learning": {"network": {}}}, "learning.network would change nothing"),
        ({"place_vectors": {"seed": 3}}, "place_vectors.seed would change nothing"),
        ({"network": {"hiden_size": 8}}, "hiden_size"),
    ],
)
def test_settings_that_cannot_be_followed(changes, message):
    with pytest.raises(MoraError, match=message):
        settings(**changes).bert()


def test_a_city_without_truth_is_not_scored(tmp_path):
    with pytest.raises(
        ConfigError, match=r"city 'Z' is not configured; expected .*A, B"
    ):
        read_city("Z", settings())
    lone = settings(cities={"B": {"target_users": None}})
    with pytest.raises(ConfigError, match="city B has no truth"):
        HumobRun(lone, tmp_path).score(["B"])
    with pytest.raises(ConfigError, match="expected another of A, B"):
        HumobRun(lone, tmp_path).finetune("A")


def test_targets_without_events_are_refused():
    with pytest.raises(ConfigError, match="last 4 of 12 users have no event from day"):
        read_city("B", settings(days=90, first_target_day=80))


def test_truth_that_lacks_an_event_is_refused(tmp_path):
    write_cities(settings(), tmp_path)
    truth = read_humob(tmp_path / "cityB-truth.csv.gz", every_cell=True)
    keep = np.ones(len(truth), bool)
    keep[:2] = False
    write_humob(truth.select(keep), tmp_path / "less.csv")
    given = {"path": str(tmp_path / "cityB-dataset.csv.gz"), "generated": None}
    given |= {"truth": str(tmp_path / "less.csv"), "target_users": None}
    with pytest.raises(
        ConfigError, match=r"2 of \d+ events that are asked for have no"
    ):
        read_city("B", settings(cities={"B": given}))


def test_manifests_say_what_was_done(done):
    run, _ = done
    manifest = json.loads((run.home / "train-A" / "manifest.json").read_text())
    assert manifest["facts"]["best_epoch"] == 1
    assert len(manifest["facts"]["history"]) == 1
    assert manifest["seconds"] > 0
