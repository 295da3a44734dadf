"""Daily trips in Spain between districts, municipalities or urban areas."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mora.errors import TableError, examples
from mora.sources.files import Files, find_files
from mora.sources.flows import ENDS, sum_flows, to_flows
from mora.sources.registry import source
from mora.tables.delimited import stream_csv
from mora.tables.inspection import Inspection
from mora.tables.rules import drop_blank
from mora.tables.values import to_numbers

THEIRS = {"origin": "origen", "destination": "destino", "weight": "viajes"}
ABROAD = r"externo|PT|FR"  # how the codes of zones outside Spain begin
HOURS_A_DAY = 24


@source(
    "mitma",
    gives="flows",
    licence="open data licence of the Spanish Ministry of Transport (attribution)",
    size="100 to 250 MB a day of districts, gzipped",
    home="https://www.transportes.gob.es/ministerio/proyectos-singulares/"
    "estudios-de-movilidad-con-big-data/opendata-movilidad",
    use='read_source("mitma", "20240515_Viajes_municipios.csv.gz")',
)
def read_mitma(
    files: Files, *, hours: Sequence[int] | None = None, abroad: bool = False
) -> pd.DataFrame:
    """Read daily trips between zones and add them up over hours, purposes and files.

    Source: Ministerio de Transportes y Movilidad Sostenible, open mobility data,
    version 2 (from 2022) and, with its shorter header, version 1.

    Args:
        files: ``{YYYYMMDD}_Viajes_{distritos|municipios|GAU}.csv.gz``, separated by
            bars; a file a day.
        hours: of the day to count (``periodo``), 0 to 23; all if None.
        abroad: keep zones outside Spain (``externo``, ``PT...``, ``FR...``).

    Returns:
        origin, destination (codes as text) and weight (trips, not whole numbers).
        ``attrs["dropped"]`` counts rows left out. The polygons of the zones are
        published in EPSG:25830: transform them to EPSG:4326.

    Raises:
        MissingFileError: if a file is not there.
        MissingColumnError: if a file lacks a column.
        TableError: if an hour is not in the day, a number of trips is negative or
            missing, or no trip is left.
    """
    wrong = [hour for hour in hours or () if hour not in range(HOURS_A_DAY)]
    if wrong:
        raise TableError(
            f"{len(wrong)} of {len(hours or ())} hours are not in the day "
            f"(first: {examples(wrong)}); expected 0 to 23."
        )
    paths = find_files(files, "trips in Spain")
    return sum_flows(_parts(paths, hours, abroad), "MITMA")


def _parts(
    paths: list[Path], hours: Sequence[int] | None, abroad: bool
) -> Iterator[pd.DataFrame]:
    columns = THEIRS if hours is None else THEIRS | {"hour": "periodo"}
    ours = {theirs: name for name, theirs in columns.items()}
    for path in paths:
        start = 0
        for batch in stream_csv(path, list(ours)):
            index = pd.RangeIndex(start, start + len(batch))
            start += len(batch)
            frame = batch.to_pandas().rename(columns=ours).set_axis(index)
            inspection = Inspection(frame, "flows", str(path))
            _drop_unwanted(inspection, hours, abroad)
            yield to_flows(inspection, frame)


def _drop_unwanted(
    inspection: Inspection, hours: Sequence[int] | None, abroad: bool
) -> None:
    if hours is not None:
        hour = to_numbers(inspection.frame["hour"])[0]
        inspection.drop(~np.isin(hour, hours), "not in the hours asked for")
    for end in ENDS:
        drop_blank(inspection, end)
        if not abroad:
            outside = inspection.frame[end].str.match(ABROAD).to_numpy(bool)
            inspection.drop(outside, f"{end} abroad", end)
