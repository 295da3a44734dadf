"""Commuting in England and Wales: the Census of 2021, home to workplace."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from mora.errors import TableError
from mora.sources.files import Files, find_files
from mora.sources.flows import ENDS, sum_flows, to_flows
from mora.sources.registry import source
from mora.tables.inspection import Inspection
from mora.tables.reading import read_batches
from mora.tables.rules import drop_blank
from mora.tables.schema import TEXT_COLUMNS

HOMES = {
    "OA": "Output Areas code",
    "MSOA": "Middle layer Super Output Areas code",
    "LTLA": "Lower tier local authorities code",
}
INDICATOR = "Place of work indicator (4 categories) code"
WORKS_AWAY = "3"  # in the UK, and neither at nor from home
NO_CODE = r"-8|9999"  # how codes begin that stand for no place


@source(
    "uk_od",
    gives="flows",
    licence="Open Government Licence v3.0",
    size="1 MB (local authorities) to 1 GB (output areas)",
    home="https://www.nomisweb.co.uk/sources/census_2021_od",
    use='read_source("uk_od", "ODWP01EW_MSOA.csv")',
)
def read_uk_od(files: Files, *, level: str = "MSOA") -> pd.DataFrame:
    """Read people by home and workplace, those who work at or from home left out.

    Source: Office for National Statistics, Census 2021, table ODWP01EW. The census was
    taken in a lockdown: many more than usual worked at home.

    Args:
        files: ``ODWP01EW_{level}.csv``.
        level: areas of the file: OA, MSOA or LTLA.

    Returns:
        origin (home), destination (workplace) and weight (people). Only rows with the
        place-of-work indicator 3 count; the others, and places without a code (-8,
        9999...), are left out and counted in ``attrs["dropped"]``.

    Raises:
        MissingFileError: if a file is not there.
        MissingColumnError: if a file is not of this level.
        TableError: if the level is unknown, a count is negative or missing, or no flow
            is left.
    """
    if level not in HOMES:
        raise TableError(f"level {level!r}; expected one of {', '.join(HOMES)}.")
    return sum_flows(_parts(find_files(files, "UK commuting"), level), "UK Census")


def _parts(paths: list[Path], level: str) -> Iterator[pd.DataFrame]:
    columns = {
        "origin": HOMES[level],
        "destination": f"{level} of workplace code",
        "indicator": INDICATOR,
        "weight": "Count",
    }
    text = TEXT_COLUMNS | {"indicator"}
    for path in paths:
        for frame in read_batches(path, columns, "commuting", text_columns=text):
            inspection = Inspection(frame, "flows", str(path))
            away = (inspection.frame["indicator"] == WORKS_AWAY).to_numpy(bool)
            inspection.drop(~away, "place-of-work indicator is not 3", "indicator")
            for end in ENDS:
                drop_blank(inspection, end)
                nowhere = inspection.frame[end].str.match(NO_CODE).to_numpy(bool)
                inspection.drop(nowhere, f"{end} has no code", end)
            yield to_flows(inspection, frame)
