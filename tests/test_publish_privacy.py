"""Edges and places that may be shown, and what each stage of privacy removed."""

import numpy as np
import pytest
import scipy.sparse as sp
from tests.published_run import country, write_run

from mora.errors import GraphError, MissingFileError, MoraError, RunError
from mora.graph.storage import MobilityGraph
from mora.publish import edges_to_show, privacy_stages
from mora.publish.config import PublishConfig
from mora.publish.edges import users_of_places
from mora.publish.privacy_report import mobility_kind, to_markdown
from mora.publish.run_files import places_to_publish, read_run_files

# Edges 0-1 (7 users), 0-2 (1), 1-3 (4); place 4 has none.
WEIGHT = sp.csr_array(([9.0, 3, 5], ([0, 0, 1], [1, 2, 3])), shape=(5, 5))
USERS = sp.csr_array(([7, 1, 4], ([0, 0, 1], [1, 2, 3])), shape=(5, 5))
GRAPH = MobilityGraph.from_matrix(WEIGHT, USERS + USERS.T)
FLOWS = MobilityGraph.from_matrix(WEIGHT)


@pytest.mark.parametrize(("least", "shown"), [(1, 3), (4, 2), (5, 1), (8, 0)])
def test_edges_of_enough_users_are_shown(least, shown):
    graph = edges_to_show(GRAPH, least)
    assert graph.edges == shown
    assert (graph.users >= least).all()
    assert len(graph) == len(GRAPH)


def test_five_users_are_the_default():
    assert edges_to_show(GRAPH).neighbour.tolist() == [1]


def test_shown_edges_agree_with_looking_at_each():
    _, graph = country()
    dense = np.zeros((len(graph), len(graph)), int)
    dense[graph.rows(), graph.neighbour] = graph.users
    shown = edges_to_show(graph, 6)
    kept = np.zeros_like(dense)
    kept[shown.rows(), shown.neighbour] = shown.users
    np.testing.assert_array_equal(kept, np.where(dense >= 6, dense, 0))


def test_edges_without_user_counts_are_never_shown_as_checked():
    with pytest.raises(GraphError, match="3 edges and counts no users; expected the"):
        edges_to_show(FLOWS)
    assert edges_to_show(FLOWS, published=True).edges == FLOWS.edges
    with pytest.raises(GraphError, match="weight is no number of people"):
        users_of_places(FLOWS)


def test_no_users_are_no_threshold():
    with pytest.raises(GraphError, match="min_users is 0; expected at least 1"):
        edges_to_show(GRAPH, 0)


def test_a_graph_without_edges_shows_none():
    empty = MobilityGraph.from_matrix(sp.csr_array((3, 3)))
    assert edges_to_show(empty).edges == 0
    assert users_of_places(empty).tolist() == [0, 0, 0]


def test_users_of_places_are_those_of_the_busiest_edge():
    assert users_of_places(GRAPH).tolist() == [7, 7, 1, 4, 0]


def test_users_of_places_do_not_depend_on_blocks(monkeypatch):
    _, graph = country()
    whole = users_of_places(graph)
    monkeypatch.setattr("mora.graph.storage.EDGES_A_BLOCK", 50)
    np.testing.assert_array_equal(users_of_places(graph), whole)


# Places that are published


def test_a_run_with_a_lower_threshold_publishes_places_of_known_users(tmp_path):
    write_run(tmp_path / "run", applied=2)
    run = read_run_files(tmp_path / "run")
    shown = places_to_publish(run, 3)
    assert np.flatnonzero(~shown).tolist() == [0]
    np.testing.assert_array_equal(shown, users_of_places(run.graph) >= 3)


def test_a_run_with_that_threshold_publishes_all_places(tmp_path):
    write_run(tmp_path / "run", applied=3)
    assert places_to_publish(read_run_files(tmp_path / "run"), 3).all()


def test_no_place_left_is_refused(tmp_path):
    write_run(tmp_path / "run")
    with pytest.raises(MoraError, match="none of 217 places is known to have had 99"):
        places_to_publish(read_run_files(tmp_path / "run"), 99)


def test_visits_need_a_threshold(tmp_path):
    write_run(tmp_path / "run")
    with pytest.raises(MoraError, match="'city', which is made of visits; expected a"):
        places_to_publish(read_run_files(tmp_path / "run"), None)


def test_flows_need_to_be_called_published(tmp_path):
    write_run(tmp_path / "run", kind="flows", counted=False)
    run = read_run_files(tmp_path / "run")
    with pytest.raises(GraphError, match="set `min_users: null`"):
        places_to_publish(run, 5)
    assert places_to_publish(run, None).all()


def test_graph_and_embeddings_must_agree(tmp_path):
    tokens, _, _ = write_run(tmp_path / "run")
    tokens.take(np.arange(9)).write(tmp_path / "run" / "graph" / "tokens.parquet")
    with pytest.raises(RunError, match="graph has 9 places, the embeddings have 217"):
        read_run_files(tmp_path / "run")


def test_missing_and_torn_files_are_named(tmp_path):
    write_run(tmp_path / "run")
    (tmp_path / "run" / "report.json").write_text("{")
    with pytest.raises(RunError, match=r"report\.json is not whole"):
        read_run_files(tmp_path / "run")
    (tmp_path / "run" / "graph" / "manifest.json").unlink()
    with pytest.raises(MissingFileError, match=r"publishing a run: no file at .*mani"):
        read_run_files(tmp_path / "run")


def test_the_report_of_a_benchmark_stands_in(tmp_path):
    write_run(tmp_path / "run")
    (tmp_path / "run" / "benchmark").mkdir()
    report = tmp_path / "run" / "report.json"
    report.rename(tmp_path / "run" / "benchmark" / "report.json")
    assert "wealth" in read_run_files(tmp_path / "run").report["tasks"]


# The four stages


def stages(folder, **changes):
    manifests = read_run_files(folder).manifests
    options = {"places": 216, "dim": 8, "parameters": 3456, "min_users": 3, "r2": 0.5}
    return privacy_stages(manifests, **(options | changes))


def test_each_stage_says_what_it_removed(tmp_path):
    write_run(tmp_path / "run", edges=5000)
    anonymise, aggregate, learn, distil = stages(tmp_path / "run")
    assert [s.name for s in (anonymise, aggregate, learn, distil)] == [
        "anonymise",
        "aggregate",
        "learn",
        "distil",
    ]
    assert "1,000 of 1,200 visits were kept" in anonymise.removed[0]
    assert "the number of users is not recorded" in anonymise.removed[0]
    assert aggregate.removed == (
        "4,000 of 9,000 edges of fewer than 2 users were hidden before learning.",
        "33 of 250 places of fewer than 2 users were hidden before learning.",
        "216 of 217 places are published, where at least 3 users are known.",
    )
    assert "217 vectors of 8 numbers, 0.35 numbers an edge" in learn.removed[0]
    assert "777 of the edges were propagated" in learn.removed[1]
    assert "1,728 numbers became 3,456 weights, 2 a number" in distil.removed[0]
    assert "50.0%" in distil.removed[1]


def test_each_number_given_shows(tmp_path):
    write_run(tmp_path / "run")
    usual = to_markdown(stages(tmp_path / "run"))
    for change in ("places", "dim", "parameters", "min_users"):
        assert to_markdown(stages(tmp_path / "run", **{change: 99})) != usual
    assert len(stages(tmp_path / "run", r2=None)[3].removed) == 1
    assert "where at least" not in to_markdown(stages(tmp_path / "run", min_users=None))


def test_flows_hide_by_weight_and_count_nobody(tmp_path):
    hidden = {"edges": 1000, "min_weight": 4.0}
    run = {"kind": "flows", "counted": False, "hidden": hidden, "edges": 5000}
    write_run(tmp_path / "run", **run)
    text = to_markdown(stages(tmp_path / "run", min_users=None))
    assert "(flows) hold no records of persons" in text
    assert "1,000 of 6,000 edges of a weight below 4 were hidden" in text
    assert "inputs of the kind 'flows', which" in text
    assert "count no users" in text


def test_flows_without_a_minimum_weight_hide_nothing(tmp_path):
    hidden = {"edges": 0, "min_weight": 0.0}
    write_run(tmp_path / "run", kind="flows", counted=False, hidden=hidden)
    text = to_markdown(stages(tmp_path / "run", min_users=None))
    assert "No minimum weight was asked for." in text


def test_what_is_not_recorded_is_said_to_be(tmp_path):
    write_run(tmp_path / "run", tables=[])
    (tmp_path / "run" / "train" / "manifest.json").unlink()
    text = to_markdown(stages(tmp_path / "run"))
    assert "The number of visits is not recorded." in text
    assert "propagated" not in text


def test_a_run_without_a_graph_has_no_stages():
    assert mobility_kind({}) == ""
    with pytest.raises(RunError, match="no manifest of its graph"):
        privacy_stages({}, places=1, dim=1, parameters=1, min_users=None)


# Settings


def config(**changes):
    usual = {"licence": "mit", "period": ("2024-01-01", "2024-02-01")}
    return PublishConfig(**(usual | changes))


def test_the_most_exact_name_gives_the_licence_of_an_input():
    licences = {"mobility": "odbl", "mobility.table": "cc0", "modalities.poi": "mit"}
    found = config(input_licences=licences).licence_of
    assert found("mobility.table.path[0]") == "cc0"
    assert found("mobility.zones.path[0]") == "odbl"
    assert found("modalities.poison.path[0]") == "not stated"


def test_a_period_that_ends_before_it_begins_is_refused():
    with pytest.raises(ValueError, match="period is 2024-02-01 to 2024-01-01"):
        config(period=("2024-02-01", "2024-01-01"))
