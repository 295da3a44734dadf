import numpy as np
import pandas as pd
import pytest

from mora.errors import ConfigError, MissingColumnError, MoraError, TableError
from mora.geometry import cells_at
from mora.modalities.age_bands import (
    BANDS,
    WORKER_COLUMNS,
    band_columns,
    spread_workers,
    to_bands,
    work_from_flows,
    years_within,
)
from mora.modalities.demographics40 import build_demographics40
from mora.modalities.features import MODALITIES
from mora.modalities.home_work import infer_commutes
from mora.modalities.population import count_age_sex, count_people
from mora.sources.lodes_workers import read_lodes_workers
from mora.sources.registry import SOURCES, read_source
from mora.sources.worldpop import find_age_sex_rasters
from mora.tokens import H3Tokens, ZoneTokens

ZONES = ZoneTokens.from_zones(np.array(["a", "b", "c"]))
AGES = [0, 1, *range(5, 95, 5)]  # as WorldPop has them


def residents(rows=3, seed=0, ages=AGES, side="home"):
    rng = np.random.default_rng(seed)
    names = [f"{side}_{sex}_{age}" for sex in "fm" for age in ages]
    return pd.DataFrame(rng.integers(1, 50, (rows, len(names))), columns=names)


def at(frame, token="abc"):
    return frame.assign(token=list(token)[: len(frame)])


# Bands ------------------------------------------------------------------------------


def test_age_groups_become_decades():
    frame = pd.DataFrame([[1, 2, 4, 8, 16, 32, 64, 128]], dtype=float)
    ages = ["0", "01", "5", "10"]
    frame.columns = [f"home_{s}_{a}" for s in "fm" for a in ages]
    expected = np.zeros(20)
    expected[[0, 1, 10, 11]] = [7, 8, 112, 128]
    np.testing.assert_array_equal(to_bands(frame, "home"), [expected])


def test_bands_keep_everyone_in_any_order_of_columns():
    frame = residents()
    bands = to_bands(frame, "home")
    np.testing.assert_allclose(bands.sum(axis=1), frame.sum(axis=1))
    np.testing.assert_array_equal(to_bands(frame[frame.columns[::-1]], "home"), bands)
    old = [c for c in frame if not c.endswith(("_85", "_90"))]  # open group from 80 on
    assert (to_bands(frame[old], "home")[:, [9, 19]] == 0).all()
    for sex, first in (("f", 0), ("m", 10)):
        for band, decade in enumerate(BANDS):
            ages = [a for a in AGES if min(a // 10 * 10, 90) == decade]
            expected = frame[[f"home_{sex}_{a}" for a in ages]].sum(axis=1)
            np.testing.assert_allclose(bands[:, first + band], expected)


def test_a_row_with_an_empty_column_tells_nothing():
    frame = residents().astype(float)
    frame.loc[1, "home_m_5"] = np.nan
    assert np.isnan(to_bands(frame, "home")).all(axis=1).tolist() == [
        False,
        True,
        False,
    ]


def test_bands_refuse():
    frame = residents()
    with pytest.raises(MissingColumnError, match="'home_m_5'"):
        to_bands(frame.drop(columns="home_m_5"), "home")
    with pytest.raises(MissingColumnError, match="'work_f_0', 'work_m_0'"):
        to_bands(frame, "work")
    with pytest.raises(TableError, match=r"begin at each decade .*missing: 20"):
        to_bands(residents(ages=[0, 10, 15, 25, 30]), "home")
    with pytest.raises(TableError, match="'home_f_05' is there twice, but for zeros"):
        to_bands(frame.assign(home_f_05=1), "home")
    with pytest.raises(TableError, match="1 counts of people are negative"):
        to_bands(frame.assign(home_f_0=[-1000, 1, 1]), "home")


def test_years_within_bands():
    expected = [0, 0.4, 1, 1, 1, 1, 1, 0.5, 0, 0]
    np.testing.assert_allclose(years_within(16, 75), expected)
    assert not years_within(30, 30).any()


# Workers ----------------------------------------------------------------------------


def test_workers_are_spread_by_hand():
    # 10 young, 20 of middle age, 30 older; 15 men and 45 women; alike residents.
    counts = np.array([[10.0, 20, 30, 15, 45]])
    bands = spread_workers(counts, np.ones(20))
    women = np.zeros(10)
    women[[1, 2]] = 7.5 * np.array([4, 10]) / 14  # 16-19 and 20-29
    women[[3, 4]], women[5] = 15 * 10 / 25, 15 * 5 / 25  # 30-54
    women[5:8] += 22.5 * np.array([5, 10, 5]) / 20  # 55-74
    np.testing.assert_allclose(bands, [[*women, *(women / 3)]])


def test_workers_keep_their_ages_and_sexes():
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 99, (5, 5)).astype(float)
    counts[:, 4] = counts[:, :3].sum(axis=1) - counts[:, 3]  # as in LODES
    counts[:, 4] = counts[:, 4].clip(0)
    people = rng.uniform(1, 9, 20)
    bands = spread_workers(counts, people).reshape(5, 2, 10)
    np.testing.assert_allclose(bands.sum(axis=(1, 2)), counts[:, :3].sum(axis=1))
    women = counts[:, 4] / counts[:, 3:].sum(axis=1)
    total = counts[:, :3].sum(axis=1)
    np.testing.assert_allclose(bands[:, 0].sum(axis=1), women * total)
    np.testing.assert_allclose(
        spread_workers(counts, people * 7), bands.reshape(5, 20)
    )  # only the residents' shares count


def test_workers_follow_the_residents_and_the_working_ages():
    counts = np.array([[0.0, 10, 0, 0, 10]])
    forties = np.zeros(20)
    forties[4] = 3.0
    assert spread_workers(counts, forties)[0, 4] == 10
    early = spread_workers(np.array([[10.0, 0, 0, 0, 10]]), np.ones(20), (20, 75))
    assert early[0].nonzero()[0].tolist() == [2]
    late = spread_workers(np.array([[0.0, 0, 10, 0, 10]]), np.ones(20), (16, 60))
    assert late[0].nonzero()[0].tolist() == [5]


def test_odd_workers():
    nobody = spread_workers(np.zeros((1, 5)), np.zeros(20))
    assert not nobody.any()
    no_sexes = spread_workers(np.array([[8.0, 0, 0, 0, 0]]), np.zeros(20))[0]
    assert no_sexes[:10].sum() == no_sexes[10:].sum() == 4
    for column in range(5):
        counts = np.ones((1, 5))
        counts[0, column] = np.nan
        assert np.isnan(spread_workers(counts, np.ones(20))).any(), column
    with pytest.raises(TableError, match="1 counts of workers are negative"):
        spread_workers(np.array([[-1.0, 0, 0, 0, 0]]), np.ones(20))
    for ages in ((30, 75), (16, 55), (-1, 75)):
        with pytest.raises(TableError, match="expected the first below 30"):
            spread_workers(np.ones((1, 5)), np.ones(20), ages)


def test_work_from_flows():
    home = np.zeros((3, 20))
    home[0, [0, 2, 12]] = [50, 30, 10]  # children do not set out
    home[1, 14] = 5
    origin, destination = np.array([0, 0, 1, 2]), np.array([1, 1, 1, 0])
    work = work_from_flows(home, origin, destination, np.array([3.0, 1, 2, 9]))
    expected = np.zeros((3, 20))
    expected[1, [2, 12, 14]] = [3, 1, 2]
    np.testing.assert_allclose(work, expected)
    older = work_from_flows(home, origin, destination, np.ones(4), (0, 5))
    assert older[1, 0] == pytest.approx(2)
    with pytest.raises(TableError, match="1 of 4 weights negative"):
        work_from_flows(home, origin, destination, np.array([1.0, -1, 1, 1]))
    for bad in (-1, 3):
        with pytest.raises(TableError, match=r"1 of 8 ends of flows are no tokens"):
            work_from_flows(home, np.array([0, 0, bad, 1]), destination, np.ones(4))
    with pytest.raises(TableError, match="expected ages in order"):
        work_from_flows(home, origin, destination, np.ones(4), (60, 20))


# The modality -----------------------------------------------------------------------


def test_forty_columns_of_two_histograms():
    frame = at(pd.concat([residents(), residents(seed=1, side="work")], axis=1))
    features = MODALITIES["demographics40"](ZONES, frame)
    assert list(features.columns) == [*band_columns("home"), *band_columns("work")]
    home = to_bands(frame, "home")
    expected = home / home.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(features.values[:, :20], expected, rtol=1e-6)
    np.testing.assert_allclose(features.values[:, 20:].sum(axis=1), 1, rtol=1e-6)
    assert features.notes["without_work"] == features.notes["filled_values"] == 0


def test_only_residents_give_twenty_columns():
    features = build_demographics40(ZONES, at(residents(2)))
    assert features.columns == tuple(band_columns("home"))
    assert features.present.tolist() == [True, True, False]


def test_rows_are_people_not_averages():
    frame = residents(3)
    together = build_demographics40(ZONES, at(frame, "aab"))
    people = to_bands(frame, "home")[:2].sum(axis=0)
    np.testing.assert_allclose(together.values[0], people / people.sum(), rtol=1e-6)
    half = build_demographics40(ZONES, at(frame, "aab").assign(share=[0.0, 1.0, 1.0]))
    alone = build_demographics40(ZONES, at(frame.iloc[1:], "ab"))
    np.testing.assert_allclose(half.values, alone.values)


def lodes(rows, side="work"):
    names = [f"{side}_{name}" for name in WORKER_COLUMNS]
    return pd.DataFrame(rows, columns=names, dtype=float)


def test_lodes_below_the_residents():
    home = at(residents())
    work = at(lodes([[10, 20, 30, 15, 45], [0, 0, 0, 0, 0]]), "bc")
    features = build_demographics40(ZONES, pd.concat([home, work], ignore_index=True))
    region = to_bands(home, "home").sum(axis=0)
    spread = spread_workers(np.array([[10.0, 20, 30, 15, 45]]), region)[0] / 60
    # b has the only workers, so theirs is the mean that a and c get.
    for token in range(3):
        np.testing.assert_allclose(features.values[token, 20:], spread, rtol=1e-5)
    assert features.notes["without_work"] == 2
    assert features.notes["filled_values"] == 40
    later = build_demographics40(
        ZONES, pd.concat([home, work], ignore_index=True), working_ages=[20, 60]
    )
    assert later.values[1, 27] == 0 < features.values[1, 27]  # 70 to 79


def test_lodes_on_both_sides():
    frame = pd.concat(
        [lodes([[1, 2, 3, 3, 3]], "home"), lodes([[9, 0, 0, 9, 0]])], axis=1
    )
    features = build_demographics40(ZONES, at(frame))
    assert features.values[0, :20].sum() == pytest.approx(1)
    assert not features.values[0, 20:30].any()  # no women at work


def test_workers_from_flows():
    home = at(residents())
    flows = pd.DataFrame({"origin": [0, 1], "destination": [2, 2], "weight": [1.0, 3]})
    features = build_demographics40(ZONES, home, flows=flows)
    able = to_bands(home, "home") * np.tile(years_within(16, 75), 2)
    shares = able / able.sum(axis=1, keepdims=True)
    expected = 0.25 * shares[0] + 0.75 * shares[1]
    np.testing.assert_allclose(features.values[2, 20:], expected, rtol=1e-5)
    assert features.notes["without_work"] == 2
    with pytest.raises(MissingColumnError, match="flows: no column 'weight'"):
        build_demographics40(ZONES, home, flows=flows.drop(columns="weight"))
    both = pd.concat([home, residents(seed=1, side="work")], axis=1)
    with pytest.raises(ConfigError, match="both tell of workers"):
        build_demographics40(ZONES, both, flows=flows)


def test_flows_may_stand_below_the_residents():
    home = at(residents())
    flows = pd.DataFrame({"origin": [0, 1], "destination": [2, 2], "weight": [1.0, 3]})
    expected = build_demographics40(ZONES, home, flows=flows)
    both = pd.concat([home, flows], ignore_index=True)
    found = build_demographics40(ZONES, both)
    np.testing.assert_array_equal(found.values, expected.values)
    assert found.columns == expected.columns
    assert found.notes == expected.notes
    work = pd.concat([home, residents(seed=1, side="work")], axis=1)
    with pytest.raises(ConfigError, match="both tell of workers"):
        build_demographics40(ZONES, pd.concat([work, flows], ignore_index=True))


def test_the_modality_refuses():
    with pytest.raises(MissingColumnError, match="'home_f_0', 'home_CA01'"):
        build_demographics40(ZONES, at(residents(side="work")))
    frame = at(pd.concat([residents(), lodes(np.ones((3, 5)))], axis=1))
    with pytest.raises(MissingColumnError, match="'work_CS02'"):
        build_demographics40(ZONES, frame.drop(columns="work_CS02"))
    with pytest.raises(TableError, match="3 of 3 rows lie outside"):
        build_demographics40(ZONES, at(residents(), "xyz"))


# Homes and work places from visits --------------------------------------------------


def visits():
    """Six users live in 0 and work in 1, one works at home in 2, one only sleeps."""
    rows = []
    for user in range(8):
        home, work = (0, 1) if user < 6 else (2, 2)
        for day in range(5, 10):  # Monday 5 January 2026 to Friday
            rows.append((user, home, f"2026-01-{day:02} 23:30"))
            if user < 7:
                rows.append((user, work, f"2026-01-{day:02} 10:00"))
            rows.append((user, 3, f"2026-01-{day:02} 18:00"))
        rows.append((user, 3, "2026-01-10 10:00"))  # Saturday
    user, token, time = zip(*rows, strict=True)
    return np.array(user), np.array(token), pd.Series(pd.to_datetime(list(time)))


def test_commutes():
    flows = infer_commutes(*visits(), min_users=1)
    assert flows.values.tolist() == [[0, 1, 6], [2, 2, 1]]
    user, token, time = visits()
    order = np.random.default_rng(0).permutation(len(user))
    mixed = infer_commutes(user[order], token[order], time.iloc[order], min_users=1)
    assert mixed.equals(flows)
    names = np.array([f"u{u}" for u in user])
    assert infer_commutes(names, token, time, min_users=1).equals(flows)


def test_commutes_options():
    user, token, time = visits()

    def pairs(**options):
        flows = infer_commutes(user, token, time, **{"min_users": 1, **options})
        return flows[["origin", "destination"]].values.tolist()

    assert pairs(min_users=5) == [[0, 1]]
    assert pairs(min_records=17) == []  # 16 records each, 11 of one
    assert pairs(office=(18, 20)) == [[0, 3], [2, 3]]
    assert pairs(night=(18, 6)) == [[0, 1], [2, 2]]
    assert pairs(night=(24, 6)) == []
    assert infer_commutes(user, np.full(len(user), -1), time).empty


def test_commutes_refuse():
    user, token, time = visits()
    with pytest.raises(MoraError, match=r"1 users, .* expected one of each a record"):
        infer_commutes(user[:1], token, time)
    for options in (
        {"office": (17, 9)},
        {"night": (12, 6)},
        {"min_users": 0},
        {"min_records": 0},
    ):
        with pytest.raises(MoraError, match="expected office hours within the day"):
            infer_commutes(user, token, time, **options)


# Rasters and LODES files ------------------------------------------------------------


def raster(path, people, corner=(10.0, 51.0), pixel=0.01):
    rasterio = pytest.importorskip("rasterio", reason="needs the extra `geo`")
    transform = rasterio.Affine(pixel, 0, corner[0], 0, -pixel, corner[1])
    height, width = people.shape
    about = {"driver": "GTiff", "height": height, "width": width, "count": 1}
    about |= {"dtype": "float32", "crs": "EPSG:4326", "nodata": -99999}
    with rasterio.open(path, "w", transform=transform, **about) as file:
        file.write(people.astype("float32"), 1)
    return path


def grid():
    rng = np.random.default_rng(0)
    people = rng.integers(0, 5, (64, 64)).astype(float)
    row, column = np.mgrid[:64, :64]
    lonlat = np.column_stack(
        [10 + (column.ravel() + 0.5) / 100, 51 - (row.ravel() + 0.5) / 100]
    )
    return people, lonlat


def test_people_per_cell(tmp_path):
    people, lonlat = grid()
    path = raster(tmp_path / "a.tif", people)
    cells = cells_at(lonlat, 6)
    tokens = H3Tokens.from_cells(cells)
    counted = count_people(tokens, path)
    assert counted.sum() == people.sum()
    expected = pd.Series(people.ravel()).groupby(cells).sum()
    np.testing.assert_allclose(counted, expected)
    few = tokens.take(np.array([3, 5]))
    np.testing.assert_allclose(count_people(few, path), counted[[3, 5]])
    elsewhere = H3Tokens.from_cells(cells_at(np.array([[0.0, 0.0]]), 6))
    assert not count_people(elsewhere, path).any()


def test_parts_reach_tokens_smaller_than_pixels(tmp_path):
    path = raster(tmp_path / "a.tif", np.array([[9.0]]), pixel=0.02)
    tokens = H3Tokens.from_cells(cells_at(np.array([[10.004, 50.996]]), 9))
    assert count_people(tokens, path).tolist() == [0]
    assert 0 < count_people(tokens, path, parts=20)[0] < 1


def test_rasters_by_sex_and_age_become_features(tmp_path):
    people, lonlat = grid()
    groups = [(sex, age) for sex in "fm" for age in (0, 10, 80)]
    rasters = {
        (sex, age): raster(tmp_path / f"{sex}{age}.tif", people * (age + 1))
        for sex, age in groups
    }
    tokens = H3Tokens.from_cells(cells_at(lonlat, 6))
    seen = []
    frame = count_age_sex(tokens, rasters, progress=lambda *done: seen.append(done))
    assert seen[-1] == (6, 6)
    np.testing.assert_allclose(
        frame["home_m_80"], 81 * count_people(tokens, rasters["f", 0])
    )
    small = H3Tokens.from_cells(cells_at(lonlat[:1] + 0.002, 10))
    assert count_age_sex(small, rasters, parts=20)["home_f_10"][0] > 0
    with pytest.raises(TableError, match=r"nobody in 6 rasters .*`parts`"):
        count_age_sex(small, rasters)
    with pytest.raises(ConfigError, match="no age and sex rasters"):
        count_age_sex(tokens, {})
    with pytest.raises(TableError, match="begin at each decade"):
        build_demographics40(tokens, frame)  # 10 to 80 is no decade
    frame[[f"home_{s}_{a}" for s in "fm" for a in range(20, 80, 10)]] = 0.0
    features = build_demographics40(tokens, frame)
    np.testing.assert_allclose(
        features.values[0, [0, 1, 8]], np.array([1, 11, 81]) / 186, rtol=1e-5
    )


def age_sex_rasters(folder, people, year=2020):
    """Write rasters of a country: more women are young, more men old."""
    folder.mkdir(exist_ok=True)
    for sex in "fm":
        for age in range(0, 90, 10):
            count = people * (1 + (age if sex == "m" else 90 - age))
            raster(folder / f"abc_{sex}_{age}_{year}.tif", count)
    return folder


def test_residents_of_rasters_named_in_a_configuration(tmp_path):
    people, lonlat = grid()
    folder = age_sex_rasters(tmp_path / "all", people)
    tokens = H3Tokens.from_cells(cells_at(lonlat, 6))
    counts = count_age_sex(tokens, find_age_sex_rasters(folder))
    expected = build_demographics40(tokens, counts)
    path = folder / "abc_*_2020.tif"
    found = build_demographics40(tokens, rasters={"path": path})
    np.testing.assert_array_equal(found.values, expected.values)
    assert len(found.columns) == 20
    age_sex_rasters(folder, people[::-1], year=2021)
    same = build_demographics40(tokens, rasters={"path": path})
    np.testing.assert_array_equal(same.values, expected.values)
    names = tokens.names()
    work = residents(len(names), side="work").assign(token=names)
    both = build_demographics40(tokens, work, rasters={"path": path})
    np.testing.assert_array_equal(both.values[:, :20], found.values)
    assert len(both.columns) == 40


def test_rasters_options_and_what_is_refused(tmp_path):
    people, lonlat = grid()
    path = age_sex_rasters(tmp_path / "all", people) / "*.tif"
    small = H3Tokens.from_cells(cells_at(lonlat[:3] + 0.002, 10))
    with pytest.raises(TableError, match=r"nobody in 18 rasters .*`parts`"):
        build_demographics40(small, rasters={"path": path})
    found = build_demographics40(small, rasters={"path": path, "parts": 20})
    assert found.present.any()
    with pytest.raises(ConfigError, match=r"expected `path` and optionally `parts`"):
        build_demographics40(small, rasters={"part": 2})
    home = residents(1).assign(token=small.names()[:1])
    with pytest.raises(ConfigError, match=r"columns `home_...` and rasters both tell"):
        build_demographics40(small, home, rasters={"path": path, "parts": 20})
    with pytest.raises(MissingColumnError, match="'home_f_0', 'home_CA01'"):
        build_demographics40(small)


WAC = "w_geocode,C000,CA01,CA02,CA03,CE01,CNS01,CS01,CS02,createdate"
BLOCKS = ["010010201001000", "010010201001001", "010010201001002"]


def lodes_files(folder, header=WAC, blocks=BLOCKS):
    wac = folder / "al_wac_S000_JT00_2021.csv"
    lines = [f"{b},6,1,2,3,0,0,{i},{6 - i},20230321" for i, b in enumerate(blocks)]
    wac.write_text("\n".join([header, *lines]) + "\n")
    crosswalk = folder / "al_xwalk.csv"
    head = "tabblk2020,st,blklatdd,blklondd,createdate"
    places = [f"{b},01,3{i}.5,-8{i}.5,20230321" for i, b in enumerate(BLOCKS)]
    crosswalk.write_text("\n".join([head, *places]) + "\n")
    return wac, crosswalk


def test_lodes_workers(tmp_path):
    wac, crosswalk = lodes_files(tmp_path, blocks=[*BLOCKS, "010010201009999"])
    frame = read_source("lodes_workers", wac, crosswalk)
    names = [f"work_{name}" for name in WORKER_COLUMNS]
    assert list(frame.columns) == ["lon", "lat", *names]
    assert frame.iloc[1].tolist() == [-81.5, 31.5, 1, 2, 3, 1, 5]
    assert frame.attrs["dropped"] == {"block not in the crosswalk": 1}
    homes, _ = lodes_files(tmp_path, WAC.replace("w_geo", "h_geo"))
    home = read_source("lodes_workers", homes, crosswalk, side="home")
    assert list(home.columns)[2] == "home_CA01"
    assert SOURCES["lodes_workers"].licence
    tokens = H3Tokens.from_cells(cells_at(frame[["lon", "lat"]].to_numpy(), 7))
    both = pd.concat([home, frame], ignore_index=True)
    assert build_demographics40(tokens, both).values.shape == (3, 40)


def test_lodes_workers_refuse(tmp_path):
    wac, crosswalk = lodes_files(tmp_path)
    with pytest.raises(TableError, match="side 'x'; expected one of home, work"):
        read_lodes_workers(wac, crosswalk, side="x")
    with pytest.raises(MissingColumnError, match="h_geocode"):
        list(read_lodes_workers(wac, crosswalk, side="home"))
    wac, _ = lodes_files(tmp_path, blocks=["010010201009999", BLOCKS[0]])
    with pytest.raises(TableError, match="1 of 2 blocks are not in the crosswalk"):
        list(read_lodes_workers(wac, crosswalk))
    wac, _ = lodes_files(tmp_path, blocks=[b[1:] for b in BLOCKS])
    with pytest.raises(TableError, match="is not a block code of 15 digits"):
        list(read_lodes_workers(wac, crosswalk))
