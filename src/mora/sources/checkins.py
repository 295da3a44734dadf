"""Check-ins: Foursquare in New York and Tokyo (TSMC2014), Gowalla and Brightkite."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from mora.errors import TableError
from mora.sources.files import find_files, stream_lines, to_visits, with_dropped
from mora.sources.registry import source
from mora.tables.inspection import Inspection
from mora.tables.rules import check_coordinates

SNAP = ("user", "time", "lat", "lon", "place")
TSMC = ("user", "id", "category_id", "category", "lat", "lon", "offset", "time")
TSMC_TIME = "%a %b %d %H:%M:%S %z %Y"  # Tue Apr 03 18:00:09 +0000 2012
TSMC_HOME = "https://sites.google.com/site/yangdingqi/home/foursquare-dataset"
TSMC_LICENCE = "for research, cite Yang et al. 2015"


@source(
    "gowalla",
    gives="visits",
    licence="none stated; cite Cho, Myers and Leskovec 2011",
    size="105 MB gzipped, 6.4 million check-ins",
    home="https://snap.stanford.edu/data/loc-Gowalla.html",
    use='write_source("gowalla", "visits.parquet", "loc-gowalla_totalCheckins.txt.gz")',
)
def stream_gowalla(file: Path | str) -> Iterator[pd.DataFrame]:
    """Read the check-ins of Gowalla.

    Source: Cho, Myers and Leskovec 2011; SNAP, loc-Gowalla.

    Args:
        file: ``loc-gowalla_totalCheckins.txt.gz``: user, time in UTC, latitude,
            longitude and place between tabs, no header.

    Returns:
        Frames of user, time, lon, lat. Empty times and points at (0, 0) are left to
        the check of visits; lines of another width are counted in ``attrs["dropped"]``
        of the last frame.

    Raises:
        MissingFileError: if there is no such file.
        TableError: if it does not hold such lines.
    """
    return _stream_snap(file, "check-ins of Gowalla")


@source(
    "brightkite",
    gives="visits",
    licence="none stated; cite Cho, Myers and Leskovec 2011",
    size="90 MB gzipped, 4.5 million check-ins",
    home="https://snap.stanford.edu/data/loc-Brightkite.html",
    use='write_source("brightkite", "visits.parquet", '
    '"loc-brightkite_totalCheckins.txt.gz")',
)
def stream_brightkite(file: Path | str) -> Iterator[pd.DataFrame]:
    """Read the check-ins of Brightkite, whose place ids are hashes.

    Source: Cho, Myers and Leskovec 2011; SNAP, loc-Brightkite.

    Args:
        file: ``loc-brightkite_totalCheckins.txt.gz``, with the columns of Gowalla.

    Returns:
        Frames as :func:`stream_gowalla` gives them. Thousands of records are at
        (0, 0), some have nothing but a user: the check of visits counts them.

    Raises:
        MissingFileError: if there is no such file.
        TableError: if it does not hold such lines.
    """
    return _stream_snap(file, "check-ins of Brightkite")


@source(
    "tsmc2014",
    gives="visits",
    licence=TSMC_LICENCE,
    size="25 MB (New York), 60 MB (Tokyo)",
    home=TSMC_HOME,
    use='read_source("tsmc2014", "dataset_TSMC2014_NYC.txt")',
)
def stream_tsmc2014(file: Path | str) -> Iterator[pd.DataFrame]:
    """Read the Foursquare check-ins of New York or Tokyo.

    Source: Yang et al. 2015, TSMC2014.

    Args:
        file: ``dataset_TSMC2014_{NYC|TKY}.txt``: user, venue, category id, category,
            latitude, longitude, offset in minutes and UTC time between tabs, in
            Latin-1, no header.

    Returns:
        Frames of user, time, lon, lat. Times are in UTC as the file has them: the
        offset is not added. Those that cannot be read are counted.

    Raises:
        MissingFileError: if there is no such file.
        TableError: if it does not hold such lines.
    """
    (path,) = find_files(file, "check-ins of TSMC2014")
    wanted = ("user", "time", "lat", "lon")
    lines = stream_lines(path, TSMC, wanted, encoding="latin-1")
    return (_with_time(frame, str(path)) for frame in lines)


@source(
    "tsmc2014_places",
    gives="places",
    licence=TSMC_LICENCE,
    size="25 MB (New York), 60 MB (Tokyo)",
    home=TSMC_HOME,
    use='read_source("tsmc2014_places", "dataset_TSMC2014_NYC.txt")',
)
def read_tsmc2014_places(file: Path | str) -> pd.DataFrame:
    """Read the venues that the check-ins of TSMC2014 were made at.

    Args:
        file: as in :func:`stream_tsmc2014`.

    Returns:
        id, category, lon, lat: a row a venue, where it was at its first check-in.

    Raises:
        MissingFileError: if there is no such file.
        TableError: if it does not hold such lines.
    """
    (path,) = find_files(file, "venues of TSMC2014")
    wanted = ["id", "category", "lon", "lat"]
    lines = stream_lines(path, TSMC, wanted, encoding="latin-1")
    frames = [frame.drop_duplicates("id") for frame in lines]
    if not frames:
        raise TableError(f"{path} has no lines; expected a check-in in each.")
    venues = pd.concat(frames)
    inspection = Inspection(venues.drop_duplicates("id"), "places", str(path))
    check_coordinates(inspection, None, 0.5)
    inspection.refuse_mostly_bad(0.5)
    return with_dropped(inspection, wanted, venues)


def _stream_snap(file: Path | str, purpose: str) -> Iterator[pd.DataFrame]:
    (path,) = find_files(file, purpose)
    lines = stream_lines(path, SNAP, ("user", "time", "lat", "lon"))
    return (to_visits(frame, str(path)) for frame in lines)


def _with_time(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Read times that are not ISO 8601."""
    times = pd.to_datetime(frame["time"], format=TSMC_TIME, utc=True, errors="coerce")
    inspection = Inspection(frame, "visits", source)
    inspection.put("time", times.astype("datetime64[us, UTC]"))
    inspection.drop(times.isna().to_numpy(), "time cannot be read")
    read = with_dropped(inspection, ["user", "time", "lat", "lon"], frame)
    return to_visits(read, source)
