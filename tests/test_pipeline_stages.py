"""A run as a folder: stages skipped, repeated and kept apart; bad input; privacy."""

import hashlib
import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.small_run import (
    Recorder,
    contents,
    evaluation,
    one_thread,  # noqa: F401 - a fixture for every test below
    planted_city,
    same,
    settings,
    stages_done,
    write_arrays,
    write_city,
    write_zones,
)

from mora.config import load_config
from mora.errors import MoraError
from mora.graph.covisits import RECORD, UserWeekBuilder
from mora.pipeline import STAGES, run
from mora.pipeline.folder import fingerprint
from mora.pipeline.mobility import read_mobility

ALL = [stage.name for stage in STAGES]
PRODUCTS = ("embeddings.parquet", "report.json", "report.md", "map.html")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the city's files in ``city`` and a whole run in ``run``."""
    folder = tmp_path_factory.mktemp("finished")
    write_city(folder / "city")
    run(settings(folder / "city"), folder=folder / "run")
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    """The same, to be changed."""
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def go_on(copy, **changes):
    return stages_done(settings(copy / "city") | changes, copy / "run")


def add_row(path):
    """Change a CSV file by repeating its last row with another number."""
    frame = pd.read_csv(path)
    last = frame.iloc[[-1]].copy()
    number = last.select_dtypes("number").columns[-1]
    last[number] += 0.5
    pd.concat([frame, last]).to_csv(path, index=False)


def test_second_run_skips_every_stage(finished):
    display = Recorder()
    before = contents(finished / "run")
    run(settings(finished / "city"), folder=finished / "run", display=display)
    assert display.lines == [f"{stage.title}: unchanged" for stage in STAGES]
    assert contents(finished / "run") == before


def test_a_run_may_move_with_its_files(copy):
    # The fixture's run was made under another path.
    assert go_on(copy) == []


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("visits", ALL),
        ("places", ["features", "train", "embed", "evaluate", "map"]),
        ("people", ["features", "train", "embed", "evaluate", "map"]),
        ("labels", ["evaluate", "map"]),
    ],
)
def test_a_changed_file_repeats_what_depends_on_it(copy, file, stages):
    add_row(copy / "city" / f"{file}.csv")
    assert go_on(copy) == stages


@pytest.mark.parametrize(
    ("changes", "stages"),
    [
        ({"name": "town"}, ["embed", "evaluate", "map"]),
        ({"notes": ["simulated"]}, ["embed", "evaluate", "map"]),
        ({"seed": 1}, ["line", "train", "embed", "evaluate", "map"]),
        ({"sample": {"share": 0.5}}, ["train", "embed", "evaluate", "map"]),
        ({"line": {"dim": 8}}, ["line", "train", "embed", "evaluate", "map"]),
        ({"map": {"similar": 4}}, ["map"]),
        ({"folder": "not where this run is kept"}, []),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_changed_setting_repeats_what_depends_on_it(copy, changes, stages):
    assert go_on(copy, **changes) == stages


def test_a_stage_that_works_in_another_way_is_repeated(copy, monkeypatch):
    newer = tuple(
        replace(stage, revision=stage.revision + (stage.name == "embed"))
        for stage in STAGES
    )
    monkeypatch.setattr(sys.modules["mora.pipeline.run"], "STAGES", newer)
    assert go_on(copy) == ["embed", "evaluate", "map"]


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("damage", ["deleted", "truncated"])
def test_a_damaged_product_is_made_again(copy, product, damage):
    file = copy / "run" / product
    whole = file.read_bytes()
    file.unlink()
    if damage == "truncated":
        file.write_bytes(whole[: len(whole) // 2])
    stage = {"embeddings.parquet": "embed", "map.html": "map"}.get(product, "evaluate")
    assert go_on(copy) == [stage]
    assert file.read_bytes() == whole


@pytest.mark.parametrize(
    "file",
    [
        "graph/edges/weight.npy",
        "line/vectors.npy",
        "features/poi.values.npy",
        "train/vectors.npy",
        "evaluate/manifest.json",
    ],
)
def test_a_truncated_file_in_a_stage_is_made_again(copy, file):
    whole = (copy / "run" / file).read_bytes()
    (copy / "run" / file).write_bytes(whole[: len(whole) // 2])
    assert go_on(copy) == [file.split("/")[0]]
    if not file.endswith("manifest.json"):
        assert (copy / "run" / file).read_bytes() == whole


def test_two_files_that_change_places_are_noticed(tmp_path):
    write_city(tmp_path)
    write_arrays(tmp_path)

    def config(*files):
        arrays = {
            name: {"kind": "array", "path": str(tmp_path / f"{file}.npy")}
            for name, file in zip(("first", "second"), files, strict=True)
        }
        return settings(tmp_path, modalities=arrays)

    assert "features" in stages_done(
        config("poi", "image"), tmp_path / "run", until="features"
    )
    done = stages_done(config("image", "poi"), tmp_path / "run", until="features")
    assert done == ["features"]


def test_until_ends_after_that_stage(finished, tmp_path):
    config = settings(finished / "city")
    assert run(config, folder=tmp_path, until="line") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "graph",
        "line",
    ]
    with pytest.raises(MoraError, match=r"stage 'trane'; expected one of graph, line"):
        run(config, folder=tmp_path, until="trane")


def test_labels_that_are_taken_away_take_their_report_with_them(copy):
    go_on(copy, evaluation={})
    assert not (copy / "run" / "report.md").exists()
    report = json.loads((copy / "run" / "report.json").read_text())
    assert report == {"cells": 91, "edges": report["edges"], "tasks": {}}


def test_manifest_says_what_was_done(finished):
    manifest = json.loads((finished / "run/graph/manifest.json").read_text())
    assert manifest["facts"]["tokens"] == 91
    assert manifest["facts"]["privacy"]["min_users"] == 2
    assert manifest["facts"]["tables"][0]["rows_read"] == 2400
    assert manifest["versions"]["numpy"] == np.__version__
    assert manifest["settings"]["mobility"]["min_users"] == 2
    assert list(manifest["inputs"]) == ["mobility.table.path[0]"]


def test_frames_stand_in_for_any_table(finished, tmp_path):
    config = settings(finished / "city")
    city = planted_city()
    tables = {
        "modalities.poi.inputs.0": city.places,
        "evaluation.labels.0.table": city.labels,
    }
    given = run(config, folder=tmp_path, visits=city.visits, tables=tables)
    read = run(config, folder=finished / "run")
    assert given.vectors.tobytes() == read.vectors.tobytes()
    changed = {**tables, "evaluation.labels.0.table": city.labels.assign(wealth=1.0)}
    with pytest.raises(MoraError, match="all 91 labels are 1"):
        run(config, folder=tmp_path, visits=city.visits, tables=changed)


def test_frames_without_a_mapping_keep_their_names(finished, tmp_path):
    city = planted_city()
    config = settings(finished / "city", mobility={"kind": "visits"})
    by_point = city.visits[["user", "time", "lon", "lat"]]
    by_cell = city.visits[["user", "time"]].assign(token=city.visits["cell"])
    graphs = []
    for number, frame in enumerate((by_point, by_cell)):
        run(config, folder=tmp_path / str(number), until="graph", visits=frame)
        graph = read_mobility(tmp_path / str(number) / "graph").graph
        graphs.append(graph.symmetric().toarray())
    np.testing.assert_array_equal(*graphs)


def test_frames_that_no_table_waits_for_are_refused(finished, tmp_path):
    config, frame = settings(finished / "city"), planted_city().visits
    with pytest.raises(MoraError, match=r"no table at 'modalities.poi.inputs.7'"):
        run(config, folder=tmp_path, tables={"modalities.poi.inputs.7": frame})
    with pytest.raises(MoraError, match=r"got flows, but mobility kind 'visits' takes"):
        run(config, folder=tmp_path, flows=frame)
    neighbours = settings(finished / "city", mobility={"kind": "neighbours"})
    with pytest.raises(
        MoraError, match=r"got visits, but .*'neighbours' takes neither"
    ):
        run(neighbours, folder=tmp_path, visits=frame)
    without = settings(finished / "city", mobility={"kind": "visits"})
    with pytest.raises(MoraError, match=r"mobility.table: no table; expected `path:`"):
        run(without, folder=tmp_path)


# ------------------------------------------------------------------ privacy


def traces(user):
    """What could give a user away: the id, and its hashes without a secret."""
    plain = user.encode()
    digests = [hashlib.new(kind, plain) for kind in ("md5", "sha1", "sha256", "sha512")]
    digests += [hashlib.blake2b(plain, digest_size=size) for size in (8, 16, 64)]
    number = int.from_bytes(hashlib.blake2b(plain, digest_size=8).digest(), "little")
    return [
        plain,
        str(number).encode(),
        *(digest.digest()[:8] for digest in digests),
        *(digest.hexdigest()[:16].encode() for digest in digests),
    ]


def test_no_user_is_left_in_the_run(finished):
    files = contents(finished / "run")
    everything = b"\0".join(files.values())
    for user in planted_city().visits["user"].unique():
        assert not any(trace in everything for trace in traces(user))
    assert not (finished / "run/graph/records").exists()
    assert not any("records" in name or "counted" in name for name in files)


def test_user_hashes_are_of_one_run_alone(finished, tmp_path, monkeypatch):
    written = []
    group = UserWeekBuilder.group

    def look(builder, progress):
        files = sorted(builder.folder.glob("*.bin"))
        records = np.concatenate([np.fromfile(file, RECORD) for file in files])
        written.append(set(records["user"].tolist()))
        return group(builder, progress)

    monkeypatch.setattr(UserWeekBuilder, "group", look)
    for name in ("one", "other"):
        run(settings(finished / "city"), folder=tmp_path / name, until="graph")
    assert len(written[0]) == len(written[1]) == 100
    assert written[0].isdisjoint(written[1])


def test_user_records_are_deleted_when_the_stage_fails(finished, tmp_path):
    broken = planted_city().visits.copy()
    broken.loc[2000, "time"] = "2024-01-05T10:00:00"  # no zone
    with pytest.raises(MoraError, match="time has no zone"):
        run(settings(finished / "city"), folder=tmp_path, visits=broken)
    few = planted_city().visits.head(40)
    config = settings(finished / "city")
    config["mobility"] = {**config["mobility"], "min_users": 50}
    with pytest.raises(MoraError, match=r"none of .* places has 50 distinct users"):
        run(config, folder=tmp_path, visits=few)
    assert not (tmp_path / "graph" / "records").exists()


@pytest.mark.parametrize("min_users", [1, 3, 5])
def test_every_edge_has_enough_users(finished, tmp_path, min_users):
    config = settings(finished / "city")
    config["mobility"] = {**config["mobility"], "min_users": min_users}
    run(config, folder=tmp_path, until="graph")
    graph = read_mobility(tmp_path / "graph").graph
    week = pd.to_datetime(planted_city().visits["time"]).dt.isocalendar().week
    visits = planted_city().visits.assign(week=week)[["user", "week", "cell"]]
    pairs = visits.merge(visits, on=["user", "week"]).query("cell_x < cell_y")
    users = pairs.groupby(["cell_x", "cell_y"])["user"].nunique()
    assert graph.edges == (users >= min_users).sum()
    assert graph.users.min() == users[users >= min_users].min()


# ---------------------------------------------------------------- bad input


def with_visits(change):
    def make(city):
        return {}, {"visits": change(city.visits)}

    return make


def with_table(place, change, table):
    def make(city):
        return {}, {"tables": {place: change(getattr(city, table))}}

    return make


def with_settings(change):
    def make(_city):
        return change, {}

    return make


def gravity(city, folder, **flows):
    del city
    columns = same("population", "lon", "lat", "zone")
    return {
        "kind": "gravity",
        "table": {"columns": same("origin", "destination", "weight")} | flows,
        "population": {"path": str(folder / "people.csv"), "columns": columns},
    }


ZURICH = [8.4, 47.3, 8.7, 47.5]
BERLIN = [13.0, 52.0, 14.0, 53.0]
# Case: stage that refuses, what to hand over, and the message.
BAD_VISITS = {
    "naive times": (
        lambda v: v.assign(time=v["time"].str[:19]),
        r"2,400 of 2,400 visits refused: time has no zone .* `timezone:`",
    ),
    "times as numbers": (
        lambda v: v.assign(time=range(len(v))),
        r"time is a number",
    ),
    "swapped lon and lat": (
        lambda v: v.assign(lon=v["lat"] + 80, lat=v["lon"]).rename(
            columns={"lon": "lat", "lat": "lon"}
        ),
        r"2,400 of 2,400 visits refused: lon and lat look swapped",
    ),
    "missing column": (
        lambda v: v.drop(columns="user"),
        r"no column 'user'; the columns are 'time', 'lon'.*Map them under `columns:`",
    ),
    "no rows": (lambda v: v.head(0), r"has no rows; expected at least one"),
    "too few users": (
        lambda v: v.assign(user="one"),
        r"none of 91 places has 2 distinct users",
    ),
}


def refused(copy, changes, options, message, stage):
    """Run on a finished copy; only the refusing stage may have changed."""
    before = contents(copy / "run")
    with pytest.raises(MoraError, match=message) as told:
        run(settings(copy / "city", **changes), folder=copy / "run", **options)
    after = contents(copy / "run")
    touched = {
        name.split("/")[0]
        for name, content in before.items()
        if after.get(name) != content
    }
    allowed = {stage} | ({"report.json", "report.md"} if stage == "evaluate" else set())
    assert touched <= allowed
    return str(told.value)


@pytest.mark.parametrize("case", BAD_VISITS)
def test_bad_visits_are_refused(copy, case):
    change, message = BAD_VISITS[case]
    visits = change(planted_city().visits)
    refused(copy, {}, {"visits": visits}, rf"(?s){message}", "graph")


def test_swapped_columns_are_found_by_the_study_area(copy):
    tokens = {"kind": "h3", "resolution": 7, "bounds": BERLIN}
    swapped = planted_city().visits.rename(columns={"lon": "lat", "lat": "lon"})
    message = r"2,\d+ of 2,\d+ visits lie in the study area only with lon and lat swapp"
    refused(copy, {"tokens": tokens}, {"visits": swapped}, message, "graph")


def test_a_study_area_elsewhere_leaves_nothing(copy):
    tokens = {"kind": "h3", "resolution": 7, "bounds": ZURICH}
    message = r"(?s)0 of 2,400 visits kept.*outside the study area.*Check tokens.bounds"
    refused(copy, {"tokens": tokens}, {}, message, "graph")


def test_visits_to_unknown_zones(copy):
    zones = {"path": str(copy / "city/zones.geojson"), "id": "id"}
    columns = same("user", "time", "token")
    changes = {
        "tokens": {"kind": "zone", "areas": zones},
        "mobility": {"kind": "visits", "table": {"columns": columns}},
    }
    visits = planted_city().visits
    known = visits.assign(token=np.where(visits.index % 2, "Z11", "Z12"))
    half = known.assign(token=known["token"].where(visits.index < 1200, "nowhere"))
    display = Recorder()
    run(
        settings(copy / "city", **changes),
        folder=copy / "half",
        until="graph",
        visits=half,
        display=display,
    )
    assert any("visits dropped: in none of the zones" in text for text in display.lines)
    unknown = known.assign(token="nowhere")
    message = r"(?s)0 of 2,400 visits kept.*in none of the zones.*Check .*ids or polyg"
    refused(copy, changes, {"visits": unknown}, message, "graph")


def test_flows_between_unknown_zones(copy):
    flows = planted_city().zone_flows
    changes = {"mobility": gravity(planted_city(), copy / "city")}
    strange = flows.assign(origin="X" + flows["origin"])
    message = r"438 of 438 flows name places that are not among the 21 known .*XZ01"
    refused(copy, changes, {"flows": strange}, message, "graph")
    negative = flows.assign(weight=flows["weight"].where(flows.index != 3, -1))
    message = (
        r"1 of 438 flows refused: weight is negative or missing .*row 4: weight -1"
    )
    refused(copy, changes, {"flows": negative}, message, "graph")


def test_negative_populations(copy):
    people = planted_city().people.copy()
    people.loc[[2, 4], "population"] = -1
    changes = {"mobility": gravity(planted_city(), copy / "city")}
    options = {
        "flows": planted_city().zone_flows,
        "tables": {"mobility.population": people},
    }
    message = r"2 of 91 populations are negative \(first: -1.0, -1.0\)"
    refused(copy, changes, options, message, "graph")


def test_cells_coarser_than_the_run(copy):
    changes = {
        "tokens": {"kind": "h3", "resolution": 8},
        "mobility": {
            "kind": "visits",
            "table": {"columns": same("user", "time", "token")},
        },
    }
    visits = planted_city().visits.assign(token=planted_city().visits["cell"])
    message = r"91 of 91 cells are of H3 level 7; expected 8 or finer"
    refused(copy, changes, {"visits": visits}, message, "graph")


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.nan, r"2,400 of 2,400 visits have no whole x and y"),
        (1.5, r"2,400 of 2,400 visits have no whole x and y"),
        (0, r"2400 of 2400 cells lie outside the 200 x 200 grid"),
    ],
)
def test_visits_off_the_grid(copy, x, message):
    changes = {"tokens": {"kind": "grid"}, "mobility": {"kind": "visits"}}
    visits = planted_city().visits[["user", "time"]].assign(x=x, y=1)
    refused(copy, changes, {"visits": visits}, message, "graph")
    without = visits.drop(columns="x")
    refused(copy, changes, {"visits": without}, "no column 'x'", "graph")


# Files and labels of late stages are refused before the run begins its long work.
LATE = {
    "missing labels": (
        lambda c: {
            "evaluation": {
                "labels": [
                    {"table": {"path": str(c / "nix.csv")}, "values": {"a": "a"}}
                ]
            }
        },
        r"evaluation.labels.0.table.path: no file at .*nix.csv",
    ),
    "missing names": (
        lambda c: {"map": {"names": {"path": str(c / "nix.csv")}}},
        r"map.names.path: no file at .*nix.csv",
    ),
    "missing label column": (
        lambda c: {
            "evaluation": evaluation(c)
            | {
                "labels": [
                    {
                        "table": {
                            "path": str(c / "labels.csv"),
                            "columns": {"id": "cell"},
                        },
                        "values": {"wealth": "welth"},
                    }
                ]
            }
        },
        r"no column 'welth'; the columns are 'cell'",
    ),
    "labels elsewhere": (
        lambda c: {"evaluation": evaluation(c, lat="lon", lon="lat")},
        r"task 'wealth': none of 91 labels meets a token",
    ),
    "too few blocks": (
        lambda c: {"evaluation": evaluation(c) | {"degrees": 10}},
        r"task 'wealth': 1 blocks cannot be split; expected at least 5",
    ),
    "unknown baseline": (
        lambda c: {"evaluation": evaluation(c) | {"baselines": ["lonlatt"]}},
        r"no baseline 'lonlatt'; expected one of .*lonlat",
    ),
    "names without names": (
        lambda c: {
            "map": {
                "names": {"path": str(c / "places.csv"), "columns": same("lon", "lat")}
            }
        },
        r"map.names: no column 'name'",
    ),
}


@pytest.mark.parametrize("case", LATE)
def test_late_stages_refuse_before_the_long_work(finished, tmp_path, case):
    changes, message = LATE[case]
    config = settings(finished / "city", **changes(finished / "city"))
    with pytest.raises(MoraError, match=message):
        run(config, folder=tmp_path)
    assert not (tmp_path / "line").exists()


def test_a_missing_file_is_found_before_anything_is_touched(copy):
    (copy / "city/places.csv").unlink()
    message = r"modalities.poi.inputs.0.path: no file at .*places.csv"
    refused(copy, {"seed": 3}, {}, message, "none")


def test_bad_features_leave_graph_and_line_intact(copy):
    (copy / "city/people.csv").write_text("cell,population\n")
    told = refused(copy, {}, {}, r"no column 'young', 'old'", "features")
    assert "people.csv" in told
    (copy / "city/people.csv").write_text("cell,population,young,old\n")
    refused(copy, {}, {}, r"people.csv has no rows", "features")


def test_bad_labels_leave_the_embeddings_intact(copy):
    table = {"evaluation.labels.0.table": planted_city().labels.assign(wealth="rich")}
    refused(copy, {}, {"tables": table}, r"91 .*wealth is not a number", "evaluate")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"modalities": {"p": {"kind": "pois"}}},
            r"modalities.p.kind: 'pois' is unknown; expected one of .*poi.*array",
        ),
        (
            {"modalities": {"p": {"kind": "poi", "options": {"txt": "name"}}}},
            r"modalities.p.options: txt unknown for kind 'poi'; expected some of encod",
        ),
        (
            {"modalities": {"p": {"kind": "imagery"}}},
            r"modalities.p.options: kind 'imagery' needs rasters; got none",
        ),
        (
            {"line": {"options": {"shifft": 1}}},
            r"line.options: shifft unknown for method 'closed_form'; .*shift",
        ),
        (
            {"line": {"method": "given", "options": {"shift": 1}}},
            r"line.options: shift unknown for method 'given'; expected some of none",
        ),
    ],
)
def test_unknown_options_are_refused_before_any_work(
    finished, tmp_path, changes, message
):
    with pytest.raises(MoraError, match=message):
        run(settings(finished / "city", **changes), folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([{}, 1], dtype=object), r"cannot be read \(Object arrays cannot be"),
        (np.zeros(91), r"holds float64 numbers of shape \(91,\) for 91 tokens"),
        (np.zeros((90, 16)), r"of shape \(90, 16\) for 91 tokens"),
        (np.zeros((91, 7), np.float32), r"has 7 columns; line.dim is 16"),
        (np.array([["a"] * 16] * 91), r"holds <U1 numbers of shape \(91, 16\)"),
    ],
)
def test_bad_arrays_are_refused(copy, array, message):
    path = copy / "city" / "line.npy"
    np.save(path, array, allow_pickle=True)
    line = {"method": "given", "path": str(path), "dim": 16}
    refused(copy, {"line": line}, {}, message, "line")


def test_a_ready_array_needs_a_path(copy):
    line = {"method": "given", "dim": 16}
    refused(copy, {"line": line}, {}, r"a ready array needs `path:`", "line")


def test_tokens_that_do_not_fit_the_movement(copy):
    places = {"path": str(copy / "city/zones.geojson"), "id": "id"}
    for tokens, mobility, message in (
        ({"kind": "zone"}, {"kind": "visits"}, r"tokens.areas: visits to zones need"),
        ({"kind": "h3"}, {"kind": "neighbours"}, r"tokens.areas: the neighbour graph"),
        (
            {"kind": "zone", "areas": places},
            gravity(planted_city(), copy / "city"),
            r"tokens.kind: 'zone'; population is spread over H3 cells",
        ),
        (
            {"kind": "grid"},
            {"kind": "flows"},
            r"tokens.kind: 'grid'; flows need 'h3' or 'zone' tokens",
        ),
    ):
        changes = {"tokens": tokens, "mobility": mobility}
        frames = {}
        if mobility["kind"] == "visits":
            frames["visits"] = planted_city().visits
        elif mobility["kind"] in ("flows", "gravity"):
            frames["flows"] = planted_city().zone_flows
        refused(copy, changes, frames, message, "graph")


def test_a_full_disk_is_told(copy, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    message = r"stage 'line' stopped: .*No space left .*earlier stages wrote is intact"
    refused(copy, {"line": {"dim": 4}}, {}, message, "line")


def test_zone_labels_need_zones(copy):
    changes = {"evaluation": evaluation(copy / "city", id="zone")}
    changes["evaluation"]["labels"][0]["unit"] = "zone"
    refused(copy, changes, {}, r"labels of zones need zones in the run", "evaluate")
    changes["mobility"] = gravity(planted_city(), copy / "city")
    flows = planted_city().zone_flows
    strange = {"evaluation.labels.0.table": planted_city().labels.assign(zone="X")}
    options = {"flows": flows, "tables": strange}
    message = r"none of 91 labels names one of 21 zones \(first labels: X, X, X"
    refused(copy, changes, options, message, "graph")
    changes["evaluation"]["labels"][0]["table"]["columns"] = same("lon", "lat")
    refused(
        copy, changes, {"flows": flows}, r"labels of zones: no column 'id'", "graph"
    )


def test_words_of_the_user_are_no_paths(copy):
    labels = {"path": str(copy / "city/labels.csv"), "columns": {"id": "cell"}}
    values = {"path": "wealth", "cells": "crowd", "graph": "lon"}
    config = evaluation(copy / "city")
    config["labels"] = [{"table": labels, "values": values}]
    assert go_on(copy, evaluation=config) == ["evaluate", "map"]
    report = json.loads((copy / "run" / "report.json").read_text())
    assert list(report["tasks"]) == ["path", "cells", "graph"]
    values["path"] = "crowd"
    assert go_on(copy, evaluation=config) == ["evaluate", "map"]


def test_fingerprint_is_of_content_alone():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_settings_may_be_ready_made(copy):
    config = load_config(settings(copy / "city"))
    assert stages_done(config, copy / "run") == []


def test_zones_with_one_name_are_refused(copy):
    zones = planted_city().zones.assign(id="same")
    write_zones(copy / "city/twice.geojson", zones)
    areas = {"path": str(copy / "city/twice.geojson"), "id": "id"}
    changes = {"tokens": {"kind": "zone", "areas": areas}}
    refused(copy, changes, {}, r"24 of 25 areas refused: id repeated", "graph")
