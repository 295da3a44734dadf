"""Labels that a map of shapes carries in its columns."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from mora.sources.registry import source
from mora.tables.labels import read_labels


@source(
    "geo_labels",
    gives="labels",
    licence="that of the file",
    size="that of the file",
    home="https://geopandas.org/en/stable/docs/user_guide/io.html",
    use='write_source("geo_labels", "rents.parquet", "rents.shp", '
    'columns={"rent": "rent_eur"})',
)
def read_geo_labels(path: Path | str, *, columns: Mapping[str, str]) -> pd.DataFrame:
    """Read labels from a shapefile, GeoPackage, GeoJSON or GeoParquet.

    Args:
        path: of the file; its projection may be any.
        columns: our name of each label -> theirs; with ``id``, rows are of zones or
            cells, and else each lies where its shape does.

    Returns:
        ``id``, or ``lon`` and ``lat``; and the labels. See
        :func:`mora.tables.labels.read_labels` for what is refused.
    """
    return read_labels(path, columns)
