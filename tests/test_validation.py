"""Checks of a run: what is found, how bad it is, and that nobody is named."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from tests.small_run import (
    one_thread,  # noqa: F401 - a fixture for every test below
    planted_city,
    settings,
    write_city,
)

from mora.config import load_config
from mora.embeddings import Embeddings, read_embeddings
from mora.errors import ConfigError, PersonalDataError, RunError
from mora.graph.storage import MobilityGraph
from mora.personal import mark_personal
from mora.pipeline import run
from mora.pipeline.validation import compare_runs, snapshot_of_run, validate_run
from mora.pipeline.validation_checks import (
    check_bounds,
    check_coordinates_inside,
    check_duplicate_tokens,
    check_isolated,
    check_modality,
    check_repeated_places,
    check_rows_used,
    check_users,
    check_vectors,
    count_not_finite,
)
from mora.pipeline.validation_inputs import Scan, check_files, check_span, scan_mobility
from mora.pipeline.validation_report import Check, ValidationReport
from mora.tokens import ZoneTokens


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the city's files in ``city`` and a run in ``run``."""
    folder = tmp_path_factory.mktemp("finished")
    write_city(folder / "city")
    run(settings(folder / "city"), folder=folder / "run", until="embed")
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    """A run's folder that may be spoiled."""
    return shutil.copytree(finished / "run", tmp_path / "run")


def by_name(report):
    return {check.name: check for check in report.checks}


def levels(report):
    return {c.name: c.level for c in report.checks if c.level != "ok"}


def rewrite(folder, change):
    """Write changed vectors of a run, and what its manifest says of their size."""
    path = folder / "embeddings.parquet"
    before = read_embeddings(path)
    vectors = before.vectors.copy()
    change(vectors)
    Embeddings(before.tokens, vectors, None, before.provenance).write(path)
    manifest = json.loads((folder / "embed" / "manifest.json").read_text())
    manifest["products"]["embeddings.parquet"] = path.stat().st_size
    (folder / "embed" / "manifest.json").write_text(json.dumps(manifest))


def zones(count):
    return ZoneTokens.from_zones([f"Z{i:02d}" for i in range(count)])


def table(kind="visits", rows=100, **problems):
    found = [
        {
            "name": name.replace("_", " "),
            "count": n,
            "examples": ["x"],
            "action": "dropped",
        }
        for name, n in problems.items()
    ]
    return {"kind": kind, "rows_read": rows, "problems": found}


# --- whole runs --------------------------------------------------------------------


def test_a_sound_run_has_no_errors_and_names_nobody(finished):
    report = validate_run(finished / "run")
    assert report.exit_status() == 0, report.to_markdown()
    assert report.count("error") == 0
    found = by_name(report)
    assert found["users per edge"].level == "ok"
    assert found["time span"].found.startswith(
        "2024-01-01 to 2024-01-28 (UTC): 4 weeks"
    )
    assert found["modality poi"].level == "ok"
    assert found["stages"].found.startswith("5 done; 0 with files missing")
    assert "person-" not in report.to_markdown()
    assert report.subject == str(finished / "run")


def test_a_configuration_is_checked_before_it_is_run(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = settings(finished / "city")
    for config in (told, load_config(told)):
        report = validate_run(config)
        assert levels(report) == {}
        assert report.subject == "the configuration"
        assert "time span" in by_name(report)
        assert "stages" not in by_name(report)
    told["modalities"]["poi"]["inputs"][0]["path"] = str(tmp_path / "none.csv")
    report = validate_run(told)
    assert levels(report) == {"input files": "error"}
    assert by_name(report)["input files"].examples == ("modalities.poi.inputs.0.path",)
    assert report.exit_status() == 1


def test_the_folder_of_a_configuration_is_looked_at(finished):
    told = settings(finished / "city") | {"folder": str(finished / "run")}
    assert "stages" in by_name(validate_run(told))


def test_read_inputs_decides_whether_records_are_read(finished):
    assert "time span" in by_name(validate_run(finished / "run"))
    assert "time span" not in by_name(validate_run(finished / "run", read_inputs=False))


def test_a_moved_run_lacks_its_inputs_and_is_sound(copied):
    told = json.loads((copied / "config.json").read_text())
    told["mobility"]["table"]["path"] = "/none/visits.csv"
    (copied / "config.json").write_text(json.dumps(told))
    report = validate_run(copied)
    assert levels(report) == {"input files": "warning"}
    assert report.exit_status() == 0
    assert report.exit_status(strict=True) == 1


def test_a_run_without_its_configuration_is_read_from_the_manifests(copied):
    (copied / "config.json").unlink()
    report = validate_run(copied)
    assert "time span" in by_name(report)
    assert levels(report) == {}


def test_swapped_coordinates_are_an_error(finished, tmp_path):
    visits = planted_city().visits.rename(columns={"lon": "lat", "lat": "lon"})
    visits.to_csv(tmp_path / "visits.csv", index=False)
    told = settings(finished / "city", name="elsewhere")
    told["mobility"]["table"]["path"] = str(tmp_path / "visits.csv")
    told["tokens"]["bounds"] = [13.2, 52.38, 13.6, 52.62]
    check = by_name(validate_run(told))["records of movement"]
    assert check.level == "error"
    assert "lon and lat swapped" in check.found


def test_files_that_are_cut_short_are_an_error(copied):
    path = copied / "line" / "vectors.npy"
    path.write_bytes(path.read_bytes()[:-8])
    report = validate_run(copied)
    assert levels(report) == {"stages": "error"}
    assert by_name(report)["stages"].examples == ("line",)


def test_a_graph_that_cannot_be_read_is_an_error(copied):
    (copied / "graph" / "edges" / "indptr.npy").write_bytes(b"")
    found = levels(validate_run(copied))
    assert found["graph"] == found["stages"] == "error"


def test_stages_that_are_not_done_are_a_warning(copied):
    shutil.rmtree(copied / "embed")
    (copied / "embeddings.parquet").unlink()
    assert levels(validate_run(copied)) == {"stages": "warning"}


def test_broken_vectors_are_an_error(copied):
    def spoil(vectors):
        vectors[3, 0] = np.nan
        vectors[:, 2] = 1.5
        vectors[5] = 0
        vectors[7, 0] = 1e4

    rewrite(copied, spoil)
    found = by_name(validate_run(copied))
    names = read_embeddings(copied / "embeddings.parquet").tokens.names()
    assert found["embedding values"].level == "error"
    assert found["embedding values"].examples == (names[3],)
    assert found["embedding norms"].examples == (names[5], names[7])
    assert found["constant dimensions"].level == "warning"
    assert found["constant dimensions"].examples == ("e002",)


def test_places_in_another_order_are_an_error(copied):
    path = copied / "embeddings.parquet"
    some = read_embeddings(path)
    rows = np.arange(len(some) - 1)
    Embeddings(some.tokens.take(rows), some.vectors[rows]).write(path)
    assert levels(validate_run(copied))["places of graph and embeddings"] == "error"
    with pytest.raises(
        RunError, match="the graph has 91 places, the embeddings have 90"
    ):
        snapshot_of_run(copied)


def test_drift_takes_rotation_away_and_sees_change(finished, copied):
    def turn(vectors):
        vectors[:] = vectors[:, ::-1].copy()

    rewrite(copied, turn)
    check = by_name(validate_run(copied, finished / "run"))["drift"]
    assert check.level == "ok"
    assert check.found.startswith("91 places in common (100.0% of run, 100.0%")
    rng = np.random.default_rng(0)

    def strew(vectors):
        vectors[:] = rng.normal(size=vectors.shape)

    rewrite(copied, strew)
    check = by_name(validate_run(copied, finished / "run"))["drift"]
    assert check.level == "warning"
    assert len(check.examples) == 3


def test_runs_are_compared_place_by_place(finished, copied):
    def move(vectors):
        vectors[4] = -vectors[4]

    rewrite(copied, move)
    ranked = compare_runs(finished / "run", copied)
    names = read_embeddings(copied / "embeddings.parquet").tokens.names()
    assert ranked["place"][0] == names[4]
    assert (ranked["volume"] == 0).all()
    shutil.rmtree(copied / "graph")
    assert np.isnan(snapshot_of_run(copied).log_volume).all()
    assert ranked["place"].equals(compare_runs(finished / "run", copied)["place"])


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"has no manifest\.json in any of graph, line"):
        validate_run(tmp_path)
    with pytest.raises(ConfigError, match="settings cannot be followed"):
        validate_run({"name": "x", "mobility": {"kind": "none"}})


def test_personal_folders_are_refused(copied, finished):
    mark_personal(copied, "people")
    with pytest.raises(PersonalDataError):
        validate_run(copied)
    with pytest.raises(PersonalDataError):
        validate_run(finished / "run", copied)


# --- the report --------------------------------------------------------------------


def test_the_report_counts_sorts_and_escapes():
    checks = (
        Check("a", "ok", "fine", (), "nothing"),
        Check("b", "warning", "2 | of\n3", ("p", "q", "r", "s"), "look"),
    )
    report = ValidationReport("runs/x", checks)
    lines = report.to_markdown().splitlines()
    assert lines[2] == "Checks: 0 error, 1 warning, 1 ok."
    assert lines[6] == "| warning | b | 2 \\| of 3 | p; q; r | look |"
    assert lines[7] == "| ok | a | fine |  |  |"
    assert (report.exit_status(), report.exit_status(strict=True)) == (0, 1)
    broken = ValidationReport("x", (*checks, Check("c", "error", "bad")))
    assert broken.exit_status() == 1
    assert ValidationReport("x", ()).exit_status(strict=True) == 0


# --- tables ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tables", "level"),
    [
        ([], "ok"),
        ([table(outside_the_study_area=5)], "ok"),
        ([table(outside_the_study_area=6)], "warning"),
        ([table(coordinates_out_of_range=51)], "error"),
        ([table("places", outside_the_study_area=90)], "warning"),
        ([table("origins of flows", outside_the_study_area=90)], "error"),
        ([table(no_user=90)], "ok"),
    ],
)
def test_rows_outside_the_study_area(tables, level):
    assert check_coordinates_inside(tables).level == level


def test_points_of_visits_are_not_shown():
    lost = {"outside_the_study_area": 60}
    assert check_coordinates_inside([table(**lost)]).examples == ()
    assert check_coordinates_inside([table("places", **lost)]).examples == ("x",)


@pytest.mark.parametrize(("lost", "level"), [(5, "ok"), (6, "warning"), (51, "error")])
def test_rows_that_were_dropped(lost, level):
    check = check_rows_used([table(no_user=lost, outside_the_study_area=99)])
    assert check.level == level
    assert check.found.startswith(f"{lost} rows were dropped (1 findings in 1 reports")


def test_repeated_visits_are_rows_that_were_dropped():
    repeats = {"repeats_an_earlier_row": 6}
    assert check_rows_used([table(**repeats)]).found.startswith("6 rows were dropped")
    assert check_rows_used([table("places", **repeats)]).found.startswith("0 rows")


def test_repeated_places():
    repeats = {"repeats_an_earlier_row": 6}
    assert check_repeated_places([table("places", **repeats)]).level == "warning"
    assert check_repeated_places([table("places", 200, **repeats)]).level == "ok"
    assert check_repeated_places([table("visits", **repeats)]).level == "ok"


# --- times -------------------------------------------------------------------------


def visits_at(*times):
    return pd.DataFrame({"time": pd.to_datetime(list(times), utc=True)})


def scanned(*times, timezone=None):
    scan = Scan()
    for time in times:  # one batch each
        scan.add(visits_at(time), timezone)
    return scan


def test_span_by_hand():
    check = check_span(scanned("2024-01-10", "2024-01-03", "2024-02-01"))
    assert check.level == "warning"
    assert check.found == (
        "2024-01-03 to 2024-02-01 (UTC): 3 weeks with records, 2 without in between"
    )
    assert check.examples == ("week of 2024-01-15",)
    assert check_span(scanned("2024-01-10", "2024-01-03")).level == "ok"
    assert check_span(scanned("2024-01-10")).level == "warning"
    assert check_span(Scan()).level == "ok"


def test_the_zone_decides_on_the_week():
    monday = ("2024-01-01T20:00Z", "2024-01-07T20:00Z")
    assert len(scanned(*monday).weeks) == 1
    assert len(scanned(*monday, timezone="Asia/Tokyo").weeks) == 2


@pytest.mark.parametrize("odd", ["1970-01-01", "2190-01-01"])
def test_times_from_a_wrong_unit_are_a_warning(odd):
    near = pd.Timestamp(odd) + pd.Timedelta(days=7)
    check = check_span(scanned(odd, str(near)))
    assert check.level == "warning"
    assert "some are before 1990" in check.found or "in the future" in check.found


def test_running_weeks_have_no_dates():
    scan = Scan()
    scan.add(pd.DataFrame({"week": [3, 3, 10**9]}), None)
    check = check_span(scan)
    assert check.examples == ("week 4",)
    assert check.found == "2 weeks with records, 999,999,996 without in between"


def test_flows_are_read_and_other_movement_is_not(finished):
    city = finished / "city"
    columns = {name: name for name in ("origin", "destination", "weight")}
    flows = {"path": str(city / "flows.csv"), "columns": columns}
    told = settings(city, mobility={"kind": "flows", "table": flows})
    scan = scan_mobility(load_config(told))
    assert scan.reports[0]["kind"] == "flows"
    assert check_span(scan).found == "the records carry no times"
    told["mobility"] = {"kind": "neighbours"}
    assert scan_mobility(load_config(told)) is None


def test_level_of_missing_files(finished, tmp_path):
    told = load_config(settings(tmp_path))
    assert check_files(told).level == "error"
    assert check_files(told, "warning").level == "warning"
    assert check_files(load_config(settings(finished / "city"))).level == "ok"


# --- places, edges, vectors --------------------------------------------------------


def joined(users=(3, 5), places=3):
    flows = sp.csr_array(([4.0, 6.0], ([0, 1], [1, 2])), shape=(places, places))
    counts = sp.csr_array((np.array(users, float), ([0, 1], [1, 2])), flows.shape)
    return MobilityGraph.from_matrix(flows, counts + counts.T)


@pytest.mark.parametrize(
    ("kind", "edges", "min_users", "level"),
    [
        ("visits", "movement", 3, "ok"),
        ("visits", "movement", 4, "error"),
        ("visits", "movement", 1, "warning"),
        ("visits", "movement", None, "error"),
        ("visits", "neighbours", 4, "ok"),
        ("flows", "movement", None, "ok"),
    ],
)
def test_users_of_edges(kind, edges, min_users, level):
    assert check_users(joined(), kind, edges, min_users).level == level


def test_edges_without_counts_are_an_error_for_visits():
    bare = MobilityGraph.from_matrix(joined().symmetric())
    check = check_users(bare, "visits", "movement", 2)
    assert check.level == "error"
    assert check.found == "0 of 2 edges have a count of users"


@pytest.mark.parametrize(("places", "level"), [(3, "ok"), (4, "warning")])
def test_isolated_places(places, level):
    check = check_isolated(zones(places), joined(places=places))
    assert check.level == level
    assert check.examples == ("Z03",)[: places - 3]
    empty = MobilityGraph.from_matrix(sp.csr_array((places, places)))
    assert check_isolated(zones(places), empty).level == "error"


@pytest.mark.parametrize(
    ("present", "broken", "level"),
    [(4, 0, "ok"), (2, 0, "ok"), (1, 0, "warning"), (0, 0, "error"), (4, 1, "error")],
)
def test_share_of_places_with_a_modality(present, broken, level):
    marks = np.arange(4) < present
    check = check_modality("poi", marks, broken, zones(4))
    assert (check.name, check.level) == ("modality poi", level)
    assert check.examples == ("Z00", "Z01", "Z02", "Z03")[present:][:3]


def test_values_that_are_not_finite_are_counted_in_every_block():
    values = np.zeros((70_000, 2), np.float32)
    values[[0, 65_536, 69_999], 1] = np.nan, np.inf, -np.inf
    assert count_not_finite(values) == 3


def test_middles_outside_the_study_area():
    middles = np.array([[0.0, 0.0], [1.0, 1.0], [9.0, 1.0]])
    assert check_bounds(zones(3), middles, (0.0, 0.0, 9.0, 9.0)).level == "ok"
    check = check_bounds(zones(3), middles, (0.0, 0.0, 5.0, 9.0))
    assert (check.level, check.examples) == ("warning", ("Z02",))


def test_places_with_the_same_id_or_vector():
    vectors = np.array([[1, 0], [0, 1], [1, 0], [0, 0], [0, 0]], np.float32)
    check = check_duplicate_tokens(zones(5), vectors)
    assert (check.level, check.examples) == ("warning", ("Z02",))
    twice = ZoneTokens(np.array(["a", "a", "b"]))
    assert check_duplicate_tokens(twice, vectors[:3]).level == "error"
    assert check_duplicate_tokens(zones(2), vectors[:2]).level == "ok"


def test_vectors_that_are_all_zero_or_all_alike_are_errors():
    zero = {c.name: c.level for c in check_vectors(zones(3), np.zeros((3, 2)))}
    assert zero == {
        "embedding values": "ok",
        "embedding norms": "error",
        "constant dimensions": "error",
    }
    alike = {c.name: c.level for c in check_vectors(zones(3), np.ones((3, 2)))}
    assert alike["embedding norms"] == "ok"
    assert alike["constant dimensions"] == "error"
    none = {c.name: c.level for c in check_vectors(zones(3), np.full((3, 2), np.nan))}
    assert none["embedding values"] == none["constant dimensions"] == "error"
