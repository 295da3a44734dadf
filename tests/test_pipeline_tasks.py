"""Label tables as tasks: means of tokens and zones, and blocks that divide no zone."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from tests.small_run import (
    GRID,
    evaluation,
    one_thread,  # noqa: F401 - a fixture for every test below
    planted_city,
    settings,
)

from mora.benchmark import degree_blocks
from mora.config import EvaluationConfig, load_config
from mora.errors import NoGeometryError
from mora.graph.storage import MobilityGraph
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import Mobility
from mora.pipeline.tasks import read_tasks
from mora.pipeline.units import token_blocks
from mora.tokens import GridTokens, H3Tokens, ZoneTokens


def place(tokens, zones=None):
    """Movement does not matter here."""
    graph = MobilityGraph.from_matrix(sp.csr_array((len(tokens), len(tokens))))
    return Mobility(tokens, graph) if zones is None else Mobility(tokens, graph, zones)


def city(zones=True):
    """The planted city's cells and, by population, their zones."""
    tokens, people = planted_city().tokens, planted_city().people
    rows = {
        "zone": people["zone"].to_numpy(str),
        "token": tokens.encode(people["cell"].to_numpy(str)),
        "population": people["population"],
    }
    return place(tokens, pd.DataFrame(rows) if zones else None)


def tasks(mobility, frame, tmp_path, **labels):
    """Read one table of labels."""
    config = settings(tmp_path, evaluation=evaluation(tmp_path))
    config["evaluation"]["labels"][0] |= labels
    frames = {"evaluation.labels.0.table": frame}
    context = RunContext(load_config(config), tmp_path, frames=frames)
    return list(read_tasks(context, mobility))


# -------------------------------------------------------------------- blocks


@pytest.mark.parametrize("degrees", [0.02, 0.05, 0.1])
def test_no_block_divides_a_zone(degrees):
    mobility = city()
    blocks = token_blocks(EvaluationConfig(degrees=degrees), mobility)
    rows = mobility.zones.assign(block=blocks[mobility.zones["token"]])
    assert rows.groupby("zone")["block"].nunique().max() == 1
    assert len(np.unique(blocks)) > 5
    squares = degree_blocks(mobility.tokens.centroids(), degrees)
    rows = rows.assign(square=squares[rows["token"]])
    assert rows.groupby("zone")["square"].nunique().max() > 1  # as squares would


def test_without_zones_blocks_are_squares():
    mobility = city(zones=False)
    blocks = token_blocks(EvaluationConfig(degrees=0.05), mobility)
    expected = degree_blocks(mobility.tokens.centroids(), 0.05)
    np.testing.assert_array_equal(blocks, expected)


def test_a_token_of_two_zones_goes_with_most_of_its_people():
    tokens = H3Tokens.from_cells(planted_city().tokens.ids[[0, 1, 2]])
    zones = pd.DataFrame(
        {
            "zone": ["A1", "B1", "B1", "C1"],
            "token": [0, 0, 1, 2],
            "population": [10.0, 20.0, 5.0, 5.0],
        }
    )
    config = EvaluationConfig(blocks="code", code_length=1)
    first, second, third = token_blocks(config, place(tokens, zones))
    assert first == second != third


def test_blocks_by_parent():
    mobility = city()
    blocks = token_blocks(
        EvaluationConfig(blocks="parent", parent_resolution=6), mobility
    )
    parents = mobility.tokens.parents(6)
    pairs = {*zip(blocks.tolist(), parents.tolist(), strict=True)}
    assert len(pairs) == len(set(blocks.tolist())) == len(set(parents.tolist()))


@pytest.mark.parametrize(("length", "blocks"), [(1, 1), (2, 5), (3, 21)])
def test_blocks_by_code(length, blocks):
    mobility = city()
    config = EvaluationConfig(blocks="code", code_length=length)
    assert len(np.unique(token_blocks(config, mobility))) == blocks
    names = ZoneTokens.from_zones(np.unique(mobility.zones["zone"]))
    assert len(np.unique(token_blocks(config, place(names)))) == blocks


def test_blocks_of_a_grid():
    xy = np.array([[1, 1], [20, 20], [21, 20], [20, 21], [41, 1]])
    tokens = GridTokens.from_xy(xy, GRID["width"], GRID["height"])
    blocks = token_blocks(EvaluationConfig(), place(tokens))
    one, same, *others = blocks[tokens.encode_xy(xy)].tolist()
    assert one == same
    assert len({one, *others}) == 4


def test_blocks_need_a_place():
    names = place(ZoneTokens.from_zones(["a", "b"]))
    with pytest.raises(NoGeometryError, match=r"zone tokens have no known .*areas"):
        token_blocks(EvaluationConfig(), names)


# -------------------------------------------------------------------- labels


def test_rows_of_a_token_are_averaged_by_weight(tmp_path):
    names = planted_city().tokens.names()
    frame = pd.DataFrame(
        {
            "id": [names[0], names[0], names[1], names[2], "872a1072bffffff"],
            "weight": [1.0, 3.0, 2.0, 2.0, 1.0],
            "wealth": [10.0, 20.0, 5.0, np.nan, 7.0],
        }
    )
    columns = {"id": "id", "weight": "weight"}
    (task,) = tasks(city(), frame, tmp_path, table={"columns": columns})
    assert task.labels[:2].tolist() == [17.5, 5.0]  # (10 + 3 * 20) / 4
    assert np.isnan(task.labels[2:]).all()
    assert task.pooling is None
    (plain,) = tasks(city(), frame, tmp_path, table={"columns": {"id": "id"}})
    assert plain.labels[0] == 15.0


def test_rows_are_found_by_point(tmp_path):
    labels = planted_city().labels
    points = {"columns": {"lon": "lon", "lat": "lat"}}
    by_point = tasks(city(), labels, tmp_path, table=points)
    by_name = tasks(city(), labels, tmp_path, table={"columns": {"id": "cell"}})
    np.testing.assert_array_equal(by_point[0].labels, by_name[0].labels)


@pytest.mark.parametrize("pool", ["mean", "population", "area"])
def test_tokens_are_pooled_to_zones(tmp_path, pool):
    mobility = city()
    zones, tokens = mobility.zones, mobility.tokens
    labels = planted_city().labels
    given = {"unit": "zone", "pool": pool, "table": {"columns": {"id": "zone"}}}
    (task,) = tasks(mobility, labels, tmp_path, **given)
    expected = labels.groupby("zone")["wealth"].mean()
    np.testing.assert_allclose(task.labels, expected)
    weight = {
        "mean": np.ones(len(zones)),
        "population": zones["population"].to_numpy(),
        "area": tokens.areas_km2()[zones["token"]],
    }[pool]
    vectors = np.random.default_rng(0).normal(size=(len(tokens), 3))
    dense = [
        np.average(vectors[zones["token"][here]], axis=0, weights=weight[here])
        for here in (zones["zone"].to_numpy() == zone for zone in expected.index)
    ]
    np.testing.assert_allclose(task.pool(vectors), dense, rtol=1e-6)


def test_settings_of_a_label_reach_its_task(tmp_path):
    given = {
        "values": {"rich": "wealth", "full": "crowd"},
        "transform": {"full": "log1p"},
        "given_away": {"rich": "the places are planted"},
        "table": {"columns": {"id": "cell"}},
    }
    rich, full = tasks(city(), planted_city().labels, tmp_path, **given)
    assert (rich.name, rich.transform, rich.leaky) == (
        "rich",
        None,
        "the places are planted",
    )
    assert (full.name, full.transform, full.leaky) == ("full", "log1p", None)
    crowd = planted_city().labels["crowd"]
    np.testing.assert_allclose(full.targets(), np.log1p(crowd))
