"""Where tables come from and what their columns are called."""

from pydantic import Field, model_validator

from mora.config.section import Section

# Settings that name a file, wherever they stand; and mappings whose keys are the
# user's own words, which name none.
FILE_KEYS = ("path", "graph", "cells")
OWN_WORDS = (
    "columns", "values", "transform", "given_away", "domains", "descriptions",
)  # fmt: skip


class TableInput(Section):
    """A table in a file, in an installed package or from a source.

    None of them waits for a frame handed to :func:`mora.run`.

    Attributes:
        path: CSV, CSV.gz or Parquet; ``package://NAME/FILE`` reads a file that an
            installed Python package carries.
        source: name of an open data source instead of a path.
        columns: our column name -> theirs; ours where both are the same.
    """

    path: str | None = None
    source: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_origin(self) -> "TableInput":
        if self.path is not None and self.source is not None:
            raise ValueError("expected one of `path` and `source`, got both")
        return self


class AreaInput(Section):
    """Polygons in a file.

    Attributes:
        path: GeoJSON, GeoJSON.gz, GeoParquet, or CSV/Parquet with a WKT/WKB column.
        id: property or column that names each polygon; ``id`` by default.
        geometry: column of the outlines, for CSV and Parquet.
    """

    path: str
    id: str | None = None
    geometry: str = "geometry"
