"""Flows, population or adjacency become tokens and a mobility graph."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from mora.config import (
    ArraysMobility,
    FlowsMobility,
    GravityMobility,
    NeighboursMobility,
    RadiationMobility,
)
from mora.errors import ConfigError, GraphError
from mora.geometry import cells_at, cover_with_cells
from mora.graph.gravity import Crosswalk, internal_flow, spread_flows
from mora.graph.neighbours import build_neighbour_graph
from mora.graph.radiation import radiation_flows
from mora.graph.storage import MobilityGraph, read_matrix
from mora.pipeline.flow_tables import ENDS, read_flows, read_people
from mora.pipeline.inputs import RunContext, locate, read_array
from mora.pipeline.mobility import Mobility, to_level
from mora.pipeline.spark.session import check_engine
from mora.tables import check_known
from mora.tokens import H3Tokens, Tokens, ZoneTokens, parse_cells


def mobility_from_flows(
    context: RunContext, mobility: FlowsMobility, folder: Path
) -> Mobility:
    """Use flows between tokens as they are."""
    check_engine(mobility)
    flows = read_flows(context, mobility, folder)
    tokens, flows = _ends(context, flows)
    matrix = _matrix(flows, tokens.encode, len(tokens))
    graph = MobilityGraph.from_matrix(matrix)
    kept = np.asarray(graph.weight) >= mobility.min_weight
    hidden = {"edges": int((~kept).sum()), "min_weight": mobility.min_weight}
    if not kept.all():
        graph = graph.select(kept)
        context.display.say(f"  {hidden['edges']:,} edges below the minimum weight")
    return Mobility(tokens, graph, facts={"hidden": hidden, "flows": "as published"})


def mobility_from_gravity(
    context: RunContext, mobility: GravityMobility, folder: Path
) -> Mobility:
    """Spread flows between zones over cells."""
    check_engine(mobility)
    flows = read_flows(context, mobility, folder)
    people = read_people(context, mobility.population, "mobility.population", True)
    if mobility.zones is not None:
        zones = read_people(context, mobility.zones, "mobility.zones", True)
        people = pd.concat([people, _unplaced(zones, people, flows, context)])
    known, report = check_known(flows[[*ENDS]], people["zone"], "flows")
    context.report(report)
    flows = flows[known]
    zone, names = pd.factorize(people["zone"], sort=True)
    tokens, token = _cells(people, context)
    pieces = Crosswalk.from_rows(zone, token, people["population"].to_numpy())
    matrix = _matrix(flows, pd.Index(names).get_indexer, len(names))
    matrix, within = _with_internal(matrix, pieces, mobility, len(names))
    context.display.say(
        f"  spreading {matrix.nnz:,} zone flows over {len(tokens):,} cells; flow "
        f"within zones: {within}"
    )
    fit = spread_flows(
        matrix,
        pieces,
        tokens.centroids(),
        tokens.areas_km2(),
        decay=mobility.decay,
        decay_km=mobility.decay_km,
    )
    facts = {
        "gravity": {
            "internal": within,
            "decay": mobility.decay,
            "decay_km": mobility.decay_km,
            "margin_error": fit.margin_error,
            "iterations": fit.iterations,
        }
    }
    graph = MobilityGraph.from_matrix(fit.flows)
    return _peopled(tokens, graph, pieces, names, facts)


def mobility_from_radiation(
    context: RunContext, mobility: RadiationMobility, _folder: Path
) -> Mobility:
    """Simulate flows from population."""
    frame = context.frames.get("mobility.population", pd.DataFrame())
    zoned = "zone" in {*mobility.population.columns, *frame.columns}
    people = read_people(context, mobility.population, "mobility.population", zoned)
    tokens, token = _cells(people, context)
    population = np.bincount(token, people["population"], len(tokens))
    flows = radiation_flows(
        population,
        tokens.centroids(),
        commuters_per_resident=mobility.commuters_per_resident,
        min_flow=mobility.min_flow,
    )
    facts = {"flows": "simulated with the radiation model (Simini et al. 2012)"}
    graph = MobilityGraph.from_matrix(flows)
    if not zoned:
        return Mobility(tokens, graph, population=population, facts=facts)
    zone, names = pd.factorize(people["zone"], sort=True)
    pieces = Crosswalk.from_rows(zone, token, people["population"].to_numpy())
    return _peopled(tokens, graph, pieces, names, facts)


def mobility_from_neighbours(
    context: RunContext, _mobility: NeighboursMobility, _folder: Path
) -> Mobility:
    """Join adjacent cells or zones of the study area."""
    config = context.config.tokens
    if config.areas is None:
        raise ConfigError(
            "tokens.areas: the neighbour graph needs the study area's polygons; "
            "expected a path and an id."
        )
    tokens: Tokens = context.zones(config.areas)
    if config.kind == "h3":
        _, cells, _ = cover_with_cells(tokens.polygons(), config.resolution)
        tokens = H3Tokens.from_cells(cells)
    facts = {"flows": "none; adjacent places are joined"}
    return Mobility(tokens, build_neighbour_graph(tokens), facts=facts)


def mobility_from_arrays(
    context: RunContext, mobility: ArraysMobility, _folder: Path
) -> Mobility:
    """Take a graph that is there already; rows keep their order or follow cells."""
    matrix = read_matrix(locate(mobility.graph))
    rows = matrix.shape[0]
    graph = MobilityGraph.from_matrix(sp.csr_array(sp.triu(matrix)))
    if mobility.cells is None:
        names = [f"{row:0{len(str(rows))}d}" for row in range(rows)]
        return Mobility(ZoneTokens.from_zones(names), graph)
    cells = read_array(mobility.cells).astype(np.uint64)
    tokens = H3Tokens.from_cells(cells)
    if not len(cells) == len(tokens) == rows:
        raise GraphError(
            f"{mobility.cells} holds {len(cells)} cells, {len(tokens)} of them "
            f"different, for a graph of {rows} rows; expected one cell a row."
        )
    context.display.say(f"  {rows:,} rows follow the order of their cells")
    return Mobility(tokens, graph.reorder(tokens.encode(cells)))


def _unplaced(
    zones: pd.DataFrame, people: pd.DataFrame, flows: pd.DataFrame, context: RunContext
) -> pd.DataFrame:
    """Give the zones of the flows that have no people yet, at their own points."""
    moving = set(flows["origin"]) | set(flows["destination"])
    missing = zones[zones["zone"].isin(moving - set(people["zone"]))]
    if len(missing):
        context.display.say(
            f"  {len(missing):,} zones have no population rows and are placed at their "
            f"own point (first: {', '.join(missing['zone'].head(3))})"
        )
    return missing


def _cells(people: pd.DataFrame, context: RunContext) -> tuple[H3Tokens, np.ndarray]:
    """Index people by cell."""
    config = context.config.tokens
    if config.kind != "h3":
        raise ConfigError(
            f"tokens.kind: {config.kind!r}; population is spread over H3 cells, "
            f"expected 'h3'. Use mobility kind 'flows' for zones as tokens."
        )
    lonlat = people[["lon", "lat"]].to_numpy(np.float64)
    cells = cells_at(lonlat, config.resolution)
    tokens = H3Tokens.from_cells(cells)
    return tokens, tokens.encode(cells)


def _with_internal(
    matrix: sp.csr_array, pieces: Crosswalk, mobility: GravityMobility, zones: int
) -> tuple[sp.csr_array, str]:
    """Fill or clear the diagonal, and say what was done."""
    if mobility.internal == "given":
        return matrix, "as given in the table"
    if mobility.internal == "none":
        return sp.csr_array(matrix - sp.diags_array(matrix.diagonal())), "left out"
    people = np.bincount(pieces.zone, pieces.population, zones)
    share = mobility.workers_per_resident
    said = f"modelled as {share} workers a resident less those who leave"
    return internal_flow(matrix, people, share), said


def _ends(context: RunContext, flows: pd.DataFrame) -> tuple[Tokens, pd.DataFrame]:
    """Find the tokens of flows, and name the ends by them."""
    config = context.config.tokens
    if config.kind == "h3":
        flows = flows.assign(
            **{
                end: to_level(parse_cells(flows[end].to_numpy()), config.resolution)
                for end in ENDS
            }
        )
        return H3Tokens.from_cells(flows[[*ENDS]].to_numpy().ravel()), flows
    if config.kind == "grid":
        raise ConfigError("tokens.kind: 'grid'; flows need 'h3' or 'zone' tokens.")
    if config.areas is None:
        ends = flows[[*ENDS]].to_numpy(str)
        return ZoneTokens.from_zones(np.unique(ends)), flows
    tokens = context.zones(config.areas)
    known, report = check_known(flows[[*ENDS]], tokens.ids, "flows")
    context.report(report)
    return tokens, flows[known]


def _matrix(flows: pd.DataFrame, encode: Any, size: int) -> sp.csr_array:
    ends = tuple(encode(flows[end].to_numpy()) for end in ENDS)
    return sp.csr_array((flows["weight"].to_numpy(float), ends), shape=(size, size))


def _peopled(
    tokens: Tokens,
    graph: MobilityGraph,
    pieces: Crosswalk,
    names: Any,
    facts: Mapping[str, Any],
) -> Mobility:
    """Attach zones and population."""
    zones = pd.DataFrame(
        {
            "zone": np.asarray(names, dtype=str)[pieces.zone],
            "token": pieces.token,
            "population": pieces.population,
        }
    )
    population = np.bincount(pieces.token, pieces.population, len(tokens))
    return Mobility(tokens, graph, zones, population, dict(facts))
