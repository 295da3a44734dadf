"""The product: places and their vectors, to read, write, look up and pool."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from jaxtyping import Float, Float32

from mora.errors import MissingFileError, MoraError, NoGeometryError
from mora.geometry import cover_with_cells, polygon_areas_km2
from mora.likeness import Likeness, likeness_of
from mora.nearest import most_similar, unit_rows
from mora.personal import require_not_personal
from mora.tokens import GridTokens, H3Tokens, Tokens, tokens_from_table


@dataclass(frozen=True, eq=False, repr=False)
class Embeddings:
    """One vector per place.

    Attributes:
        tokens: the places.
        vectors: their embeddings, in the order of ``tokens``.
        population: people of each place, NaN where unknown; None if never known.
        provenance: what the vectors were made from; plain values.
    """

    tokens: Tokens
    vectors: Float32[np.ndarray, "tokens dim"]
    population: Float[np.ndarray, " tokens"] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.vectors):
            raise MoraError(
                f"{len(self.vectors)} vectors for {len(self.tokens)} tokens; expected "
                f"one each, in the same order."
            )

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"Embeddings({len(self):,} {self.tokens.kind} places x {self.dim})"

    @property
    def dim(self) -> int:
        """Give the width of the vectors."""
        return self.vectors.shape[1]

    @cached_property
    def likeness(self) -> Likeness:
        """Tell how the vectors are compared: each kind of section counts the same."""
        return likeness_of(self.vectors, self.provenance.get("sections", {}))

    def comparable(self) -> Float32[np.ndarray, "tokens dim"]:
        """Give the vectors in the form that cosines are taken of."""
        return self.likeness.of(self.vectors)

    def to_pandas(self) -> pd.DataFrame:
        """Give a frame with one row a place, named by its id, and columns e000, ..."""
        columns = [f"e{i:03d}" for i in range(self.dim)]
        index = pd.Index(self.tokens.names(), name=self.tokens.kind)
        return pd.DataFrame(self.vectors, index, columns)

    def at(self, ids: Sequence[Any] | np.ndarray) -> Float32[np.ndarray, "n dim"]:
        """Look vectors up by place.

        Raises:
            UnknownTokenError: if any place is unknown.
        """
        return self.vectors[self.tokens.encode(ids)]

    def at_lonlat(
        self, lonlat: Float[np.ndarray, "n 2"]
    ) -> Float32[np.ndarray, "n dim"]:
        """Look up the vector of the place around each point; NaN outside all."""
        token = self.tokens.locate(lonlat)
        return np.where(token[:, None] >= 0, self.vectors[token], np.float32(np.nan))

    def over(
        self, polygon: shapely.Geometry, weight: Literal["area", "population"] = "area"
    ) -> Float32[np.ndarray, " dim"]:
        """Average the vectors of the places in a polygon.

        Args:
            polygon: in lon/lat.
            weight: by the area that lies inside, or by the people who live there (a
                place's people are taken as evenly spread).

        Returns:
            The weighted mean over the places that have a vector.

        Raises:
            NoGeometryError: if the places have no geometry.
            MoraError: if the polygon meets no place, or population is not known.
        """
        token, inside_km2 = self._overlap(polygon)
        if weight == "population":
            if self.population is None:
                raise MoraError(
                    "population is not known for these embeddings; expected a "
                    "population column. Use weight='area'."
                )
            people = np.nan_to_num(self.population[token])
            inside_km2 = inside_km2 * people / self.tokens.areas_km2()[token]
        if not inside_km2.sum() > 0:
            raise MoraError(
                f"the polygon (bounds {shapely.bounds(polygon).round(3).tolist()}) "
                f"meets none of {len(self)} places with {weight}; expected some "
                f"overlap. Check that it is in lon/lat."
            )
        mean = np.average(self.vectors[token], axis=0, weights=inside_km2)
        return mean.astype(np.float32)

    def _overlap(self, polygon: shapely.Geometry) -> tuple[np.ndarray, np.ndarray]:
        """Give the places in a polygon and how much of each lies inside, in km2."""
        if isinstance(self.tokens, H3Tokens):
            polygons = np.array([polygon])
            _, cell, share = cover_with_cells(polygons, self.tokens.resolution)
            token = self.tokens.find(cell)
            area = share * polygon_areas_km2(polygons)[0]
            return token[token >= 0], area[token >= 0]
        if isinstance(self.tokens, GridTokens):
            raise NoGeometryError("grid", "lon/lat", "Average by ids instead.")
        outlines = self.tokens.polygons()
        token = np.sort(shapely.STRtree(outlines).query(polygon, "intersects"))
        return token, polygon_areas_km2(shapely.intersection(outlines[token], polygon))

    def nearest(
        self, queries: Float32[np.ndarray, "n dim"], k: int = 10
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the places with the most similar vectors, exactly.

        Args:
            queries: vectors, of places or made of them.
            k: how many, >= 1; at most the number of places are found.

        Returns:
            Tokens ``(n, k)``, the most similar first, and the cosines of what
            :attr:`likeness` makes of the vectors; a place is its own nearest.

        Raises:
            MoraError: if ``k`` is below 1.
        """
        return most_similar(unit_rows(self.comparable()), self.likeness.of(queries), k)

    def write(self, path: Path | str) -> None:
        """Write GeoParquet: id, cell, geometry (WKB), population, embedding.

        The file carries the STAC Embedding extension's fields and the provenance in
        its metadata; places without geometry give plain Parquet. The same embeddings
        give the same bytes.
        """
        table = self.tokens.to_table()
        metadata = dict(table.schema.metadata or {})
        metadata[b"mora:kind"] = self.tokens.kind.encode()
        metadata[b"mora:provenance"] = _json(self.provenance)
        metadata[b"stac"] = _json(self._stac_fields())
        columns: dict[str, Any] = {"id": self.tokens.names()}
        columns |= {name: table[name] for name in table.column_names}
        if isinstance(self.tokens, H3Tokens):
            columns["geometry"] = shapely.to_wkb(self.tokens.polygons()).tolist()
        if "geometry" in columns:
            metadata[b"geo"] = _json(_geo_metadata(self.tokens.polygons()))
        if self.population is not None:
            columns["population"] = self.population
        flat = pa.array(np.ascontiguousarray(self.vectors).ravel())
        columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, self.dim)
        part = Path(f"{path}.part")
        pq.write_table(pa.table(columns).replace_schema_metadata(metadata), part)
        part.replace(path)

    def _stac_fields(self) -> dict[str, Any]:
        grid = self.tokens.kind
        if isinstance(self.tokens, H3Tokens):
            grid = f"h3-{self.tokens.resolution}"
        return {
            "emb:type": "location",
            "emb:dimensions": self.dim,
            "data_type": "float32",
            "emb:chip_layout": {"grid_id": grid},
            "emb:model": self.provenance.get("model", "mora"),
        }


def read_embeddings(path: Path | str) -> Embeddings:
    """Read what :meth:`Embeddings.write` wrote.

    Raises:
        MissingFileError: if there is no such file.
        PersonalDataError: if it lies in a folder of personal data.
        MoraError: if it holds no ``embedding`` column.
    """
    require_not_personal(Path(path))
    if not Path(path).is_file():
        raise MissingFileError(path, "embeddings")
    table = pq.read_table(path)
    if "embedding" not in table.column_names:
        raise MoraError(
            f"{path} has no column 'embedding'; the columns are "
            f"{', '.join(table.column_names)}. Was it written by Embeddings.write?"
        )
    column = table["embedding"].combine_chunks()
    vectors = column.flatten().to_numpy().reshape(len(table), -1)
    metadata = table.schema.metadata or {}
    known = "population" in table.column_names
    return Embeddings(
        tokens_from_table(table, str(path)),
        vectors.astype(np.float32),
        table["population"].to_numpy() if known else None,
        json.loads(metadata.get(b"mora:provenance", b"{}")),
    )


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _geo_metadata(polygons: np.ndarray) -> dict[str, Any]:
    """Describe the geometry column (GeoParquet 1.1; no CRS means lon/lat)."""
    types = sorted({polygon.geom_type for polygon in polygons})
    return {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {
            "geometry": {
                "encoding": "WKB",
                "geometry_types": types,
                "bbox": shapely.total_bounds(polygons).tolist(),
            }
        },
    }
