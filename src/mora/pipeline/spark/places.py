"""Distinct places, each looked up once by the code of the embedded engine."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mora.errors import MoraError, TableError
from mora.pipeline.places import PlaceCoder

PLACES_A_BATCH = 50_000
Found = tuple[Any, ...]


def code_places(visits: DataFrame, coder: PlaceCoder) -> DataFrame:
    """Look up the place of every distinct token or point.

    Args:
        visits: with ``token``, or ``lon`` and ``lat``.
        coder: knows the places; goes to the workers.

    Returns:
        ``token`` or ``lon`` and ``lat``; ``code``, null where no place is known; and
        ``visits``, how many rows are there; ``fault``, why a token cannot be read.
    """
    key = ["token"] if "token" in visits.columns else ["lon", "lat"]
    distinct = visits.groupBy(*key).agg(F.count("*").alias("visits"))
    types = [f"{name} {kind}" for name, kind in distinct.select(*key).dtypes]
    schema = ", ".join([*types, "visits long", "code long", "fault string"])
    found = distinct.rdd.mapPartitions(partial(find_places, coder=coder, key=key))
    return visits.sparkSession.createDataFrame(found, schema, verifySchema=False)


def find_places(
    rows: Iterable[Found], coder: PlaceCoder, key: list[str]
) -> Iterator[Found]:
    """Add code and fault to rows of key and count; runs on the workers."""
    rows = iter(rows)
    while batch := list(islice(rows, PLACES_A_BATCH)):
        frame = pd.DataFrame.from_records(batch, columns=[*key, "visits"])
        try:
            codes, known = coder.encode(frame[key])
        except MoraError as error:
            yield from ((*row, None, str(error)) for row in batch)
            continue
        for row, code, here in zip(batch, codes.tolist(), known.tolist(), strict=True):
            yield (*row, code if here else None, None)


def count_unknown(places: DataFrame, source: str) -> int:
    """Count the visits to no known place.

    Args:
        places: as :func:`code_places` gives them.
        source: where they are from, for the message.

    Raises:
        TableError: if the coder could not read a token, with what it said.
    """
    unknown = F.sum(F.when(F.col("code").isNull(), F.col("visits")))
    fault, count = places.agg(F.min("fault"), unknown).first()
    if fault is not None:
        raise TableError(f"{source}: {fault}")
    return count or 0
