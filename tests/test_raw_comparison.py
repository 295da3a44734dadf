import h3
import numpy as np
import pytest
from test_raw_rules import planted_users

from mora.tokens import H3Tokens
from mora.trajectories.raw.comparison import (
    pool_variants,
    region_predictors,
    user_predictors,
)
from mora.trajectories.raw.evaluation import Evaluation
from mora.trajectories.raw.regions import find_users
from mora.trajectories.raw.tasks import LabelTask, evaluate_task

USERS = ["raw mlp", "raw linear", "by hand"]


def test_all_models_of_users_stand_in_one_table():
    traces, homes, works, commuter = planted_users()
    vectors = np.column_stack([homes, works - homes])  # a model that knows everything
    task = LabelTask("commuter", commuter, "classes")
    models = user_predictors(task, vectors, traces)
    assert list(models) == [*USERS, "majority", "night-noon rule"]
    scores = evaluate_task(task, models, repeats=2)
    evaluation = Evaluation(scores, "raw mlp")
    assert "| night-noon rule |" in evaluation.to_markdown().splitlines()[0]
    accuracy = {s.model: s.mean for s in scores if s.metric == "accuracy"}
    assert accuracy["night-noon rule"] == accuracy["by hand"] == 1
    assert accuracy["raw mlp"] > accuracy["majority"]


def test_numbers_and_many_classes_have_no_rule():
    traces, *_ = planted_users(days=2)
    vectors = np.random.default_rng(0).normal(size=(60, 3))
    trips = LabelTask("trips", np.arange(60.0), "numbers")
    assert list(user_predictors(trips, vectors, traces)) == [*USERS, "mean"]
    kinds = LabelTask("kind", np.arange(60) % 3, "classes")
    assert list(user_predictors(kinds, vectors, traces)) == [*USERS, "majority"]


def test_all_kinds_of_region_vectors_are_of_the_same_regions():
    traces, *_ = planted_users(days=2)
    cells = h3.grid_disk(h3.latlng_to_cell(48.86, 2.35, 7), 6)
    presence = find_users(traces, H3Tokens.from_cells(cells))
    vectors = np.random.default_rng(0).normal(size=(60, 3))
    variants = pool_variants(presence, vectors, min_users=3, seed=1)
    names = ["raw sum", "raw mean", "random sum", "random mean", "user count"]
    assert list(variants) == names
    for pooled in variants.values():
        np.testing.assert_array_equal(pooled.tokens.ids, variants["raw sum"].tokens.ids)
    other = pool_variants(presence, vectors, min_users=3, seed=2)
    for name in names:
        same = (other[name].vectors == variants[name].vectors).all()
        assert same == (not name.startswith("random"))
    label = variants["user count"].vectors[:, 0].astype(float)
    task = LabelTask("poi", label, "numbers")
    scores = evaluate_task(task, region_predictors(task, variants), repeats=2)
    mae = {s.model: s.mean for s in scores if s.metric == "mae"}
    assert mae["user count"] == pytest.approx(0, abs=0.1)
    assert mae["user count"] < mae["raw mean"]
    assert len(pool_variants(presence, vectors)["raw sum"]) > len(label)
    kinds = LabelTask("kind", np.repeat(["a", "b"], 10), "classes")
    assert "constant" in region_predictors(kinds, variants)
