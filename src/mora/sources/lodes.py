"""Commuting in the United States: LODES8, from the block of home to that of work."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from mora.errors import TableError
from mora.sources.files import Files, find_files
from mora.sources.flows import ENDS, sum_flows, to_flows
from mora.sources.registry import DROPPED, source
from mora.tables.inspection import Inspection
from mora.tables.reading import read_batches, read_frame
from mora.tables.rules import check_coordinates
from mora.tables.schema import POINT_ENDS

DIGITS = {"block": 15, "group": 12, "tract": 11, "county": 5}  # of a 2020 code


HOME = "https://lehd.ces.census.gov/data/"
LICENCE = "public domain (US Census Bureau)"
SIZE = "1 to 150 MB a state and year, gzipped"


@source(
    "lodes",
    gives="flows",
    licence=LICENCE,
    size=SIZE,
    home=HOME,
    use='read_source("lodes", "de_od_main_JT00_2021.csv.gz", "de_xwalk.csv.gz")',
)
def read_lodes(
    files: Files,
    crosswalk: Files | None = None,
    *,
    level: str = "tract",
    jobs: str = "S000",
) -> pd.DataFrame:
    """Read jobs by home and workplace, added up to areas.

    Source: US Census Bureau, LEHD Origin-Destination Employment Statistics, version 8.

    Args:
        files: ``{st}_od_{main|aux}_JT00_{yyyy}.csv.gz``; ``aux`` holds those who live
            in another state.
        crosswalk: ``{st}_xwalk.csv.gz`` of every state that occurs, for coordinates.
        level: areas to add up to: block, group, tract or county. Of a large state read
            blocks with :func:`stream_lodes_blocks`, since memory grows with the pairs.
        jobs: column to count: S000 for all, SA01-SA03 by age, SE01-SE03 by pay,
            SI01-SI03 by industry.

    Returns:
        origin (home), destination (work) and weight (jobs), codes as text; with a
        crosswalk origin_lon, origin_lat, destination_lon, destination_lat and weight,
        where an area is at the mean of its blocks. ``attrs["dropped"]`` counts pairs
        of areas that are not in the crosswalk.

    Raises:
        MissingFileError: if a file is not there.
        MissingColumnError: if a file has no column ``jobs``.
        TableError: if the level is unknown, a code does not have 15 digits, or half
            of the pairs or more are not in the crosswalk.
    """
    if level not in DIGITS:
        raise TableError(f"level {level!r}; expected one of {', '.join(DIGITS)}.")
    paths = find_files(files, "LODES flows")
    points = None if crosswalk is None else read_points(crosswalk, DIGITS[level])
    flows = sum_flows(_parts(paths, DIGITS[level], jobs), "LODES")
    return flows if points is None else _to_points(flows, points)


@source(
    "lodes_blocks",
    gives="flows",
    licence=LICENCE,
    size=SIZE,
    home=HOME,
    use='write_source("lodes_blocks", "flows.parquet", "ca_od_main_JT00_2021.csv.gz")',
)
def stream_lodes_blocks(
    files: Files, crosswalk: Files | None = None, *, jobs: str = "S000"
) -> Iterator[pd.DataFrame]:
    """Read jobs by block of home and of work, a million rows at a time.

    Args:
        files: as in :func:`read_lodes`.
        crosswalk: as in :func:`read_lodes`.
        jobs: as in :func:`read_lodes`.

    Returns:
        Frames with the columns of :func:`read_lodes`, in the order of the files.

    Raises:
        MissingFileError: if a file is not there.
        MissingColumnError: if a file has no column ``jobs``.
        TableError: if a code does not have 15 digits, or half of a frame's pairs or
            more are not in the crosswalk.
    """
    paths = find_files(files, "LODES flows")
    parts = _parts(paths, DIGITS["block"], jobs)
    if crosswalk is None:
        return parts
    points = read_points(crosswalk, DIGITS["block"])
    return (_to_points(part, points) for part in parts)


def _parts(paths: list[Path], digits: int, jobs: str) -> Iterator[pd.DataFrame]:
    columns = {"origin": "h_geocode", "destination": "w_geocode", "weight": jobs}
    for path in paths:
        for frame in read_batches(path, columns, "flows"):
            inspection = Inspection(frame, "flows", str(path))
            for end in ENDS:
                shorten(inspection, end, digits)
            yield to_flows(inspection, frame)


def shorten(inspection: Inspection, column: str, digits: int) -> None:
    """Cut block codes to those of larger areas; refuse those that lost a zero."""
    codes = inspection.frame[column]
    inspection.refuse(
        ~codes.str.fullmatch(r"\d{15}").fillna(False).to_numpy(bool),
        f"{column} is not a block code of 15 digits",
        "Expected the publisher's file, or one written with the codes as text: a "
        "number loses the leading zero.",
        column,
    )
    inspection.put(column, codes.str[:digits])


def read_points(crosswalk: Files, digits: int) -> pd.DataFrame:
    """Give each area the mean coordinates of its blocks, indexed by its code."""
    columns = {"id": "tabblk2020", "lon": "blklondd", "lat": "blklatdd"}
    states = []
    for path in find_files(crosswalk, "LODES crosswalk"):
        inspection = Inspection(read_frame(path, columns, "rows"), "rows", str(path))
        shorten(inspection, "id", digits)
        check_coordinates(inspection, None, 0.5)
        inspection.refuse_mostly_bad(0.5)
        states.append(inspection.frame)
    return pd.concat(states).groupby("id")[["lon", "lat"]].mean()


def _to_points(flows: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """Put coordinates in the place of codes; count the pairs that have none."""
    places = {end: points.index.get_indexer(flows[end]) for end in ENDS}
    known = (places["origin"] >= 0) & (places["destination"] >= 0)
    lost = int((~known).sum())
    if lost and 2 * lost >= len(flows):
        first = flows[~known].iloc[0]
        raise TableError(
            f"LODES: {lost:,} of {len(flows):,} pairs have an end that is not in the "
            f"crosswalk (first: {first['origin']} to {first['destination']}); expected "
            f"the crosswalk of every state in the files."
        )
    taken = {
        f"{end}_{axis}": points[axis].to_numpy()[places[end][known]]
        for end in ENDS
        for axis in ("lon", "lat")
    }
    placed = pd.DataFrame(taken | {"weight": flows["weight"].to_numpy()[known]})
    placed = placed[[*POINT_ENDS.split(), "weight"]]
    placed.attrs = {DROPPED: {"end not in the crosswalk": lost}} if lost else {}
    return placed
