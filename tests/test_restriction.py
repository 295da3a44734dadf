"""A run on fewer places, or on neighbours instead of movement."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from tests.small_run import planted_city, settings

from mora.config import load_config
from mora.errors import MissingColumnError, TableError
from mora.graph.storage import MobilityGraph
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import Mobility
from mora.pipeline.restriction import keep_tokens, restrict


def city():
    tokens = planted_city().tokens
    flows = np.random.default_rng(0).poisson(1.0, (len(tokens),) * 2).astype(float)
    graph = MobilityGraph.from_matrix(sp.csr_array(flows))
    zones = pd.DataFrame(
        {"zone": "Z", "token": np.arange(len(tokens)), "population": 1.0}
    )
    return Mobility(tokens, graph, zones, np.arange(len(tokens)) + 1.0), flows


def context(tmp_path, frame=None, **tokens):
    config = settings(tmp_path)
    config["tokens"] |= tokens
    frames = {} if frame is None else {"tokens.only": frame}
    return RunContext(load_config(config), tmp_path, frames=frames)


def test_the_part_is_what_was_among_its_places():
    mobility, flows = city()
    keep = np.arange(len(mobility.tokens)) % 3 == 0
    part = keep_tokens(mobility, keep)
    both = flows + flows.T
    np.fill_diagonal(both, 0)
    np.testing.assert_array_equal(part.graph.symmetric().toarray(), both[keep][:, keep])
    assert part.tokens.names() == [
        name for name, kept in zip(mobility.tokens.names(), keep, strict=True) if kept
    ]
    np.testing.assert_array_equal(part.population, mobility.population[keep])
    np.testing.assert_array_equal(part.graph.within, flows.diagonal()[keep])
    assert part.zones["token"].tolist() == list(range(keep.sum()))


def test_movement_in_and_out_shrinks_with_what_is_left_out():
    mobility, flows = city()
    keep = np.arange(len(mobility.tokens)) < 40
    graph = keep_tokens(mobility, keep).graph
    both = flows + flows.T
    np.fill_diagonal(both, 0)
    share = both[:40, :40].sum(1) / both[:40].sum(1)
    np.testing.assert_allclose(graph.outflow, mobility.graph.outflow[:40] * share)
    np.testing.assert_allclose(graph.inflow, mobility.graph.inflow[:40] * share)


def test_keeping_all_changes_nothing():
    mobility, _ = city()
    whole = keep_tokens(mobility, np.ones(len(mobility.tokens), bool))
    np.testing.assert_array_equal(whole.graph.neighbour, mobility.graph.neighbour)
    np.testing.assert_allclose(whole.graph.outflow, mobility.graph.outflow)


def test_places_are_named_in_a_table(tmp_path):
    mobility, _ = city()
    names = mobility.tokens.names()[5:9]
    only = {"columns": {"id": "id"}}
    part = restrict(context(tmp_path, pd.DataFrame({"id": names}), only=only), mobility)
    assert part.tokens.names() == names
    assert part.facts["places_left_out"] == len(mobility.tokens) - 4


def test_tables_that_name_no_place_are_refused(tmp_path):
    mobility, _ = city()
    only = {"columns": {"id": "id"}}
    far = pd.DataFrame({"id": ["872830828ffffff"]})
    with pytest.raises(TableError, match="0 of 1 ids name one of the 91 places"):
        restrict(context(tmp_path, far, only=only), mobility)
    unnamed = pd.DataFrame({"cell": mobility.tokens.names()})
    with pytest.raises(MissingColumnError, match="no column 'id'"):
        restrict(
            context(tmp_path, unnamed, only={"columns": {"cell": "cell"}}), mobility
        )


def test_neighbours_take_the_place_of_movement(tmp_path):
    mobility, _ = city()
    config = settings(tmp_path)
    config["mobility"]["edges"] = "neighbours"
    joined = restrict(RunContext(load_config(config), tmp_path), mobility)
    degree = joined.graph.symmetric().toarray().sum(1)
    assert degree.max() == 6
    assert joined.graph.edges < mobility.graph.edges
    assert "adjacent" in joined.facts["edges"]
