"""Homes and work places from visits or flows, on their way from YAML to features."""

import numpy as np
import pandas as pd
import pytest

from mora.config import TableInput, load_config
from mora.errors import ConfigError, TableError
from mora.modalities import infer_commutes, read_features
from mora.pipeline import run
from mora.pipeline.commutes import kind_of_table, read_commutes, read_sightings
from mora.pipeline.inputs import RunContext
from mora.pipeline.rows import read_modality
from mora.sources.registry import SOURCES, source
from mora.tokens import H3Tokens

CELLS = ["871f1d489ffffff", "871f1d488ffffff", "871f1d48bffffff"]
TOKENS = H3Tokens.from_cells(CELLS)
LONLAT = TOKENS.centroids()
VISITS = {name: name for name in ("user", "time", "lon", "lat")}
PLACE = "modalities.people.inputs.0"
AGES = [f"home_{sex}_{age}" for sex in "fm" for age in range(0, 100, 10)]


def visits(zone="+00:00"):
    """Six users live in token 0 and work in 1, three live in 2 and work in 0."""
    rows = []
    for user in range(9):
        home, work = (0, 1) if user < 6 else (2, 0)
        for day in range(5, 10):  # Monday 5 January 2026 to Friday
            for token, clock in ((home, "23:30"), (work, "10:00")):
                time = f"2026-01-{day:02}T{clock}:00{zone}"
                rows.append((f"u{user}", time, *LONLAT[token]))
    return pd.DataFrame(rows, columns=[*VISITS])


def context(tmp_path, table, frame=None, **mobility):
    config = {
        "name": "a",
        "tokens": {"kind": "h3", "resolution": 7},
        "mobility": {"kind": "visits"} | mobility,
        "modalities": {"people": {"kind": "demographics40", "inputs": [table]}},
    }
    frames = {} if frame is None else {PLACE: frame}
    return RunContext(load_config(config), tmp_path, frames=frames)


def commutes(tmp_path, frame, columns=VISITS, **mobility):
    table = {"path": str(tmp_path / "table.csv"), "columns": columns}
    frame.to_csv(tmp_path / "table.csv", index=False)
    given = context(tmp_path, table, **mobility)
    return read_commutes(given, TableInput(**table), PLACE, TOKENS)


def rows_of(flows):
    return flows[["origin", "destination", "weight"]].values.tolist()


def test_commutes_are_inferred_from_visits(tmp_path):
    found = commutes(tmp_path, visits())
    assert rows_of(found) == [[0, 1, 6], [2, 0, 3]]
    seen = visits()
    token = TOKENS.locate(seen[["lon", "lat"]].to_numpy())
    time = pd.to_datetime(seen["time"]).dt.tz_localize(None)
    expected = infer_commutes(seen["user"].to_numpy(), token, time, min_users=2)
    pd.testing.assert_frame_equal(found, expected)


def test_the_clock_and_the_smallest_group_are_those_of_the_run(tmp_path):
    assert rows_of(commutes(tmp_path, visits(), min_users=4)) == [[0, 1, 6]]
    radiation = {"kind": "radiation", "population": {"path": "people.csv"}}
    table = {"path": str(tmp_path / "table.csv"), "columns": VISITS}
    given = context(tmp_path, table)
    other = load_config(given.config.model_dump() | {"mobility": radiation})
    given = RunContext(other, tmp_path)
    found = read_commutes(given, TableInput(**table), PLACE, TOKENS)
    assert rows_of(found) == [[0, 1, 6]]  # hides fewer than five, by default
    with pytest.raises(TableError, match="nobody is known to go"):
        commutes(tmp_path, visits(), min_users=7)
    # Half a world away day is night: homes and work places change their parts.
    found = commutes(tmp_path, visits(), timezone="Pacific/Auckland")
    assert rows_of(found) == [[0, 2, 3], [1, 0, 6]]


def test_sightings_are_in_batches_with_tokens_and_clock_times(tmp_path):
    frame = visits()
    frame.loc[0, ["lon", "lat"]] = 100.0, 10.0
    given = context(tmp_path, {}, frame)
    ((user, token, clock),) = read_sightings(
        given, TableInput(), PLACE, TOKENS, "Europe/Berlin"
    )
    assert len(np.unique(user)) == 9
    assert token[:3].tolist() == [-1, 1, 0]
    assert pd.DatetimeIndex(clock).hour[:2].tolist() == [0, 11]
    utc = read_sightings(given, TableInput(), PLACE, TOKENS, None)
    assert pd.DatetimeIndex(next(utc)[2]).hour[:2].tolist() == [23, 10]
    assert not set(user) & set(frame["user"])
    weeks = frame.assign(week=1).drop(columns="time")
    assert not [
        *read_sightings(context(tmp_path, {}, weeks), TableInput(), PLACE, TOKENS, None)
    ]


def test_visits_without_times_are_refused(tmp_path):
    frame = visits().assign(week=1).drop(columns="time")
    with pytest.raises(TableError, match=r"inputs.0: visits have weeks but no times"):
        commutes(tmp_path, frame, {n: n for n in ("user", "week", "lon", "lat")})


@pytest.mark.parametrize("form", ["names", "points"])
def test_flows_from_home_to_work(form, tmp_path):
    ends, weight = [(0, 1), (2, 0), (0, 1)], [1.0, 2.0, 3.0]
    if form == "names":
        names = TOKENS.names()
        frame = pd.DataFrame(
            [(names[o], names[d]) for o, d in ends], columns=["origin", "destination"]
        )
    else:
        points = [(*LONLAT[o], *LONLAT[d]) for o, d in ends]
        frame = pd.DataFrame(points, columns=[
            *("origin_lon", "origin_lat", "destination_lon", "destination_lat")
        ])  # fmt: skip
        frame.loc[3] = [100.0, 10.0, 100.0, 10.0]
        weight = [*weight, 7.0]
    frame["weight"] = weight
    columns = {name: name for name in frame}
    assert rows_of(commutes(tmp_path, frame, columns)) == [[0, 1, 4], [2, 0, 2]]


def test_tables_are_told_apart(tmp_path):
    def kind(table, frame=None):
        given = context(tmp_path, table, frame)
        return kind_of_table(given, given.config.modalities["people"].inputs[0], PLACE)

    assert kind({"path": "a", "columns": VISITS}) == "visits"
    assert kind({"path": "a", "columns": {"origin": "o"}}) == "flows"
    assert kind({"path": "a", "columns": {"origin_lon": "o"}}) == "flows"
    assert kind({"path": "a", "columns": {"id": "i", "home_f_0": "f"}}) == "numbers"
    assert kind({}, visits()) == "visits"
    assert kind({}, pd.DataFrame({"id": ["a"], "home_f_0": [1]})) == "numbers"
    assert kind({"source": "gowalla", "files": ["a"]}) == "visits"
    assert kind({"source": "lodes", "files": ["a"]}) == "flows"
    assert kind({"source": "lodes_workers", "files": ["a"]}) == "numbers"


def test_a_run_on_visits_describes_residents_and_workers(tmp_path):
    """Visits give movement and commutes; residents come from a table."""
    visits().to_csv(tmp_path / "visits.csv", index=False)
    rng = np.random.default_rng(0)
    people = pd.DataFrame(rng.integers(1, 50, (3, 20)), columns=AGES)
    people["id"] = TOKENS.names()
    people.to_csv(tmp_path / "people.csv", index=False)
    table = {"path": str(tmp_path / "visits.csv"), "columns": VISITS}
    residents = {
        "path": str(tmp_path / "people.csv"),
        "columns": {name: name for name in people},
    }
    config = {
        "name": "a",
        "tokens": {"kind": "h3", "resolution": 7},
        "mobility": {"kind": "visits", "table": table},
        "line": {"dim": 2},
        "modalities": {
            "people": {"kind": "demographics40", "inputs": [residents, table]},
            "homes": {"kind": "demographics40", "inputs": [residents]},
        },
    }
    run(config, folder=tmp_path / "run", until="features")
    both = read_features(tmp_path / "run" / "features", "people")
    homes = read_features(tmp_path / "run" / "features", "homes")
    assert (len(both.columns), len(homes.columns)) == (40, 20)
    np.testing.assert_array_equal(both.values[:, :20], homes.values)
    able = both.values[2, [1, 2, 3]] > 0
    assert able.all()
    # All who work in token 0 live in 2: as old as its residents of working age.
    residents_of_2, workers_of_0 = both.values[2, 2:7], both.values[0, 22:27]
    ratio = workers_of_0 / residents_of_2
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_a_modality_without_table_or_rasters_is_refused(tmp_path):
    given = context(tmp_path, {})
    config = given.config.modalities["people"].model_copy(update={"inputs": ()})
    with pytest.raises(ConfigError, match=r"people.inputs: none; .*needs a table"):
        read_modality(given, "people", config, TOKENS)
    rasters = config.model_copy(update={"options": {"rasters": {"path": "a*.tif"}}})
    assert read_modality(given, "people", rasters, TOKENS) is None


def test_a_source_of_flows_tells_of_commutes(tmp_path):
    names = TOKENS.names()

    @source("commutes_of_the_test", gives="flows")
    def read_them():
        return pd.DataFrame(
            {"origin": names[:1], "destination": names[1:2], "weight": [4.0]}
        )

    try:
        given = context(tmp_path, {"source": "commutes_of_the_test"})
        frame = read_modality(
            given, "people", given.config.modalities["people"], TOKENS
        )
        assert rows_of(frame) == [[0, 1, 4]]
    finally:
        del SOURCES["commutes_of_the_test"]
