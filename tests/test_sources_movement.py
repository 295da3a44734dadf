import gzip

import numpy as np
import pandas as pd
import pytest

from mora.errors import MissingColumnError, MissingFileError, TableError
from mora.sources import flows, lodes
from mora.sources.flows import sum_flows, to_flows
from mora.sources.lodes import read_lodes, stream_lodes_blocks
from mora.sources.mitma import read_mitma
from mora.sources.registry import read_source
from mora.sources.tlc import read_tlc
from mora.sources.uk_od import read_uk_od
from mora.tables import check_flows
from mora.tables.inspection import Inspection

ENDS = ["origin", "destination"]


def as_dict(table):
    ends = zip(table["origin"], table["destination"], strict=True)
    return dict(zip(ends, table["weight"], strict=True))


def zipped(path, text):
    path.write_bytes(gzip.compress(text.encode()))
    return path


def random_flows(rows=500, places=12):
    rng = np.random.default_rng(0)
    ends = rng.integers(places, size=(2, rows)).astype(str)
    weight = rng.integers(1, 9, rows).astype(float)
    return pd.DataFrame(
        {"origin": ends[0], "destination": ends[1], "weight": weight}
    ).astype({"origin": "str", "destination": "str"})


@pytest.mark.parametrize("parts", [1, 7, 40])
def test_flows_in_parts_add_up_to_the_whole(parts):
    whole = random_flows()
    cuts = np.array_split(np.arange(len(whole)), parts)
    summed = sum_flows((whole.iloc[cut] for cut in cuts), "ours")
    pairs = whole.groupby(ENDS)["weight"].sum().to_dict()
    assert parts <= flows.PARTS_HELD or parts > 2 * flows.PARTS_HELD
    assert as_dict(summed) == pairs
    # In the order of their first rows, whatever the cuts.
    first = whole.drop_duplicates(ENDS)[ENDS].to_numpy().tolist()
    assert summed[ENDS].to_numpy().tolist() == first


def test_no_flow_left_is_refused_with_the_reasons():
    part = random_flows(3)
    inspection = Inspection(part, "flows", "ours")
    inspection.drop(np.ones(3, bool), "end abroad")
    with pytest.raises(TableError, match=r"ours: no flow is left \(3: end abroad\)"):
        sum_flows([to_flows(inspection, part)], "ours")
    with pytest.raises(TableError, match=r"ours: no flow is left \(no rows\)"):
        sum_flows([], "ours")


OD = (
    "w_geocode,h_geocode,S000,SA01,SA02,SA03,SE01,SE02,SE03,SI01,SI02,SI03,createdate\n"
)
XWALK = (
    "tabblk2020,st,stusps,stname,cty,ctyname,trct,bgrp,blklatdd,blklondd,createdate\n"
)
# Blocks of Alabama, whose codes begin with 0: two in one tract, one in another county.
A, B, C = "010010201001000", "010010201002001", "010030101001000"


def od(path, *rows):
    lines = [f"{w},{h},{n},{m},0,0,0,0,0,0,0,{n},20231016" for w, h, n, m in rows]
    return zipped(path, OD + "\n".join(lines) + "\n")


def crosswalk(path, **points):
    blocks = {"A": A, "B": B, "C": C}
    lines = [
        f'{blocks[name]},01,AL,Alabama,{blocks[name][:5]},"Autauga County, AL",'
        f"{blocks[name][:11]},{blocks[name][:12]},{lat},{lon},20231016"
        for name, (lon, lat) in points.items()
    ]
    return zipped(path, XWALK + "\n".join(lines) + "\n")


@pytest.fixture
def lodes_od(tmp_path):
    """Home before work in our table, work before home in theirs."""
    path = tmp_path / "al_od_main_JT00_2021.csv.gz"
    return od(path, (A, C, 5, 1), (B, C, 3, 0), (C, A, 2, 2))


def test_lodes_adds_blocks_up_to_areas(lodes_od):
    assert as_dict(read_lodes(lodes_od, level="block")) == {
        (C, A): 5.0,
        (C, B): 3.0,
        (A, C): 2.0,
    }
    tracts = {("01003010100", "01001020100"): 8.0, ("01001020100", "01003010100"): 2.0}
    assert as_dict(read_lodes(lodes_od)) == tracts
    counties = read_source("lodes", lodes_od, level="county")
    assert as_dict(counties) == {("01003", "01001"): 8.0, ("01001", "01003"): 2.0}
    groups = read_lodes(lodes_od, level="group")
    assert set(groups["destination"]) == {A[:12], B[:12], C[:12]}
    kept, report = check_flows(counties)
    assert len(kept) == 2
    assert report.problems == ()


def test_lodes_counts_the_jobs_asked_for(lodes_od):
    young = read_lodes(lodes_od, jobs="SA01", level="county")
    assert as_dict(young) == {("01003", "01001"): 1.0, ("01001", "01003"): 2.0}
    with pytest.raises(MissingColumnError, match=r"no column 'S001'; .*'S000'"):
        read_lodes(lodes_od, jobs="S001")


def test_lodes_adds_files_up(lodes_od):
    od(lodes_od.with_name("al_od_aux_JT00_2021.csv.gz"), (A, C, 10, 0))
    both = read_lodes(lodes_od.parent / "al_od_*_JT00_2021.csv.gz", level="block")
    assert as_dict(both)[C, A] == 15.0
    assert len(both) == 3


def test_lodes_areas_lie_at_the_mean_of_their_blocks(lodes_od, tmp_path):
    points = {"A": (-86.5, 32.5), "B": (-86.3, 32.1), "C": (-87.9, 30.5)}
    path = crosswalk(tmp_path / "al_xwalk.csv.gz", **points)
    placed = read_lodes(lodes_od, path)
    assert list(placed.columns) == [
        "origin_lon",
        "origin_lat",
        "destination_lon",
        "destination_lat",
        "weight",
    ]
    expected = [[-87.9, 30.5, -86.4, 32.3, 8], [-86.4, 32.3, -87.9, 30.5, 2]]
    np.testing.assert_allclose(placed.to_numpy(), expected)
    kept, report = check_flows(placed)
    assert len(kept) == 2
    assert report.problems == ()


def test_lodes_pairs_without_coordinates_are_counted(tmp_path):
    path = od(tmp_path / "od.csv.gz", (A, B, 5, 1), (B, A, 3, 0), (C, A, 2, 2))
    known = crosswalk(tmp_path / "al_xwalk.csv.gz", A=(-86.5, 32.5), B=(-86.3, 32.1))
    placed = read_lodes(path, known, level="block")
    assert placed["weight"].tolist() == [5.0, 3.0]
    assert placed.attrs["dropped"] == {"end not in the crosswalk": 1}
    few = crosswalk(tmp_path / "few.csv.gz", A=(-86.5, 32.5))
    with pytest.raises(TableError, match=rf"3 of 3 pairs .*{B} to {A}.* every state"):
        read_lodes(path, few, level="block")


def test_lodes_blocks_come_in_the_order_of_the_file(lodes_od, tmp_path):
    blocks = read_source("lodes_blocks", lodes_od)
    pd.testing.assert_frame_equal(blocks, read_lodes(lodes_od, level="block"))
    young = read_source("lodes_blocks", lodes_od, jobs="SA01")
    assert young["weight"].tolist() == [1.0, 0.0, 2.0]
    points = {"A": (-86.5, 32.5), "C": (-87.9, 30.5)}
    path = crosswalk(tmp_path / "al_xwalk.csv.gz", **points)
    (placed,) = stream_lodes_blocks(lodes_od, path)
    assert placed["origin_lon"].tolist() == [-87.9, -86.5]
    assert placed.attrs["dropped"] == {"end not in the crosswalk": 1}
    with pytest.raises(MissingFileError, match="LODES flows"):
        stream_lodes_blocks(tmp_path / "none.csv.gz")


def test_lodes_refuses_codes_that_lost_their_zero(tmp_path):
    short = od(tmp_path / "od.csv.gz", (A, C, 5, 1), (int(A), int(C), 3, 0))
    with pytest.raises(
        TableError, match=r"1 of 2 flows refused: origin is not a block"
    ):
        read_lodes(short)


def test_lodes_refuses_bad_levels_weights_and_paths(lodes_od, tmp_path):
    with pytest.raises(TableError, match="level 'zip'; expected one of block, group"):
        read_lodes(lodes_od, level="zip")
    with pytest.raises(MissingFileError, match="LODES crosswalk"):
        read_lodes(lodes_od, tmp_path / "none.csv.gz")
    bad = od(tmp_path / "bad.csv.gz", (A, C, -5, 1))
    with pytest.raises(TableError, match="weight is negative or missing"):
        read_lodes(bad)
    assert set(lodes.DIGITS.values()) == {15, 12, 11, 5}


def trips(path, pickups, origins, destinations, kind="tpep"):
    table = pd.DataFrame(
        {
            "VendorID": 2,
            f"{kind}_pickup_datetime": pd.to_datetime(pd.Series(pickups)),
            f"{kind}_dropoff_datetime": pd.to_datetime(pd.Series(pickups)),
            "passenger_count": 1.0,
            "PULocationID": origins,
            "DOLocationID": destinations,
            "total_amount": 12.5,
        }
    )
    table.to_parquet(path)
    return path


DAYS = ["2024-01-01 00:57:55", "2024-01-31 23:59:59", "2002-12-31 22:59:39"]


@pytest.fixture
def yellow(tmp_path):
    path = tmp_path / "yellow_tripdata_2024-01.parquet"
    origins, destinations = [186, 186, 4, 264, 7], [79, 79, 186, 79, 265]
    return trips(path, [*DAYS, *DAYS[:2]], origins, destinations)


def test_trips_are_counted_between_zones(yellow):
    table = read_source("nyc_tlc", yellow)
    assert as_dict(table) == {("186", "79"): 2.0, ("4", "186"): 1.0}
    assert table.attrs["dropped"] == {
        "origin unknown or outside the city": 1,
        "destination unknown or outside the city": 1,
    }


def test_trips_of_a_wrong_clock_are_left_out(yellow):
    month = read_tlc(yellow, since="2024-01-01", until="2024-02-01")
    assert as_dict(month) == {("186", "79"): 2.0}
    assert month.attrs["dropped"]["picked up too early"] == 1
    early = read_tlc(yellow, until="2024-01-31T23:59:59")
    assert as_dict(early) == {("186", "79"): 1.0, ("4", "186"): 1.0}
    assert early.attrs["dropped"]["picked up too late"] == 1


def test_trips_of_other_zones_are_left_out(yellow, tmp_path):
    lookup = tmp_path / "taxi_zone_lookup.csv"
    lookup.write_text(
        '"LocationID","Borough","Zone","service_zone"\n'
        '79,"Manhattan","East Village","Yellow Zone"\n'
        '186,"Manhattan","Penn Station/Madison Sq West","Yellow Zone"\n'
        '264,"Unknown","N/A","N/A"\n265,"N/A","Outside of NYC","N/A"\n'
    )
    table = read_tlc(yellow, lookup)
    assert as_dict(table) == {("186", "79"): 2.0}
    assert table.attrs["dropped"]["origin not in the table of zones"] == 2


def test_green_trips_and_gaps_and_types_that_change(yellow, tmp_path):
    green = trips(
        tmp_path / "green_tripdata_2024-01.parquet",
        DAYS[:2],
        [186.0, np.nan],  # a gap makes them floats
        [79.0, 79.0],
        kind="lpep",
    )
    both = read_tlc([yellow, green], since="2024-01-01")
    assert as_dict(both) == {("186", "79"): 3.0}
    assert both.attrs["dropped"]["no origin"] == 1


def test_other_trip_files_are_refused(yellow, tmp_path):
    other = tmp_path / "fhv_tripdata_2024-01.parquet"
    trips(other, DAYS, [1, 2, 3], [1, 2, 3], kind="fhv")
    assert len(read_tlc(other)) == 3
    with pytest.raises(MissingColumnError, match="no column 'tpep_pickup_datetime'"):
        read_tlc(other, since="2024-01-01")
    with pytest.raises(TableError, match="'January' is no clock time"):
        read_tlc(yellow, since="January")
    with pytest.raises(TableError, match=r"is no clock time; .* without a zone"):
        read_tlc(yellow, until="2024-01-01T00:00Z")
    (tmp_path / "trips.csv").write_text("a\n")
    with pytest.raises(TableError, match=r"trips\.csv is not Parquet"):
        read_tlc(tmp_path / "trips.csv")


SPAIN = (
    "fecha|periodo|origen|destino|distancia|actividad_origen|actividad_destino|"
    "estudio_origen_posible|estudio_destino_posible|residencia|renta|edad|sexo|"
    "viajes|viajes_km\n"
)


def spanish(hour, origin, destination, count, purpose="casa"):
    middle = f"{purpose}|frecuente|no|no|01|10-15|NA|NA"
    return f"20240515|{hour:02}|{origin}|{destination}|2-10|{middle}|{count}|20.5\n"


@pytest.fixture
def spain(tmp_path):
    rows = [
        spanish(7, "01001", "01009_AM", 3.25),
        spanish(7, "01001", "01009_AM", 1.5, "trabajo_estudio"),
        spanish(8, "01001", "01009_AM", 10.125),
        spanish(8, "01009_AM", "01001", 2.0),
        spanish(8, "01001", "externo", 4.0),
        spanish(9, "PT170", "01001", 4.0),
        spanish(9, "01001", "FRJ23", 4.0),
    ]
    path = tmp_path / "20240515_Viajes_distritos.csv.gz"
    return zipped(path, SPAIN + "".join(rows))


def test_spanish_trips_are_added_over_hours_and_purposes(spain):
    table = read_source("mitma", spain)
    assert as_dict(table) == {
        ("01001", "01009_AM"): 14.875,
        ("01009_AM", "01001"): 2.0,
    }
    assert table.attrs["dropped"] == {"destination abroad": 2, "origin abroad": 1}


def test_spanish_trips_of_some_hours_or_from_abroad(spain):
    morning = read_mitma(spain, hours=[7])
    assert as_dict(morning) == {("01001", "01009_AM"): 4.75}
    assert morning.attrs["dropped"]["not in the hours asked for"] == 5
    everything = read_mitma(spain, abroad=True)
    assert as_dict(everything)["PT170", "01001"] == 4.0
    assert len(everything) == 5
    assert everything.attrs == {}


def test_spanish_files_with_the_shorter_header(spain, tmp_path):
    short = zipped(
        tmp_path / "20200301_maestra_1_mitma_distrito.txt.gz",
        "fecha|origen|destino|periodo|distancia|viajes|viajes_km\n"
        "20200301|01001|01009_AM|0|005-010|100.0|700.0\n",
    )
    assert as_dict(read_mitma(short)) == {("01001", "01009_AM"): 100.0}
    assert as_dict(read_mitma([spain, short]))["01001", "01009_AM"] == 114.875


def test_spanish_files_that_cannot_be_used_are_refused(spain, tmp_path):
    with pytest.raises(TableError, match=r"1 of 2 hours .*first: 24.*0 to 23"):
        read_mitma(spain, hours=[7, 24])
    empty = zipped(tmp_path / "a.csv.gz", SPAIN + spanish(7, "01001", "01002", ""))
    with pytest.raises(TableError, match="1 of 1 flows refused: weight is negative or"):
        read_mitma(empty)
    other = zipped(tmp_path / "b.csv.gz", "fecha|origen|destino\n1|2|3\n")
    with pytest.raises(MissingColumnError, match="no column 'viajes'"):
        read_mitma(other)
    with pytest.raises(MissingFileError, match="trips in Spain"):
        read_mitma(tmp_path / "none.csv.gz")


def uk(path, level, home, rows):
    work = f"{level} of workplace"
    kind = "Place of work indicator (4 categories)"
    header = f"{home} code,{home} label,{work} code,{work} label,{kind} code,"
    lines = [f'{o},"{o}, home",{d},"{d}, work",{i},label,{n}' for o, d, i, n in rows]
    path.write_text(f"{header}{kind} label,Count\n" + "\n".join(lines) + "\n")
    return path


UK_ROWS = [
    ("E02000001", "E02000577", 3, 12),
    ("E02000001", "W02000424", 3, 5),
    ("W02000424", "W02000424", 3, 7),
    ("E02000001", "E02000001", 1, 900),  # at home
    ("E02000001", "-8", 3, 40),
    ("E02000001", "-8", -8, 4000),
    ("E02000001", "999999999", 3, 2),
    ("E02000001", "999999998", 2, 3),
]


@pytest.fixture
def msoa(tmp_path):
    home = "Middle layer Super Output Areas"
    return uk(tmp_path / "ODWP01EW_MSOA.csv", "MSOA", home, UK_ROWS)


def test_only_those_who_travel_to_work_count(msoa):
    table = read_source("uk_od", msoa)
    assert as_dict(table) == {
        ("E02000001", "E02000577"): 12.0,
        ("E02000001", "W02000424"): 5.0,
        ("W02000424", "W02000424"): 7.0,
    }
    assert table.attrs["dropped"] == {
        "place-of-work indicator is not 3": 3,
        "destination has no code": 2,
    }


def test_uk_levels_name_their_columns_differently(msoa, tmp_path):
    rows = [("E06000001", "E06000002", 3, 8)]
    home = "Lower tier local authorities"
    path = uk(tmp_path / "ODWP01EW_LTLA.csv", "LTLA", home, rows)
    assert as_dict(read_uk_od(path, level="LTLA")) == {("E06000001", "E06000002"): 8.0}
    with pytest.raises(MissingColumnError, match="'Middle layer Super Output Areas"):
        read_uk_od(path)
    with pytest.raises(
        TableError, match="level 'LSOA'; expected one of OA, MSOA, LTLA"
    ):
        read_uk_od(msoa, level="LSOA")


def test_uk_files_without_anyone_who_travels_are_refused(tmp_path):
    home = "Output Areas"
    path = uk(tmp_path / "oa.csv", "OA", home, [("E00000001", "E00000002", 1, 8)])
    with pytest.raises(TableError, match=r"no flow is left \(1: place-of-work"):
        read_uk_od(path, level="OA")
