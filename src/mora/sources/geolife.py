"""GPS tracks of people in Beijing: GeoLife, a PLT file a track."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from mora.errors import TableError
from mora.sources.files import stream_lines, to_visits
from mora.sources.registry import DROPPED, add_dropped, source

FIELDS = ("lat", "lon", "zero", "altitude_feet", "days", "date", "clock")
WANTED = ("lat", "lon", "date", "clock")
HEADER_LINES = 6


@source(
    "geolife",
    gives="visits",
    licence="Microsoft Research licence agreement; read it before use",
    size="about 1.6 GB unpacked, 17,621 tracks of 182 people",
    home="https://www.microsoft.com/en-us/research/publication/"
    "geolife-gps-trajectory-dataset-user-guide/",
    use='write_source("geolife", "visits.parquet", "Geolife Trajectories 1.3/Data")',
)
def stream_geolife(
    folder: Path | str, *, rows: int = 1_000_000
) -> Iterator[pd.DataFrame]:
    """Read the points of all tracks below a folder.

    Source: Zheng et al. 2009, GeoLife GPS Trajectories 1.3. The altitude (feet) and
    the days since 1899-12-30 are passed over: date and clock say the same time.

    Args:
        folder: that holds ``{user}/Trajectory/*.plt`` at any depth.
        rows: a frame has this many or somewhat more, > 0; the last may have fewer.

    Returns:
        Frames of user (name of the folder), time (UTC), lon, lat, in the order of
        users and tracks. Latitudes out of range, which occur, are left to the check of
        visits.

    Raises:
        TableError: if there is no track below the folder, ``rows`` is not positive, or
            a file does not hold such lines.
    """
    if rows < 1:
        raise TableError(f"a frame needs at least one row; got rows={rows}.")
    tracks = sorted(Path(folder).resolve().glob("**/Trajectory/*.plt"))
    if not tracks:
        raise TableError(
            f"{folder}: no tracks; expected {{user}}/Trajectory/*.plt below it, as in "
            f"the unpacked GeoLife."
        )
    return _group((f for path in tracks for f in _read_track(path)), rows)


def _read_track(path: Path) -> Iterator[pd.DataFrame]:
    user = path.parent.parent.name
    lines = stream_lines(path, FIELDS, WANTED, delimiter=",", skip_lines=HEADER_LINES)
    for frame in lines:
        time = frame["date"] + "T" + frame["clock"] + "Z"
        frame = frame.assign(user=pd.Series(user, frame.index, dtype="str"), time=time)
        yield to_visits(frame, str(path))


def _group(tracks: Iterator[pd.DataFrame], rows: int) -> Iterator[pd.DataFrame]:
    """Join short tracks into frames, which cost much less apiece to check."""
    waiting: list[pd.DataFrame] = []
    held = 0
    for track in tracks:
        waiting.append(track)
        held += len(track)
        if held >= rows:
            yield _join(waiting)
            waiting, held = [], 0
    if held:
        yield _join(waiting)


def _join(tracks: list[pd.DataFrame]) -> pd.DataFrame:
    dropped: dict[str, int] = {}
    for track in tracks:
        add_dropped(dropped, track)
    joined = pd.concat(tracks, ignore_index=True)
    joined.attrs = {DROPPED: dropped} if dropped else {}
    return joined
