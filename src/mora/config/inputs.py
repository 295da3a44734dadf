"""Where tables come from and what their columns are called."""

from pydantic import Field, model_validator

from mora.config.section import Section


class TableInput(Section):
    """A table in a file, in an installed package, from a source, or from memory.

    Attributes:
        path: CSV, CSV.gz or Parquet; ``package://NAME/FILE`` reads a file that an
            installed Python package carries.
        source: name of an open data source instead of a path.
        columns: our column name -> theirs; ours where both are the same.
        memory: whether the frame is handed over from Python; set by :func:`mora.run`.
    """

    path: str | None = None
    source: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    memory: bool = False

    @model_validator(mode="after")
    def _one_origin(self) -> "TableInput":
        given = [self.path is not None, self.source is not None, self.memory]
        if sum(given) > 1:
            raise ValueError("expected one of `path` and `source`, got both")
        return self

    @property
    def given(self) -> bool:
        """Say whether there is anything to read."""
        return self.memory or self.path is not None or self.source is not None


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
