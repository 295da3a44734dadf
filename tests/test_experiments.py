"""Experiments: which variants, that stages are shared and resumed, and their tables."""

import itertools
import json
import sys

import numpy as np
import pandas as pd
import pytest
from tests.small_run import (
    evaluation,
    one_thread,  # noqa: F401 - a fixture for every test below
    planted_city,
    same,
    settings,
    write_city,
)

from mora.config import load_config
from mora.errors import ConfigError, RunError
from mora.experiments import EXPERIMENTS, make_experiment, run_experiment
from mora.experiments.coverage import by_distance, nested_sizes
from mora.experiments.running import validation_loss
from mora.experiments.tables import fit_of, to_markdown, write_outcome
from mora.experiments.variants import Experiment, Variant
from mora.pipeline import run


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Give a configuration and the folder of its run, done up to the features."""
    folder = tmp_path_factory.mktemp("city")
    write_city(folder)
    scored = evaluation(folder)
    scored["labels"][0]["domains"] = {"wealth": "economic"}
    scored["region_resolution"] = 6
    config = load_config(settings(folder, evaluation=scored))
    run(config, folder=folder / "run", until="features")
    return config, folder / "run"


def small(*variants, **more):
    return Experiment("small", "A question", "nowhere", variants, **more)


SHORT = {"training": {"epochs": 2}}
LONGER = {"training": {"epochs": 3}}


@pytest.fixture(scope="module")
def outcome(base):
    study = small(Variant("short", SHORT), Variant("longer", LONGER, paper=1.5))
    return run_experiment(study, *base, seeds=2)


# ------------------------------------------------------------------- variants


def test_the_papers_experiments_are_there():
    wanted = {"ablation", "sampling", "scaling", "resolution", "grid"}
    assert wanted | {"width", "temperature"} <= set(EXPERIMENTS)


def test_variants_are_configurations_that_load(base):
    for name in EXPERIMENTS:
        study = make_experiment(name, *base)
        configs = [load_config(base[0], variant.changes) for variant in study.variants]
        assert len({config.model_dump_json() for config in configs}) == len(configs)
        assert len({variant.folder for variant in study.variants}) == len(configs)


def test_the_reference_is_what_the_configuration_says(base):
    for name in ("ablation", "sampling", "width", "temperature", "grid"):
        study = make_experiment(name, *base)
        changed = load_config(base[0], study.reference.changes)
        if name != "sampling":  # a share of 0.3 is among the paper's
            assert changed == base[0]
        assert changed.sample == base[0].sample


def test_the_ablation_takes_each_part_away(base):
    names = [variant.name for variant in make_experiment("ablation", *base).variants]
    assert names == [
        "MoRA",
        "w/o CLIP",
        "w/o graph encoder (MLP)",
        "w/o LINE",
        "neighbour graph",
        "poi as anchor",
        "demographics as anchor",
        "w/o poi",
        "w/o demographics",
    ]


def test_some_variants_are_chosen_by_name(base):
    study = make_experiment("ablation", *base).only(["w/o LINE", "w/o CLIP"])
    assert [v.name for v in study.variants] == ["MoRA", "w/o CLIP", "w/o LINE"]
    with pytest.raises(ConfigError, match="has no variant w/o lines"):
        study.only(["w/o lines"])


def test_the_grid_is_that_of_the_paper(base):
    study = make_experiment("grid", *base)
    assert len(study.variants) == 1 + 18
    assert study.by_validation


def test_levels_are_scored_on_common_units_too(base):
    study = make_experiment("resolution", *base)
    for variant in study.variants:
        config = load_config(base[0], variant.changes)
        labels = {name for table in config.evaluation.labels for name in table.values}
        assert labels == {"wealth", "wealth@6"}
    assert [variant.size for variant in study.variants] == [7, 6, 8]


def test_an_unknown_experiment_is_refused(base):
    with pytest.raises(ConfigError, match="Did you mean 'ablation'"):
        make_experiment("ablations", *base)


def test_what_cannot_be_varied_is_refused(base):
    config = load_config(base[0], {"modalities": {"poi": {"align": False}}})
    config = load_config(config, {"modalities": {"demographics": {"align": False}}})
    with pytest.raises(ConfigError, match="none is aligned"):
        make_experiment("ablation", config, base[1])
    zones = load_config(base[0], {"tokens": {"kind": "zone"}})
    with pytest.raises(ConfigError, match="needs 'h3'"):
        make_experiment("resolution", zones, base[1])


# -------------------------------------------------------------------- scaling


def test_coverages_are_nested_and_scored_in_the_smallest(base):
    study = make_experiment("scaling", *base)
    nested = [v for v in study.variants if not v.control]
    tables = [
        set(pd.read_csv(v.changes["tokens"]["only"]["path"])["id"])
        for v in nested
        if "tokens" in v.changes
    ]
    assert len(nested) >= 4
    assert all(a < b for a, b in itertools.pairwise(tables))
    areas = {json.dumps(v.changes["evaluation"]) for v in study.variants}
    assert len(areas) == 1
    control = next(v for v in study.variants if v.control)
    assert control.size == nested[1].size
    own = set(pd.read_csv(control.changes["tokens"]["only"]["path"])["id"])
    assert tables[0] < own
    assert len(own & (tables[1] - tables[0])) < len(own - tables[0])


def test_sizes_grow_evenly():
    assert nested_sizes(100, 1600) == [100, 200, 400, 800, 1600]
    with pytest.raises(ConfigError, match="60 of 100 places"):
        nested_sizes(60, 100)


def test_the_nearest_come_after_the_areas_own():
    lonlat = np.array([[9.0, 0], [1.0, 0], [0.0, 0], [3.0, 0], [5.0, 0]])
    assert by_distance(lonlat, np.array([2, 1])).tolist() == [1, 2, 3, 4, 0]


# -------------------------------------------------------------------- running


def test_each_variant_and_seed_is_a_run(outcome):
    folders = sorted(
        p.parent.relative_to(outcome.folder).as_posix()
        for p in outcome.folder.glob("*/*/report.json")
    )
    assert folders == ["longer/seed0", "longer/seed1", "short/seed0", "short/seed1"]
    epochs = {
        name: json.loads((outcome.folder / name / "train/manifest.json").read_text())[
            "facts"
        ]["epochs"]
        for name in folders
    }
    assert epochs == {
        "longer/seed0": 3,
        "longer/seed1": 3,
        "short/seed0": 2,
        "short/seed1": 2,
    }


def test_stages_are_shared_not_repeated(outcome, base):
    shared = outcome.folder / "longer" / "seed1" / "features" / "manifest.json"
    assert (
        shared.stat().st_ino == (base[1] / "features" / "manifest.json").stat().st_ino
    )


def test_seeds_differ_and_splits_do_not(outcome):
    scores = outcome.scores("short", "blocked", ["wealth"])
    assert scores.shape == (2, 1, 2)
    assert not np.array_equal(scores[0], scores[1])
    reports = outcome.reports["short"]
    assert reports[0]["test_ratio"] == reports[1]["test_ratio"]


def test_a_second_call_repeats_nothing(outcome, base, monkeypatch):
    def never(*_):
        raise AssertionError("a stage was done again")

    monkeypatch.setattr(sys.modules["mora.pipeline.run"], "_do", never)
    again = run_experiment(outcome.experiment, *base, seeds=2)
    assert again.rows("tokens") == outcome.rows("tokens")


def test_a_quick_experiment_is_one_of_its_own(base):
    study = small(Variant("short", {}), Variant("longer", LONGER))
    quick = run_experiment(study, *base, seeds=1, quick=True)
    assert quick.folder.name == "small-quick"
    assert list(quick.reports["short"][0]["readouts"]) == ["ridge"]
    assert "QUICK" in to_markdown(quick)
    assert "A single seed is no result" in to_markdown(quick)


@pytest.mark.slow
def test_several_at_a_time_give_the_same(outcome, base, tmp_path):
    study = small(Variant("short", SHORT), Variant("longer", LONGER, paper=1.5))
    config = load_config(base[0], {"name": "other"})
    run(config, folder=tmp_path, until="features", reuse=[base[1]])
    both = run_experiment(study, config, tmp_path, seeds=2, jobs=2)
    for row, before in zip(both.rows("tokens"), outcome.rows("tokens"), strict=True):
        assert row["blocked"] == pytest.approx(before["blocked"], abs=1e-6)


def test_the_choice_by_validation_sees_no_label(base):
    study = small(
        Variant("short", {"training": {"epochs": 1}}),
        Variant("longer", LONGER),
        by_validation=True,
    )
    outcome = run_experiment(study, *base, seeds=1)
    assert outcome.losses["longer"][0] < outcome.losses["short"][0]
    assert [v.name for v in outcome.variants] == ["short", "longer"]
    assert "Validation loss" in to_markdown(outcome)
    folder = outcome.folder / "longer" / "seed0"
    assert validation_loss(folder) == outcome.losses["longer"][0]


def test_without_labels_there_is_no_outcome(base):
    config = load_config(base[0], {"evaluation": {"labels": []}})
    with pytest.raises(RunError, match="no scores; expected labels"):
        run_experiment(
            small(Variant("only", SHORT)), config, base[1], seeds=1, quick=True
        )


# --------------------------------------------------------------------- tables


def test_differences_are_paired(outcome):
    short, longer = outcome.rows("tokens")
    assert "blocked_difference" not in short
    by_split = (
        outcome.scores("longer", "blocked", ["wealth"])
        - outcome.scores("short", "blocked", ["wealth"])
    ).mean(axis=(0, 1))
    assert longer["blocked_difference"] == pytest.approx(by_split.mean())
    assert longer["economic"] == pytest.approx(longer["blocked"])
    assert longer["paper"] == 1.5
    seeds = outcome.scores("short", "random", ["wealth"]).mean((1, 2))
    assert short["random_std"] == pytest.approx(np.std(seeds, ddof=1))


def test_everything_is_written(outcome):
    names = {path.name for path in write_outcome(outcome, outcome.folder)}
    tables = {"table.md", "tasks.csv", "result.json", "tokens.csv"}
    assert names == tables | {"tokens.png", "tokens.svg"}
    table = pd.read_csv(outcome.folder / "tokens.csv")
    assert table["variant"].tolist() == ["short", "longer"]
    text = (outcome.folder / "table.md").read_text()
    assert "| longer |" in text
    assert "2 seeds" in text
    assert (outcome.folder / "tokens.png").read_bytes()[:4] == b"\x89PNG"


def test_a_curve_is_fitted_without_controls(base):
    sizes = [
        Variant(f"{n}", {"training": {"epochs": n}}, size=float(n)) for n in (1, 2, 4)
    ]
    control = Variant("far", SHORT, size=2.0, control=True)
    study = small(*sizes, control, figure="curve", axis="epochs")
    outcome = run_experiment(study, *base, seeds=1, quick=True)
    fit = fit_of(outcome, "tokens")
    assert fit.points == 3
    assert "for each doubling" in to_markdown(outcome)
    write_outcome(outcome, outcome.folder)


def test_people_of_zones_are_scored_apart(base, tmp_path):
    folder = base[1].parent
    people = {
        "path": str(folder / "people.csv"),
        "columns": same("population", "lon", "lat", "zone"),
    }
    flows = {
        "path": str(folder / "zone_flows.csv"),
        "columns": same("origin", "destination", "weight"),
    }
    scored = evaluation(folder, id="zone")
    scored["labels"][0]["unit"] = "zone"
    changes = {
        "mobility": {"kind": "gravity", "table": flows, "population": people},
        "evaluation": scored,
    }
    config = load_config(settings(folder) | changes)
    outcome = run_experiment(
        small(Variant("short", SHORT)), config, tmp_path, seeds=1, quick=True
    )
    assert outcome.units() == ["zones"]
    assert len(planted_city().zones) == 25
