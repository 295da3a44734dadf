"""Fewer places, or other edges: what a run can do with the graph it was given."""

from dataclasses import replace

import numpy as np
import pandas as pd
import scipy.sparse as sp
from jaxtyping import Bool

from mora.config import TableInput
from mora.errors import MissingColumnError, TableError
from mora.graph.neighbours import build_neighbour_graph
from mora.graph.storage import MobilityGraph
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import Mobility
from mora.tokens import Tokens


def restrict(context: RunContext, mobility: Mobility) -> Mobility:
    """Leave the places that ``tokens.only`` names, and the edges that are asked for."""
    only = context.config.tokens.only
    if only is not None:
        keep = named_places(context, only, "tokens.only", mobility.tokens)
        mobility = keep_tokens(mobility, keep)
    if getattr(context.config.mobility, "edges", "movement") == "neighbours":
        graph = build_neighbour_graph(mobility.tokens)
        facts = mobility.facts | {"edges": "adjacent places, instead of movement"}
        mobility = replace(mobility, graph=graph, facts=facts)
    return mobility


def named_places(
    context: RunContext, table: TableInput, place: str, tokens: Tokens
) -> Bool[np.ndarray, " tokens"]:
    """Mark the tokens that a table names.

    Raises:
        MissingColumnError: if the table has no ``id``.
        TableError: if it names fewer than two tokens of the run.
    """
    frame = context.frame(table, place, "names")
    if "id" not in frame:
        raise MissingColumnError(place, ["id"], list(frame.columns))
    found = tokens.find(tokens.parse(frame["id"].to_numpy()))
    keep = np.zeros(len(tokens), bool)
    keep[found[found >= 0]] = True
    if keep.sum() < 2:
        raise TableError(
            f"{place}: {keep.sum()} of {len(frame):,} ids name one of the "
            f"{len(tokens):,} places of the run (first: {frame['id'].iloc[:3].tolist()}"
            f"); expected at least 2. Check their form and the resolution."
        )
    return keep


def keep_tokens(mobility: Mobility, keep: Bool[np.ndarray, " tokens"]) -> Mobility:
    """Leave some places and the movement among them.

    Movement in and out of each place shrinks by the share of its movement that is with
    places left out; where the source is undirected that is exact.

    Args:
        mobility: with all places.
        keep: which to leave.
    """
    rows = np.flatnonzero(keep)
    number = np.full(len(keep), -1)
    number[rows] = np.arange(len(rows))
    zones = mobility.zones.assign(token=number[mobility.zones["token"].to_numpy()])
    zones = zones[zones["token"] >= 0].reset_index(drop=True)
    people = mobility.population
    facts = mobility.facts | {"places_left_out": int((~keep).sum())}
    return Mobility(
        mobility.tokens.take(rows),
        _among(mobility.graph, rows),
        pd.DataFrame(zones),
        None if people is None else people[rows],
        facts,
    )


def _among(graph: MobilityGraph, rows: np.ndarray) -> MobilityGraph:
    whole = graph.symmetric()
    part = sp.csr_array(whole[rows][:, rows])
    before = np.asarray(whole.sum(axis=1)).ravel()[rows]
    share = np.asarray(part.sum(axis=1)).ravel() / np.where(before > 0, before, 1.0)
    among = MobilityGraph.from_matrix(sp.csr_array(sp.triu(part)))
    return replace(
        among,
        within=np.array(graph.within)[rows],
        outflow=graph.outflow[rows] * share,
        inflow=graph.inflow[rows] * share,
    )
