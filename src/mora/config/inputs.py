"""Where tables come from and what their columns are called."""

from collections.abc import Callable
from typing import Any

from pydantic import Field, model_serializer, model_validator

from mora.config.section import Section

# Settings that name a file or several, wherever they stand; and mappings whose keys are
# the user's own words, which name none.
FILE_KEYS = ("path", "graph", "cells", "files", "crosswalk")
OWN_WORDS = (
    "columns", "values", "transform", "given_away", "domains", "descriptions",
)  # fmt: skip


class TableInput(Section):
    """A table in a file, in an installed package or from a source.

    None of them waits for a frame handed to :func:`mora.run`.

    Attributes:
        path: CSV, CSV.gz or Parquet; ``package://NAME/FILE`` reads a file that an
            installed Python package carries.
        source: name of an open data source instead of a path; ``mora sources`` lists
            them.
        files: of the source, as its publisher writes them.
        options: of the source's reader, such as ``crosswalk``; where it takes
            ``bounds``, they are those of the tokens unless set here.
        columns: our column name -> theirs; ours where both are the same.
    """

    path: str | None = None
    source: str | None = None
    files: tuple[str, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)
    columns: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _one_file(cls, given: Any) -> Any:
        """Take one file for a list of one."""
        if isinstance(given, dict) and isinstance(given.get("files"), str):
            return given | {"files": [given["files"]]}
        return given

    @model_validator(mode="after")
    def _one_origin(self) -> "TableInput":
        if self.path is not None and self.source is not None:
            raise ValueError("expected one of `path` and `source`, got both")
        if self.source is None and (self.files or self.options):
            raise ValueError("`files` and `options` belong to a `source`; got none")
        return self

    @model_serializer(mode="wrap")
    def _without_empty(self, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Leave out what only sources have, so that other tables stay short."""
        written = write(self)
        return {k: v for k, v in written.items() if v or k not in ("files", "options")}


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
