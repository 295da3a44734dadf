"""What labels belong to: tokens, or coarser places that several tokens make up."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int

from mora.benchmark import degree_blocks, group_blocks, pooling_matrix
from mora.config import EvaluationConfig, LabelsConfig
from mora.errors import MissingColumnError, NoGeometryError, TableError
from mora.geometry import cells_at, change_level, cover_with_cells
from mora.modalities.rows import weighted_group_means
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import Mobility
from mora.pipeline.rows import token_of_rows
from mora.tokens import GridTokens, H3Tokens, Tokens

GRID_BLOCK = 20  # cells a side


@dataclass(frozen=True, eq=False)
class Units:
    """The places that labels are of.

    Attributes:
        kind: what they are, for messages.
        row: unit of each label row, -1 where it is none.
        count: how many units there are.
        pooling: ``(units, tokens)``, rows sum to 1; None where units are the tokens.
        blocks: block of each unit for blocked splits.
        regions: region of each unit; None where unknown.
        lonlat: middle of each unit in degrees; None where places are unknown.
    """

    kind: str
    row: Int[np.ndarray, " rows"]
    count: int
    pooling: sp.csr_array | None
    blocks: Int[np.ndarray, " units"]
    regions: Int[np.ndarray, " units"] | None
    lonlat: Float[np.ndarray, "units 2"] | None

    def inside(self, keep: Bool[np.ndarray, " tokens"]) -> Bool[np.ndarray, " units"]:
        """Mark the units more than half of which is made of the marked tokens."""
        if self.pooling is None:
            return keep
        return self.pooling @ keep.astype(np.float64) > 0.5


def find_units(
    context: RunContext, mobility: Mobility, frame: pd.DataFrame, labels: LabelsConfig
) -> Units:
    """Find the unit of each label row.

    Raises:
        MissingColumnError: if rows of zones or areas have no ids.
        TableError: if the run has no such units, or no row names one of them.
    """
    make = {
        "token": _token_units,
        "parent": _parent_units,
        "zone": _zone_units,
        "area": _area_units,
    }
    return make[labels.unit](context, mobility, frame, labels)


def _token_units(
    context: RunContext, mobility: Mobility, frame: pd.DataFrame, _labels: LabelsConfig
) -> Units:
    tokens, config = mobility.tokens, context.config.evaluation
    return Units(
        "token",
        token_of_rows(tokens, frame),
        len(tokens),
        None,
        token_blocks(config, mobility),
        token_regions(config, mobility),
        lonlat_of(tokens),
    )


def _parent_units(
    context: RunContext, mobility: Mobility, frame: pd.DataFrame, labels: LabelsConfig
) -> Units:
    """Make the H3 parents of the tokens units: the same at every level of the run.

    Raises:
        TableError: if tokens are no H3 cells, or not finer than the parents.
    """
    tokens, level = mobility.tokens, labels.parent_resolution or 0
    if not isinstance(tokens, H3Tokens) or tokens.resolution < level:
        raise TableError(
            f"units of H3 level {level} need H3 tokens of that level or finer; the run "
            f"has {tokens.kind} tokens. Correct `parent_resolution`, or use zones."
        )
    parents, unit = np.unique(tokens.parents(level), return_inverse=True)
    # Rows are placed by the parent of their point, which need not be a token.
    if "lon" in frame:
        cells = cells_at(frame[["lon", "lat"]].to_numpy(np.float64), level)
    else:
        known = token_of_rows(tokens, frame)
        cells = np.where(known >= 0, change_level(tokens.ids[known], level), 0)
    row = pd.Index(parents).get_indexer(cells)
    middle = H3Tokens.from_cells(parents).centroids()
    weight = _token_weight(mobility, labels.pool)
    token = np.arange(len(tokens))
    pooling = pooling_matrix(unit, token, weight, (len(parents), len(tokens)))
    return _placed(context, "parent", row, middle, pooling)


def _zone_units(
    context: RunContext, mobility: Mobility, frame: pd.DataFrame, labels: LabelsConfig
) -> Units:
    """Make the zones of the run's mobility units."""
    zones, config = mobility.zones, context.config.evaluation
    if zones.empty:
        raise TableError(
            "labels of zones need zones in the run; its mobility has none. Expected "
            "`unit: token`, or mobility kind gravity or radiation with a zone column."
        )
    names = np.unique(zones["zone"])
    row = _row_by_name(frame, names, "zone")
    zone = np.searchsorted(names, zones["zone"])
    token = zones["token"].to_numpy()
    weight = {
        "mean": np.ones(len(zones)),
        "population": zones["population"].to_numpy(),
        "area": mobility.tokens.areas_km2()[token],
    }[labels.pool]
    shape = (len(names), len(mobility.tokens))
    middle = zone_middles(mobility, zone, len(names))
    if config.blocks == "code":
        blocks = _code_numbers(names, config.code_length)
    else:
        blocks = degree_blocks(middle, config.degrees)
    regions = _code_numbers(names, config.region_code_length)
    pooling = pooling_matrix(zone, token, weight, shape)
    return Units("zone", row, len(names), pooling, blocks, regions, middle)


def _area_units(
    context: RunContext, mobility: Mobility, frame: pd.DataFrame, labels: LabelsConfig
) -> Units:
    """Make polygons of their own units, by the cells that they cover.

    Raises:
        TableError: if tokens are no H3 cells.
    """
    tokens = mobility.tokens
    if not isinstance(tokens, H3Tokens):
        raise TableError(
            f"labels of areas need H3 tokens; the run has {tokens.kind} tokens. Use "
            f"`unit: token` with the names of the zones."
        )
    areas = context.zones(labels.areas)
    row = _row_by_name(frame, areas.ids, "area")
    area, cell, share = cover_with_cells(areas.polygons(), tokens.resolution)
    token = tokens.find(cell)
    met = token >= 0
    area, token, share = area[met], token[met], share[met]
    weight = np.ones(len(area)) if labels.pool == "mean" else share
    if labels.pool == "population":
        weight = share * _token_weight(mobility, "population")[token]
    pooling = pooling_matrix(area, token, weight, (len(areas), len(tokens)))
    return _placed(context, "area", row, areas.centroids(), pooling)


def _placed(
    context: RunContext,
    kind: str,
    row: np.ndarray,
    middle: Float[np.ndarray, "units 2"],
    pooling: sp.csr_array,
) -> Units:
    """Give units with an outline their blocks and regions by their middle."""
    config = context.config.evaluation
    if config.blocks == "parent":
        blocks = _numbered(cells_at(middle, config.parent_resolution))
    else:
        blocks = degree_blocks(middle, config.degrees)
    regions = _numbered(cells_at(middle, config.region_resolution))
    return Units(kind, row, len(middle), pooling, blocks, regions, middle)


def _row_by_name(
    frame: pd.DataFrame, names: np.ndarray, kind: str
) -> Int[np.ndarray, " rows"]:
    if "id" not in frame:
        raise MissingColumnError(f"labels of {kind}s", ["id"], list(frame.columns))
    row = pd.Index(names).get_indexer(frame["id"])
    if (row < 0).all():
        raise TableError(
            f"none of {len(frame)} labels names one of {len(names)} {kind}s (first "
            f"labels: {', '.join(frame['id'].head(3))}; first {kind}s: "
            f"{', '.join(names[:3])}). Check that both use the same ids."
        )
    return row


def _token_weight(mobility: Mobility, pool: str) -> Float[np.ndarray, " tokens"]:
    """Give what each token counts for in a mean.

    Raises:
        TableError: if people are asked for and the run does not know them.
    """
    if pool == "mean":
        return np.ones(len(mobility.tokens))
    if pool == "area":
        return mobility.tokens.areas_km2()
    if mobility.population is None:
        raise TableError(
            "`pool: population` needs people in the run; its mobility has none. Use "
            "`mean` or `area`."
        )
    return np.asarray(mobility.population, np.float64)


def zone_middles(
    mobility: Mobility, zone: np.ndarray, zones: int
) -> Float[np.ndarray, "zones 2"]:
    """Give the population-weighted middle of each zone."""
    token = mobility.zones["token"].to_numpy()
    people = mobility.zones["population"].to_numpy()
    centroids = mobility.tokens.centroids()[token]
    return weighted_group_means(zone, centroids, people, zones)


def token_blocks(
    config: EvaluationConfig, mobility: Mobility
) -> Int[np.ndarray, " tokens"]:
    """Give the block of each token; no block divides a zone that an input came from.

    Args:
        config: how blocks are made.
        mobility: tokens and, where there are any, zones. A token belongs to the zone
            with most of its people.

    Returns:
        Block numbers. On a grid without a place on Earth, squares of 20 x 20 cells.

    Raises:
        NoGeometryError: if the blocks need a place that the tokens do not have.
    """
    tokens = mobility.tokens
    if config.blocks == "parent":
        return _numbered(tokens.parents(config.parent_resolution))
    if isinstance(tokens, GridTokens):
        return _numbered((tokens.xy() - 1) // GRID_BLOCK @ [tokens.height, 1])
    if mobility.zones.empty:
        if config.blocks == "code":
            return _code_numbers(tokens.names(), config.code_length)
        return degree_blocks(tokens.centroids(), config.degrees)
    names, zone, main = main_zones(mobility)
    if config.blocks == "code":
        return _code_numbers(names, config.code_length)[main]
    return group_blocks(main, zone_middles(mobility, zone, len(names)), config.degrees)


def main_zones(mobility: Mobility) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the zones' names, the zone of each piece, and each token's main zone."""
    names, zone = np.unique(mobility.zones["zone"], return_inverse=True)
    order = np.argsort(mobility.zones["population"].to_numpy(), kind="stable")
    main = np.zeros(len(mobility.tokens), np.int64)  # every token is in some zone
    main[mobility.zones["token"].to_numpy()[order]] = zone[order]
    return names, zone, main


def token_regions(
    config: EvaluationConfig, mobility: Mobility
) -> Int[np.ndarray, " tokens"] | None:
    """Give the region of each token: its zone's code, its own code, or a wide cell.

    Returns:
        Region numbers; None on a grid without a place on Earth.
    """
    if not mobility.zones.empty:
        names, _, main = main_zones(mobility)
        return _code_numbers(names, config.region_code_length)[main]
    tokens = mobility.tokens
    if isinstance(tokens, H3Tokens):
        return _numbered(tokens.parents(config.region_resolution))
    if isinstance(tokens, GridTokens):
        return None
    return _code_numbers(tokens.names(), config.region_code_length)


def lonlat_of(tokens: Tokens) -> Float[np.ndarray, "tokens 2"] | None:
    """Give the middle of each token, or None where places are unknown."""
    try:
        return tokens.centroids()
    except NoGeometryError:
        return None


def _numbered(blocks: np.ndarray) -> Int[np.ndarray, " n"]:
    return np.unique(blocks, return_inverse=True)[1]


def _code_numbers(names: list[str] | np.ndarray, length: int) -> np.ndarray:
    return _numbered(np.array([name[:length] for name in names]))
