"""Every setting changes the result of the stage it belongs to."""

import copy
import json
import shutil
from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from shapely.affinity import translate
from tests.small_run import (
    GRID,
    contents,
    demographics,
    evaluation,
    one_thread,  # noqa: F401 - a fixture for every test below
    planted_city,
    poi,
    same,
    settings,
    write_arrays,
    write_city,
    write_zones,
)

from mora.config import RunConfig
from mora.config.declarations import declared_labels
from mora.config.section import Section
from mora.pipeline import run
from mora.sources.registry import SOURCES, source

# What a stage leaves, without the times and places of its manifest.
RESULTS = {
    "graph": ("graph/edges/", "graph/tokens.parquet"),
    "line": ("line/vectors.npy",),
    "features": ("features/",),
    "train": ("train/vectors.npy", "train/losses.csv"),
    "embed": ("embeddings.parquet",),
    "evaluate": ("report.json",),
    "map": ("map.html",),
}
NO_RESULTS = ("manifest.json", "started.json", ".part", "text_cache")

# Setting -> configuration to start from, what to change in it, stage to look at.
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "RunConfig.name": ("city", {"name": "town"}, "embed"),
    "RunConfig.preset": ("city", {"preset": "paper"}, "line"),
    "RunConfig.seed": ("arrays", {"seed": 1}, "train"),
    "RunConfig.notes": ("city", {"notes": ["simulated"]}, "evaluate"),
    "RunConfig.modalities": (
        "city",
        {"modalities": {"poi": poi}},
        "train",
    ),
    # ------------------------------------------------------------- tokens
    "TokensConfig.kind": (
        "city",
        {"tokens.kind": "zone", "tokens.areas": {"path": "{data}/zones.geojson"}},
        "graph",
    ),
    "TokensConfig.resolution": ("city", {"tokens.resolution": 6}, "graph"),
    "TokensConfig.areas": (
        "flows between zones",
        {"tokens.areas": {"path": "{data}/zones.geojson"}},
        "graph",
    ),
    "TokensConfig.bounds": ("city", {"tokens.bounds": [13.3, 52, 14, 53]}, "graph"),
    "TokensConfig.width": ("grid", {"tokens.width": 300}, "graph"),
    "TokensConfig.height": ("grid", {"tokens.height": 191}, "graph"),
    "TokensConfig.cell_km": ("grid", {"tokens.cell_km": 1.0}, "graph"),
    "TokensConfig.only": (
        "city",
        {"tokens.only": {"path": "{data}/half.csv", "columns": {"id": "cell"}}},
        "graph",
    ),
    "AreaInput.path": (
        "zones",
        {"tokens.areas.path": "{data}/shifted.geojson"},
        "graph",
    ),
    "AreaInput.id": ("zones", {"tokens.areas.id": "name"}, "graph"),
    "AreaInput.geometry": (
        "zones as text",
        {"tokens.areas.geometry": "shifted"},
        "graph",
    ),
    # ------------------------------------------------------------- tables
    "TableInput.path": (
        "city",
        {"mobility.table.path": "{data}/fewer_visits.csv"},
        "graph",
    ),
    "TableInput.source": (
        "city",
        {"modalities.poi.inputs": [{"source": "places_of_the_test"}]},
        "features",
    ),
    "TableInput.files": (
        "city",
        {
            "modalities.poi.inputs": [
                {"source": "table_of_the_test", "files": ["{data}/places.csv"]}
            ]
        },
        "features",
    ),
    "TableInput.options": (
        "city",
        {
            "modalities.poi.inputs": [
                {
                    "source": "table_of_the_test",
                    "files": ["{data}/places.csv"],
                    "options": {"rows": 50},
                }
            ]
        },
        "features",
    ),
    "TableInput.columns": (
        "city",
        {"modalities.demographics.inputs.0.columns.young": "old"},
        "features",
    ),
    # ----------------------------------------------------------- mobility
    "VisitsMobility.timezone": (
        "city",
        {"mobility.timezone": "Pacific/Auckland"},
        "graph",
    ),
    "VisitsMobility.min_users": ("city", {"mobility.min_users": 3}, "graph"),
    "VisitsMobility.edges": ("city", {"mobility.edges": "neighbours"}, "graph"),
    "FlowsMobility.edges": ("flows", {"mobility.edges": "neighbours"}, "graph"),
    "GravityMobility.edges": ("gravity", {"mobility.edges": "neighbours"}, "graph"),
    "RadiationMobility.edges": (
        "radiation",
        {"mobility.edges": "neighbours"},
        "graph",
    ),
    "ArraysMobility.edges": ("arrays", {"mobility.edges": "neighbours"}, "graph"),
    "FlowsMobility.min_weight": ("flows", {"mobility.min_weight": 4}, "graph"),
    "GravityMobility.zones": (
        "gap",
        {"mobility.zones": {"path": "{data}/people.csv"}},
        "graph",
    ),
    "GravityMobility.internal": ("gravity", {"mobility.internal": "none"}, "graph"),
    "GravityMobility.workers_per_resident": (
        "workers",
        {"mobility.workers_per_resident": 0.6},
        "graph",
    ),
    "GravityMobility.decay": ("gravity", {"mobility.decay": "power"}, "graph"),
    "GravityMobility.decay_km": ("gravity", {"mobility.decay_km": 2}, "graph"),
    "RadiationMobility.commuters_per_resident": (
        "radiation",
        {"mobility.commuters_per_resident": 0.2},
        "graph",
    ),
    "RadiationMobility.min_flow": ("radiation", {"mobility.min_flow": 1.0}, "graph"),
    "ArraysMobility.graph": (
        "arrays",
        {"mobility.graph": "{data}/heavier.npz"},
        "graph",
    ),
    "ArraysMobility.cells": ("arrays", {"mobility.cells": None}, "graph"),
    # --------------------------------------------------- sample and LINE
    "SampleConfig.share": ("city", {"sample.share": 0.6}, "train"),
    "SampleConfig.by": ("city", {"sample.by": "random"}, "train"),
    "SampleConfig.ends": ("city", {"sample.ends": "intersection"}, "train"),
    "LineConfig.method": ("city", {"line.method": "sampled"}, "line"),
    "LineConfig.dim": ("city", {"line.dim": 8}, "line"),
    "LineConfig.path": ("arrays", {"line.path": "{data}/other.npy"}, "line"),
    "LineConfig.options": ("city", {"line.options": {"exponent": 1.0}}, "line"),
    # --------------------------------------------------------- modalities
    "ModalityConfig.kind": (
        "city",
        {"modalities.demographics.kind": "table"},
        "features",
    ),
    "ModalityConfig.inputs": (
        "city",
        {
            "modalities.poi.inputs": [
                {
                    "path": "{data}/labels.csv",
                    "columns": same("lon", "lat") | {"name": "zone"},
                }
            ]
        },
        "features",
    ),
    "ModalityConfig.areas": (
        "areas",
        {"modalities.demographics.areas": {"path": "{data}/shifted.geojson"}},
        "features",
    ),
    "ModalityConfig.path": (
        "arrays",
        {"modalities.poi.path": "{data}/image.npy"},
        "features",
    ),
    "ModalityConfig.options": (
        "city",
        {"modalities.poi.options.text": "category"},
        "features",
    ),
    "ModalityConfig.align": ("city", {"modalities.poi.align": False}, "train"),
    "ModalityConfig.standardise": (
        "city",
        {"modalities.demographics.standardise": False},
        "train",
    ),
    "HeadConfig.kind": ("city", {"modalities.poi.head.kind": "mlp"}, "train"),
    "HeadConfig.temperature": (
        "city",
        {"modalities.poi.head.temperature": 0.6},
        "train",
    ),
    # ---------------------------------------------- encoder and training
    "EncoderConfig.kind": ("city", {"encoder": {"kind": "mlp"}}, "train"),
    "EncoderConfig.anchor": ("city", {"encoder": {"anchor": "poi"}}, "train"),
    "EncoderConfig.layers": ("city", {"encoder": {"layers": 1}}, "train"),
    "EncoderConfig.normalisation": (
        "city",
        {"encoder": {"normalisation": "unweighted"}},
        "train",
    ),
    # --------------------------------------------------------- objectives
    "ContrastiveConfig.weight": (
        "city",
        {"objectives": {"contrastive": {"weight": 0.5}}},
        "train",
    ),
    "ContrastiveConfig.temperature": (
        "city",
        {"objectives": {"contrastive": {"temperature": "learned"}}},
        "train",
    ),
    "ContrastiveConfig.false_negatives": (
        "city",
        {"objectives": {"contrastive": {"false_negatives": 0.5}}},
        "train",
    ),
    "MaskedConfig.weight": ("objectives", {"objectives.masked.weight": 0}, "train"),
    "MaskedConfig.dropout": (
        "objectives",
        {"objectives.masked.dropout": 1.0},
        "train",
    ),
    "MaskedConfig.components": (
        "objectives",
        {"objectives.masked.components": 1},
        "train",
    ),
    "VicregConfig.weight": ("objectives", {"objectives.vicreg.weight": 0}, "train"),
    "VicregConfig.invariance": (
        "objectives",
        {"objectives.vicreg.invariance": 1.0},
        "train",
    ),
    "VicregConfig.variance": (
        "objectives",
        {"objectives.vicreg.variance": 1.0},
        "train",
    ),
    "VicregConfig.covariance": (
        "objectives",
        {"objectives.vicreg.covariance": 9.0},
        "train",
    ),
    "BarlowConfig.weight": ("objectives", {"objectives.barlow.weight": 0}, "train"),
    "BarlowConfig.redundancy": (
        "objectives",
        {"objectives.barlow.redundancy": 1.0},
        "train",
    ),
    "FlowConfig.weight": ("objectives", {"objectives.flow.weight": 0}, "train"),
    "FlowConfig.pairs": ("objectives", {"objectives.flow.pairs": 10}, "train"),
    "FlowConfig.mass": ("objectives", {"objectives.flow.mass": "volume"}, "train"),
    "NeighboursConfig.weight": (
        "objectives",
        {"objectives.neighbours.weight": 0},
        "train",
    ),
    "NeighboursConfig.components": (
        "objectives",
        {"objectives.neighbours.components": 1},
        "train",
    ),
    "TrainingConfig.optimizer": ("decay", {"training.optimizer": "adam"}, "train"),
    "TrainingConfig.learning_rate": (
        "city",
        {"training.learning_rate": 0.02},
        "train",
    ),
    "TrainingConfig.weight_decay": ("city", {"training.weight_decay": 0.1}, "train"),
    "TrainingConfig.batch_size": ("city", {"training.batch_size": 32}, "train"),
    "TrainingConfig.epochs": ("city", {"training.epochs": 9}, "train"),
    "TrainingConfig.patience": ("restless", {"training.patience": 1}, "train"),
    "TrainingConfig.schedule": ("city", {"training.schedule": "linear"}, "train"),
    "TrainingConfig.warmup": ("city", {"training.warmup": 0.5}, "train"),
    "TrainingConfig.clip_norm": ("city", {"training.clip_norm": 0.001}, "train"),
    "TrainingConfig.validation_share": (
        "city",
        {"training.validation_share": 0.3},
        "train",
    ),
    "TrainingConfig.precision": (
        "city",
        {"training.precision": "bf16-mixed"},
        "train",
    ),
    # ------------------------------------------------------------- export
    "ExportConfig.kind": ("city", {"export": {"kind": "anchor"}}, "embed"),
    "ExportConfig.own": ("city", {"export": {"own": 0.1}}, "embed"),
    "ExportConfig.contrast": ("city", {"export": {"contrast": 0.0}}, "embed"),
    "ExportConfig.around": ("city", {"export": {"around": 0.0}}, "embed"),
    "ExportConfig.movement": ("city", {"export": {"movement": 0.1}}, "embed"),
    # --------------------------------------------------------- evaluation
    "LabelsConfig.values": (
        "city",
        {"evaluation.labels.0.values": {"wealth": "crowd"}},
        "evaluate",
    ),
    "LabelsConfig.unit": (
        "labels of zones",
        {
            "evaluation.labels.0.unit": "token",
            "evaluation.labels.0.table.columns": {"id": "cell"},
        },
        "evaluate",
    ),
    "LabelsConfig.pool": (
        "labels of zones",
        {"evaluation.labels.0.pool": "population"},
        "evaluate",
    ),
    "LabelsConfig.transform": (
        "city",
        {"evaluation.labels.0.transform": {"wealth": "log1p"}},
        "evaluate",
    ),
    "LabelsConfig.given_away": (
        "city",
        {"evaluation.labels.0.given_away": {"wealth": "the places are planted"}},
        "evaluate",
    ),
    "LabelsConfig.declared": (
        "city",
        {
            "evaluation.labels": [
                {"declared": "us.county_tokens", "table": {"path": "{data}/us.csv"}}
            ]
        },
        "evaluate",
    ),
    "LabelsConfig.areas": (
        "labels of areas",
        {"evaluation.labels.0.areas.path": "{data}/shifted.geojson"},
        "evaluate",
    ),
    "LabelsConfig.parent_resolution": (
        "labels of parents",
        {"evaluation.labels.0.parent_resolution": 7},
        "evaluate",
    ),
    "LabelsConfig.scale": (
        "city",
        {"evaluation.labels.0.scale": "city", "evaluation.setting": "paper"},
        "evaluate",
    ),
    "LabelsConfig.domains": (
        "city",
        {"evaluation.labels.0.domains": {"wealth": "economic"}},
        "evaluate",
    ),
    "LabelsConfig.descriptions": (
        "city",
        {"evaluation.labels.0.descriptions": {"wealth": "Wealth, EUR"}},
        "evaluate",
    ),
    "LabelsConfig.source": (
        "city",
        {"evaluation.labels.0.source": "a census"},
        "evaluate",
    ),
    "LabelsConfig.licence": (
        "city",
        {"evaluation.labels.0.licence": "MIT"},
        "evaluate",
    ),
    "LabelsConfig.year": ("city", {"evaluation.labels.0.year": "2020"}, "evaluate"),
    "LabelsConfig.public": ("city", {"evaluation.labels.0.public": False}, "evaluate"),
    "EvaluationConfig.only": (
        "city",
        {"evaluation.only": {"path": "{data}/half.csv", "columns": {"id": "cell"}}},
        "evaluate",
    ),
    "EvaluationConfig.region_code_length": (
        "regions of zones",
        {"evaluation.region_code_length": 3},
        "evaluate",
    ),
    "EvaluationConfig.region_resolution": (
        "regions of cells",
        {"evaluation.region_resolution": 6},
        "evaluate",
    ),
    "EvaluationConfig.protocols": (
        "city",
        {"evaluation.protocols": ["blocked", "random@50"]},
        "evaluate",
    ),
    "EvaluationConfig.seed": ("city", {"evaluation.seed": 1}, "evaluate"),
    "EvaluationConfig.readouts": ("city", {"evaluation.readouts": "ridge"}, "evaluate"),
    "EvaluationConfig.labels": ("city", {"evaluation.labels": []}, "evaluate"),
    "EvaluationConfig.blocks": (
        "city",
        {"evaluation.blocks": "parent", "evaluation.parent_resolution": 6},
        "evaluate",
    ),
    "EvaluationConfig.degrees": ("city", {"evaluation.degrees": 0.03}, "evaluate"),
    "EvaluationConfig.parent_resolution": (
        "parents",
        {"evaluation.parent_resolution": 7},
        "evaluate",
    ),
    "EvaluationConfig.code_length": (
        "codes",
        {"evaluation.code_length": 3},
        "evaluate",
    ),
    "EvaluationConfig.splits": ("city", {"evaluation.splits": 3}, "evaluate"),
    "EvaluationConfig.setting": ("city", {"evaluation.setting": "paper"}, "evaluate"),
    "EvaluationConfig.baselines": ("city", {"evaluation.baselines": []}, "evaluate"),
    "EvaluationConfig.baseline_options": (
        "harmonics",
        {"evaluation.baseline_options": {"harmonics": {"degree": 3}}},
        "evaluate",
    ),
    "EvaluationConfig.tune": ("harmonics", {"evaluation.tune": True}, "evaluate"),
    # ---------------------------------------------------------------- map
    "MapConfig.names": (
        "city",
        {
            "map.names": {
                "path": "{data}/labels.csv",
                "columns": {"id": "cell", "name": "zone"},
            }
        },
        "map",
    ),
    "MapConfig.similar": ("city", {"map.similar": 4}, "map"),
}

EXCEPTIONS = {
    "RunConfig.mobility": "a choice of sections, each with cases of its own",
    **dict.fromkeys(
        (
            "VisitsMobility.kind",
            "FlowsMobility.kind",
            "GravityMobility.kind",
            "RadiationMobility.kind",
            "NeighboursMobility.kind",
            "ArraysMobility.kind",
        ),
        "names the section; each has whole runs in test_pipeline_kinds",
    ),
    **dict.fromkeys(
        (
            f"{kind}Mobility.{name}"
            for kind in ("Visits", "Flows", "Gravity")
            for name in ("engine", "spark")
        ),
        "where the work is done must not change the result; see test_spark",
    ),
    **dict.fromkeys(
        (
            "EvaluationConfig.groups",
            "EvaluationConfig.population",
            *(f"GroupConfig.{name}" for name in ("value", "at", "names")),
        ),
        "tells errors apart, which a run does not; see test_pipeline_benchmarking and "
        "test_reporting",
    ),
    "RunConfig.folder": "says where the result is, not what; see test_cli",
    "TrainingConfig.checkpoint_seconds": "when, not what, is kept; see test_training",
    "TrainingConfig.accelerator": "must not change the result, and tests have a CPU "
    "alone; an unknown one is refused, see test_training",
    "RunConfig.memory_gb": "must not change the result; see test_run",
    "TrainingConfig.devices": "must not change the result; see test_distributed",
}


def bases(data) -> dict[str, dict[str, Any]]:
    """Give the configurations that the cases start from."""

    def table(name, **columns):
        return {"path": str(data / f"{name}.csv"), "columns": columns}

    def change(base, changes):
        return apply(base, changes, data)

    ends = same("origin", "destination", "weight")
    people = table("people", **same("population", "lon", "lat", "zone"))
    city = settings(data)
    in_grid = table("visits", **same("user", "time", "x", "y"))
    grid = city | {"tokens": GRID, "mobility": {"kind": "visits", "table": in_grid}}
    zones = city | {
        "tokens": {"kind": "zone", "areas": {"path": "{data}/zones.geojson"}}
    }
    outlines = {"path": "{data}/zones.csv", "geometry": "outline"}
    gravity = city | {
        "mobility": {
            "kind": "gravity",
            "table": table("zone_flows", **ends),
            "population": people,
        }
    }
    ready = {
        name: {"kind": "array", "path": str(data / f"{name}.npy")}
        for name in ("poi", "demo")
    }
    ends_of_zones = {"kind": "flows", "table": table("zone_flows", **ends)}
    zone_labels = evaluation(data, id="zone")
    zone_labels["labels"][0]["unit"] = "zone"
    area_labels = evaluation(data, id="zone")
    area_labels["labels"][0] |= {
        "unit": "area",
        "areas": {"path": str(data / "zones.geojson"), "id": "id"},
    }
    return {
        "city": city,
        "grid": grid,
        "zones": change(zones, {}),
        "zones as text": change(zones, {"tokens.areas": outlines}),
        "flows": city
        | {"mobility": {"kind": "flows", "table": table("flows", **ends)}},
        "flows between zones": city
        | {"tokens": {"kind": "zone"}, "mobility": ends_of_zones},
        "gravity": gravity,
        "gap": change(
            gravity, {"mobility.population.path": "{data}/people_but_one_zone.csv"}
        ),
        "workers": change(gravity, {"mobility.internal": "workers"}),
        "radiation": city | {"mobility": {"kind": "radiation", "population": people}},
        "arrays": city
        | {
            "mobility": {
                "kind": "arrays",
                "graph": str(data / "graph.npz"),
                "cells": str(data / "cells.npy"),
            },
            "line": {"method": "given", "path": str(data / "mob.npy"), "dim": 16},
            "modalities": ready,
        },
        "areas": change(
            city,
            {
                "modalities": {"demographics": demographics(data, id="zone")},
                "modalities.demographics.areas": {"path": "{data}/zones.geojson"},
            },
        ),
        "decay": change(city, {"training.weight_decay": 0.5}),
        "objectives": change(
            city,
            {
                f"objectives.{name}.weight": 1.0
                for name in ("masked", "vicreg", "barlow", "flow", "neighbours")
            },
        ),
        "restless": change(
            city, {"training.learning_rate": 0.5, "training.epochs": 12}
        ),
        "labels of zones": gravity | {"evaluation": zone_labels},
        "labels of areas": city | {"evaluation": area_labels},
        "labels of parents": change(
            city,
            {
                "evaluation.labels.0.unit": "parent",
                "evaluation.labels.0.parent_resolution": 6,
                "evaluation.labels.0.table.columns": same("lon", "lat"),
                "evaluation.degrees": 0.05,
            },
        ),
        "regions of zones": change(
            gravity,
            {"evaluation.protocols": ["region"], "evaluation.region_code_length": 2},
        ),
        "regions of cells": change(
            city,
            {"evaluation.protocols": ["region"], "evaluation.region_resolution": 5},
        ),
        "parents": change(
            city, {"evaluation.blocks": "parent", "evaluation.parent_resolution": 6}
        ),
        "codes": change(gravity, {"evaluation.blocks": "code"}),
        "harmonics": change(city, {"evaluation.baselines": ["harmonics"]}),
    }


def apply(base, changes, data):
    """Give a copy of a configuration with other values at some places."""
    config = copy.deepcopy(base)
    for place, value in changes.items():
        *above, last = place.split(".")
        part = config
        for step in above:
            part = part[int(step)] if step.isdigit() else part.setdefault(step, {})
        part[last] = value
    return _filled(config, data)


def _filled(part, data):
    """Name the folder of the data in paths, and call what makes a section."""
    if isinstance(part, dict):
        return {name: _filled(value, data) for name, value in part.items()}
    if isinstance(part, list):
        return [_filled(value, data) for value in part]
    if callable(part):
        return part(data)
    return part.replace("{data}", str(data)) if isinstance(part, str) else part


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("city")
    city = write_city(folder)
    write_arrays(folder)
    write_variants(folder, city)
    return folder


def write_variants(folder, city):
    """Write the files that cases exchange for those of the city."""
    np.save(folder / "other.npy", 2 * np.load(folder / "mob.npy"))
    sp.save_npz(folder / "heavier.npz", 3 * sp.load_npz(folder / "graph.npz"))
    shifted = city.zones.assign(
        geometry=[translate(zone, 0.04, 0) for zone in city.zones["geometry"]]
    )
    write_zones(folder / "shifted.geojson", shifted)
    outlines = {
        "id": city.zones["id"],
        "outline": [zone.wkt for zone in city.zones["geometry"]],
        "shifted": [zone.wkt for zone in shifted["geometry"]],
    }
    city.zones.assign(**outlines)[[*outlines]].to_csv(folder / "zones.csv", index=False)
    city.visits.head(1800).to_csv(folder / "fewer_visits.csv", index=False)
    city.labels.head(60).to_csv(folder / "half.csv", index=False)
    us = declared_labels("us.county_tokens")["values"].values()
    rng = np.random.default_rng(3)
    columns = {name: rng.normal(size=len(city.labels)) for name in us}
    city.labels[["cell"]].rename(columns={"cell": "fips"}).assign(**columns).to_csv(
        folder / "us.csv", index=False
    )
    without = city.people[city.people["zone"] != "Z22"]
    without.to_csv(folder / "people_but_one_zone.csv", index=False)


@pytest.fixture(scope="module")
def results(data, tmp_path_factory):
    """Give what a stage leaves; what a configuration starts from is run once."""
    source("places_of_the_test")(lambda: planted_city().places.head(100))
    source("table_of_the_test")(lambda file, *, rows=99: pd.read_csv(file).head(rows))
    folder = tmp_path_factory.mktemp("runs")
    given = bases(data)

    def result(base, changes, stage):
        place = folder / base.replace(" ", "_")
        run(given[base], folder=place, until=stage)
        if changes:
            shutil.copytree(place, folder / "changed")
            place = folder / "changed"
            run(apply(given[base], changes, data), folder=place, until=stage)
        found = {
            name: content
            for name, content in contents(place).items()
            if name.startswith(RESULTS[stage])
            and not any(x in name for x in NO_RESULTS)
        }
        shutil.rmtree(folder / "changed", ignore_errors=True)
        return found

    yield result
    del SOURCES["places_of_the_test"], SOURCES["table_of_the_test"]


@pytest.mark.parametrize("setting", CASES)
def test_changing_it_changes_the_result(setting, results):
    base, changes, stage = CASES[setting]
    before, after = results(base, {}, stage), results(base, changes, stage)
    assert before
    assert before != after


def test_changing_nothing_changes_nothing(results):
    for stage in RESULTS:
        assert results("city", {}, stage) == results("city", {"folder": "no"}, stage)


def sections(annotation) -> Iterator[type[Section]]:
    """List the sections that a type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for part in get_args(annotation):
        yield from sections(part)


def every_setting() -> set[str]:
    """Walk the configuration; a field that is one section stands for its fields."""
    found, todo, seen = set(), [RunConfig], set()
    while todo:
        section = todo.pop()
        seen.add(section)
        for name, field in section.model_fields.items():
            inside = set(sections(field.annotation))
            todo += inside - seen
            if inside != {field.annotation}:
                found.add(f"{section.__name__}.{name}")
    return found


def test_every_setting_has_a_case_or_a_reason():
    assert not CASES.keys() & EXCEPTIONS.keys()
    assert every_setting() == CASES.keys() | EXCEPTIONS.keys()


def test_cases_are_plain_values():
    changes = [c for _, c, _ in CASES.values() if "modalities" not in c]
    assert json.loads(json.dumps(changes)) == changes
