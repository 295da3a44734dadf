"""A published folder: whole, described, verifiable, and never in the way of another."""

import hashlib
import json
import os
import stat
from datetime import date, datetime

import numpy as np
import pytest
import torch
import yaml
from tests.published_run import BRIEF, CONFIG, SMALL, memory_of, write_run
from tests.small_run import contents

from mora.benchmark.bootstrap import Interval
from mora.distill import CoordinateEncoder, DistilledModel, load, save
from mora.embeddings import read_embeddings
from mora.errors import ConfigError, MissingExtraError, MoraError
from mora.publish import publish
from mora.publish.attacks import AttackResult
from mora.publish.card import evaluation_table
from mora.publish.stac import stac_item
from mora.publish.user_membership import UserAttack

FILES = {
    "README.md",
    "SHA256SUMS",
    "config.json",
    "embeddings.parquet",
    "model.safetensors",
    "privacy.json",
    "stac.json",
}


def make(run, to, config=CONFIG, **options):
    return publish(run, to, config, distillation=SMALL, training=BRIEF, **options)


def fitted(embeddings):
    """Make the encoder of one layer that comes nearest to the vectors."""
    model = DistilledModel([embeddings.dim], degree=8)
    inputs = model.inputs(torch.from_numpy(embeddings.tokens.centroids()))
    vectors = torch.from_numpy(embeddings.vectors).double()
    layer = model.network[0]
    with torch.no_grad():
        layer.weight.copy_((torch.linalg.pinv(inputs, rtol=1e-4) @ vectors).T)
        layer.bias.zero_()
    return model


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Publish a run whose first place had too few users."""
    folder = tmp_path_factory.mktemp("publish")
    write_run(folder / "run")
    told = []
    make(folder / "run", folder / "hub" / "city", progress=lambda *t: told.append(t))
    assert told[-1][0] == told[-1][1]  # progress goes to the end
    return folder


@pytest.fixture(scope="module")
def hub(home):
    return home / "hub" / "city"


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Publish with an encoder that is there already."""
    folder = tmp_path_factory.mktemp("quick")
    _, _, embeddings = write_run(folder / "run", applied=5)
    save(fitted(embeddings), folder / "encoder")

    def call(
        to,
        run=folder / "run",
        encoder=folder / "encoder",
        force=False,
        attack_users=None,
        days_of_records=None,
        **changes,
    ):
        config = CONFIG.model_copy(update={"attacks": False, **changes})
        return publish(
            run,
            to,
            config,
            encoder=encoder,
            attack_users=attack_users,
            days_of_records=days_of_records,
            force=force,
        )

    call.folder = folder
    return call


def card(folder):
    """Read a card's front matter and text."""
    _, matter, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(matter), text


# What is in it


def test_the_folder_is_whole(hub):
    assert {file.name for file in hub.iterdir()} == FILES
    assert [file.name for file in hub.parent.iterdir()] == ["city"]


def test_all_files_have_the_mode_that_the_umask_gives(quick, tmp_path):
    before = os.umask(0o027)
    try:
        quick(tmp_path / "out")
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(f.stat().st_mode) for f in (tmp_path / "out").iterdir()}
    assert modes == {0o640}


def test_checksums_are_those_of_the_files(hub):
    sums = dict(
        reversed(line.split("  "))
        for line in (hub / "SHA256SUMS").read_text().splitlines()
    )
    assert set(sums) == FILES - {"SHA256SUMS"}
    for name, expected in sums.items():
        assert hashlib.sha256((hub / name).read_bytes()).hexdigest() == expected


def test_places_of_few_users_are_in_no_file(home, hub):
    everything = read_embeddings(home / "run" / "embeddings.parquet")
    found = read_embeddings(hub / "embeddings.parquet")
    np.testing.assert_array_equal(found.tokens.ids, everything.tokens.ids[1:])
    np.testing.assert_array_equal(found.vectors, everything.vectors[1:])
    np.testing.assert_array_equal(found.population, everything.population[1:])
    hidden = everything.tokens.names()[0].encode()
    assert not any(hidden in file.read_bytes() for file in hub.iterdir())


def test_the_encoder_gives_the_vectors(hub):
    found = read_embeddings(hub / "embeddings.parquet")
    encoder = CoordinateEncoder.load(hub)
    vectors = encoder.encode(found.tokens.centroids())
    errors = ((vectors - found.vectors) ** 2).sum()
    assert errors < 0.8 * ((found.vectors - found.vectors.mean(0)) ** 2).sum()
    assert encoder.provenance["run"] == "city"


def test_publishing_again_gives_the_same_bytes(quick, tmp_path):
    few = {"attacks": True, "attack_pairs": 50}
    quick(tmp_path / "once", **few)
    quick(tmp_path / "again", **few)
    assert contents(tmp_path / "once") == contents(tmp_path / "again")


def test_no_path_of_this_computer_is_published(home, hub):
    for file in hub.iterdir():
        assert str(home).encode() not in file.read_bytes()


# The STAC item


def test_stac_item_has_the_required_fields(hub):
    item = json.loads((hub / "stac.json").read_text())
    assert item["type"] == "Feature"
    assert item["stac_version"] == "1.1.0"
    assert isinstance(item["id"], str)
    assert isinstance(item["links"], list)
    west, south, east, north = item["bbox"]
    assert -180 <= west < east <= 180
    assert -90 <= south < north <= 90
    (ring,) = item["geometry"]["coordinates"]
    assert item["geometry"]["type"] == "Polygon"
    assert ring[0] == ring[-1]
    assert {tuple(p) for p in ring} == {
        (x, y) for x in (west, east) for y in (south, north)
    }
    properties = item["properties"]
    assert properties["datetime"] is None  # then both ends are required
    start, end = (
        datetime.fromisoformat(properties[f"{side}_datetime"])
        for side in ("start", "end")
    )
    assert start.tzinfo is not None
    assert (start.date(), end.date()) == CONFIG.period
    assert properties["license"] == "cc-by-4.0"
    for name, asset in item["assets"].items():
        assert (hub / asset["href"]).is_file(), name
        assert asset["type"]
        assert asset["roles"]
    assert set(item["assets"]) == FILES - {"stac.json", "SHA256SUMS"}


def test_bounds_hold_all_places(hub):
    west, south, east, north = json.loads((hub / "stac.json").read_text())["bbox"]
    lon, lat = read_embeddings(hub / "embeddings.parquet").tokens.centroids().T
    assert west < lon.min() < lon.max() < east
    assert south < lat.min() < lat.max() < north


def test_each_argument_of_the_item_shows():
    day = date(2024, 1, 1)
    usual = ("name", "title", (0.0, 1.0, 2.0, 3.0), (day, day), "mit", ["README.md"])
    others = ("other", "T", (0.0, 1.0, 2.0, 4.0), (day, date(2025, 1, 1)), "cc0", [])
    for position, other in enumerate(others):
        changed = (*usual[:position], other, *usual[position + 1 :])
        assert stac_item(*changed) != stac_item(*usual)


# The card


def test_front_matter_is_what_hubs_and_machines_read(hub):
    matter, _ = card(hub)
    assert matter["license"] == "cc-by-4.0"
    assert matter["library_name"] == "mora"
    assert "mobility" in matter["tags"]
    mora = matter["mora"]
    assert mora["data"] == {"mobility": "visits", "modalities": ["poi"]}
    assert mora["vintage"] == ["2024-01-01", "2024-03-31"]
    assert mora["input_licences"] == {"mobility.table.path[0]": "not stated"}
    assert mora["privacy"]["min_users"] == 3
    assert mora["privacy"]["hidden"] == 1
    assert len(mora["privacy"]["attacked"]) == 2 * 2 * 4


def test_card_tells_evaluation_privacy_and_limits(hub):
    _, text = card(hub)
    assert "# city" in text
    assert "| wealth | 0.500 ± 0.020 | 0.100 |" in text
    assert "crowd is given away by the inputs" in text
    assert "216 h3 places" in text
    assert "1 places are kept back" in text
    assert "Edges of 2 to 2 users took part in learning" in text
    assert "4,000 of 9,000 edges of fewer than 2 users were hidden" in text
    assert "Made up." in text
    assert "CoordinateEncoder.load" in text
    assert "| random | distilled encoder |" in text  # held-out cells
    for stage in ("Anonymise", "Aggregate", "Learn", "Distil"):
        assert f"**{stage}.**" in text


def test_vectors_that_memorise_edges_are_called_unsafe(tmp_path):
    _, graph, _ = write_run(tmp_path / "plain")
    write_run(tmp_path / "memory", memory_of(graph))
    config = CONFIG.model_copy(update={"attack_pairs": 100})
    brief = BRIEF.model_copy(update={"epochs": 1})
    to = tmp_path / "out"
    found = publish(tmp_path / "memory", to, config, distillation=SMALL, training=brief)
    assert (found.places, found.hidden) == (216, 1)
    assert {result.subject for result in found.attacks.unsafe()} >= {"embeddings"}
    assert "Not safe to share" in card(to)[1]
    told = json.loads((to / "privacy.json").read_text())
    assert told["attacks"]["unsafe"] == found.attacks.to_json()["unsafe"]


def test_table_of_another_protocol_and_of_none():
    report = {"tasks": {"a": {"m": {"random": {"mean": 0.25, "std": None}}}}}
    assert "| a | 0.250 |" in evaluation_table(report, "random")
    assert evaluation_table(report) == "The run was not evaluated on blocked splits."
    assert evaluation_table({}) == "The run was not evaluated on blocked splits."


def test_missing_scores_leave_a_gap():
    blocked = {"mean": 0.5, "std": 0.1}
    report = {
        "tasks": {
            "a": {"m": {"blocked": blocked}, "n": {"blocked": blocked}},
            "b": {"n": {"blocked": {"mean": None, "std": None}}},
        }
    }
    assert "| b |  |  |" in evaluation_table(report)


# Options


def test_an_encoder_that_is_given_is_published(quick, tmp_path):
    quick(tmp_path / "out")
    given = load(quick.folder / "encoder").state_dict()
    for name, value in load(tmp_path / "out").state_dict().items():
        assert (value == given[name]).all()
    assert "distilled before" in card(tmp_path / "out")[1]


def test_an_encoder_that_knows_hidden_places_is_refused(home, quick, tmp_path):
    with pytest.raises(MoraError, match="1 of 217 places are kept back, and"):
        quick(tmp_path / "out", run=home / "run")
    assert not (tmp_path / "out").exists()


def test_an_encoder_of_another_run_is_refused(quick, tmp_path):
    _, graph, embeddings = write_run(
        tmp_path / "wide", np.ones((217, 5), "f4"), applied=5
    )
    with pytest.raises(MoraError, match="gives vectors of 8 numbers, the run has 5"):
        quick(tmp_path / "out", run=tmp_path / "wide")
    write_run(
        tmp_path / "far",
        9 - embeddings.vectors[:, [0] * 8] * graph.degree()[:, None].astype("f4"),
        applied=5,
    )
    with pytest.raises(MoraError, match="of the variance of the run's vectors; expect"):
        quick(tmp_path / "out", run=tmp_path / "far")


def test_each_setting_shows(quick, tmp_path):
    quick(tmp_path / "usual")
    usual = contents(tmp_path / "usual")
    changes = {
        "licence": "mit",
        "period": (date(2020, 1, 1), date(2020, 2, 1)),
        "title": "Heading",
        "tags": ("city",),
        "input_licences": {"mobility.table": "odbl"},
        "intended_use": "None.",
        "limits": ("Not on Sundays.",),
        "min_users": 4,
    }
    for name, value in changes.items():
        quick(tmp_path / name, **{name: value})
        assert contents(tmp_path / name)["README.md"] != usual["README.md"], name
    assert "odbl, checksum abc123" in card(tmp_path / "input_licences")[1]
    assert "- Not on Sundays." in card(tmp_path / "limits")[1]
    assert "# Heading" in card(tmp_path / "title")[1]


def test_licences_of_what_is_no_input_are_refused_before_any_work(quick, tmp_path):
    asked = []
    licences = {"mobility.tabel": "odbl", "mobility.table": "mit"}
    with pytest.raises(ConfigError) as refused:
        quick(
            tmp_path / "out",
            input_licences=licences,
            days_of_records=lambda: asked.append("read"),
        )
    told = str(refused.value)
    assert "'mobility.tabel' is no input of the run (did you mean 'mobility.tab" in told
    assert "which are mobility.table.path[0]," in told
    assert asked == []
    assert not (tmp_path / "out").exists()


def test_a_period_without_any_record_is_refused(quick, tmp_path):
    days = date(2009, 4, 1), date(2010, 10, 31)
    for period in (
        (date(2000, 1, 1), date(2009, 3, 31)),
        (date(2010, 11, 1), date(2012, 1, 1)),
    ):
        said = f"period is {period[0]} to {period[1]}, but .* 2009-04-01 to 2010-10-31"
        with pytest.raises(ConfigError, match=said):
            quick(tmp_path / "out", period=period, days_of_records=lambda: days)
    assert not (tmp_path / "out").exists()


def test_records_outside_of_the_period_are_told(quick, tmp_path):
    said = {
        (date(2023, 12, 31), date(2024, 3, 31)): "2023-12-31 to 2024-03-31",
        (date(2024, 3, 31), date(2024, 4, 1)): "2024-03-31 to 2024-04-01",
    }
    for number, (days, shown) in enumerate(said.items()):
        to = tmp_path / str(number)
        quick(to, days_of_records=lambda days=days: days)
        told = f"of 2024-01-01 to 2024-03-31 as stated, from records of {shown}."
        assert told in card(to)[1]
    for name, days in (("within", CONFIG.period), ("unknown", None)):
        quick(tmp_path / name, days_of_records=lambda days=days: days)
        assert "of 2024-01-01 to 2024-03-31." in card(tmp_path / name)[1]


def test_without_the_table_only_the_encoder_goes(quick, tmp_path):
    quick(tmp_path / "out", embeddings=False)
    assert {p.name for p in (tmp_path / "out").iterdir()} == FILES - {
        "embeddings.parquet"
    }


def test_the_verdict_is_on_what_goes(quick, tmp_path):
    found = quick(tmp_path / "out", embeddings=False, attacks=True)
    assert found.attacks.kept_back == ("embeddings",)


def test_attack_settings_change_the_attacks(quick, tmp_path):
    few = {"attacks": True, "attack_pairs": 40}
    usual = quick(tmp_path / "a", **few).attacks
    for number, change in enumerate(
        ({"attack_pairs": 30}, {"caliper": 0.2}, {"seed": 1})
    ):
        other = quick(tmp_path / f"b{number}", **(few | change)).attacks
        assert other.to_json() != usual.to_json(), change


def test_further_attacks_stand_in_the_card(quick, tmp_path):
    found = quick(tmp_path / "out", attacks=True, attack_pairs=50).attacks.results[:1]
    config = CONFIG.model_copy(update={"attack_pairs": 50})
    options = {"encoder": quick.folder / "encoder", "further_attacks": found}
    report = publish(quick.folder / "run", tmp_path / "b", config, **options).attacks
    assert report.results[-1] == found[0]


def test_people_are_attacked_when_all_else_is_checked(quick, tmp_path):
    found = AttackResult(
        "user membership", "again", "cosine", Interval(0.7, 0.6, 0.8, 0.95, 9), 9
    )
    asked = []

    def attack(progress):
        asked.append(progress)
        return UserAttack((found,))

    quick(tmp_path / "out", attacks=True, attack_users=attack)
    matter, text = card(tmp_path / "out")
    assert (
        matter["mora"]["privacy"]["attacked"]["user membership, again, cosine"] == 0.7
    )
    assert "Not safe to share" in text
    quick(tmp_path / "none", attack_users=attack)  # no attacks at all
    with pytest.raises(MoraError, match="is there already"):
        quick(tmp_path / "out", attacks=True, attack_users=attack)
    assert len(asked) == 1


def test_why_people_were_not_attacked_stands_in_the_card(quick, tmp_path):
    gone = UserAttack(skipped="The table is gone.")
    quick(tmp_path / "out", attacks=True, attack_users=lambda _: gone)
    assert "The table is gone." in card(tmp_path / "out")[1]
    told = json.loads((tmp_path / "out" / "privacy.json").read_text())
    assert told["attacks"]["skipped"] == ["The table is gone."]


def test_without_attacks_the_card_says_so(quick, tmp_path):
    assert quick(tmp_path / "out").attacks is None
    assert "No attack was run" in card(tmp_path / "out")[1]


def test_published_flows_need_no_users(quick, tmp_path):
    write_run(tmp_path / "run", kind="flows", counted=False)
    quick(tmp_path / "out", run=tmp_path / "run", min_users=None)
    matter, text = card(tmp_path / "out")
    assert matter["mora"]["privacy"]["min_users"] is None
    assert "No number of users was asked for" in text
    assert "Flows are shown as published" in text


def test_onnx_goes_in_or_says_what_is_missing(quick, tmp_path, monkeypatch):
    monkeypatch.setattr("mora.publish.folder.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"Publishing as ONNX needs"):
        quick(tmp_path / "out", onnx=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_onnx_is_an_asset(quick, tmp_path):
    pytest.importorskip("onnxscript")
    quick(tmp_path / "out", onnx=True)
    item = json.loads((tmp_path / "out" / "stac.json").read_text())
    assert "model.onnx" in item["assets"]


# Nothing is overwritten


def test_a_folder_that_is_there_is_refused_and_replaced_with_force(quick, tmp_path):
    quick(tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(MoraError, match=r"is there already.*`--force` .*force=True"):
        quick(tmp_path / "out", title="New")
    assert contents(tmp_path / "out") == before
    quick(tmp_path / "out", title="New", embeddings=False, force=True)
    assert set(contents(tmp_path / "out")) == FILES - {"embeddings.parquet"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_folder_of_something_else_is_never_replaced(quick, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(MoraError, match=r"not published before.*even with `--force`"):
        quick(tmp_path / "thesis", force=True)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"


def test_an_empty_folder_is_taken(quick, tmp_path):
    (tmp_path / "out").mkdir()
    quick(tmp_path / "out")
    assert (tmp_path / "out" / "README.md").is_file()


def test_a_failure_leaves_nothing(quick, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    quick(tmp_path / "out")
    before = contents(tmp_path)
    monkeypatch.setattr("mora.publish.writing.stac_item", fail)
    for to, force in (("out", True), ("new", False)):
        with pytest.raises(OSError, match="no space left"):
            quick(tmp_path / to, force=force)
    assert contents(tmp_path) == before
