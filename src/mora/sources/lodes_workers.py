"""Workers of the United States by age and sex: LODES8 by home and by workplace."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from mora.errors import TableError
from mora.sources.files import Files, find_files
from mora.sources.lodes import read_points, shorten
from mora.sources.registry import DROPPED, source
from mora.tables.inspection import Inspection
from mora.tables.reading import read_batches

CODES = {"home": "h_geocode", "work": "w_geocode"}
WORKERS = ("CA01", "CA02", "CA03", "CS01", "CS02")
BLOCK_DIGITS = 15


@source(
    "lodes_workers",
    gives="numbers",
    licence="public domain (US Census Bureau)",
    size="1 to 20 MB a state and year, gzipped",
    home="https://lehd.ces.census.gov/data/",
    use='read_source("lodes_workers", "de_wac_S000_JT00_2021.csv.gz", '
    '"de_xwalk.csv.gz", side="work")',
)
def read_lodes_workers(
    files: Files, crosswalk: Files, *, side: str = "work"
) -> Iterator[pd.DataFrame]:
    """Read the workers of each block by age group and by sex, a batch at a time.

    Source: US Census Bureau, LEHD Origin-Destination Employment Statistics, version 8:
    residence and workplace area characteristics.

    Args:
        files: ``{st}_rac_S000_JT00_{yyyy}.csv.gz`` for homes,
            ``{st}_wac_S000_JT00_{yyyy}.csv.gz`` for workplaces.
        crosswalk: ``{st}_xwalk.csv.gz`` of every state in the files.
        side: ``home`` or ``work``, which begins the columns.

    Returns:
        Frames with lon, lat and, after ``{side}_``, CA01 (29 or younger), CA02 (30 to
        54), CA03 (55 or older), CS01 (men) and CS02 (women).

    Raises:
        MissingFileError: if a file is not there.
        MissingColumnError: if a file lacks a column, or is of the other side.
        TableError: if the side is neither, a code does not have 15 digits, or half of
            the blocks or more are not in the crosswalk.
    """
    if side not in CODES:
        raise TableError(f"side {side!r}; expected one of {', '.join(CODES)}.")
    points = read_points(crosswalk, BLOCK_DIGITS)
    paths = find_files(files, "LODES workers")
    return (frame for path in paths for frame in _read_file(path, points, side))


def _read_file(path: Path, points: pd.DataFrame, side: str) -> Iterator[pd.DataFrame]:
    columns = {"id": CODES[side]} | {f"{side}_{name}": name for name in WORKERS}
    for read in read_batches(path, columns, "workers"):
        inspection = Inspection(read, "workers", str(path))
        shorten(inspection, "id", BLOCK_DIGITS)
        place = points.index.get_indexer(inspection.frame["id"])
        lost = int((place < 0).sum())
        if 2 * lost >= len(read):
            first = read["id"][place < 0].iloc[0]
            raise TableError(
                f"{path}: {lost:,} of {len(read):,} blocks are not in the crosswalk "
                f"(first: {first}); expected the crosswalk of every state in the files."
            )
        frame = points.iloc[place[place >= 0]].reset_index(drop=True)
        numbers = read.loc[place >= 0, list(columns)[1:]].reset_index(drop=True)
        placed = pd.concat([frame, numbers], axis=1)
        placed.attrs = {DROPPED: {"block not in the crosswalk": lost}} if lost else {}
        yield placed
