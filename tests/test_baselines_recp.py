import numpy as np
import pytest
import scipy.sparse as sp
import torch
from benchmarks.measure import shared_data
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict, cross_val_score

from mora.baselines import BASELINES, BaselineInput, MissingInputError
from mora.baselines.recp import MEASURED, alter_counts, recp
from mora.baselines.recp_network import (
    Losses,
    Recp,
    contrast_positives,
    shared_information,
)
from mora.errors import MoraError

MANHATTAN = shared_data("manhattan180")
GROUPS, EACH, CATEGORIES = 4, 12, 6
GROUP = np.repeat(np.arange(GROUPS), EACH)
SHORT = {"dim": 8, "steps": 5, "batch": 32, "warmup": 2}


def planted(seed=0):
    """Groups 0 and 1, and 2 and 3, share POIs; 0 and 2, and 1 and 3, movement."""
    rng = np.random.default_rng(seed)
    mixes = rng.dirichlet(np.ones(CATEGORIES), 2)[GROUP // 2]
    counts = rng.poisson(40 * mixes).astype(float)
    same = (GROUP % 2)[:, None] == GROUP % 2
    flows = rng.poisson(np.where(same, 30.0, 3.0)).astype(float)
    return BaselineInput(flows=sp.csr_array(flows), features={"poi": counts}, seed=seed)


def with_features(given, **blocks):
    return BaselineInput(flows=given.flows, features=blocks, seed=given.seed)


def test_planted_groups_are_recovered_and_each_view_tells_its_own():
    got = recp(planted(), steps=60)
    assert got.shape == (len(GROUP), 96)
    assert got.dtype == np.float32

    def probe(columns, labels):
        reader = LogisticRegression(max_iter=500)
        return cross_val_score(reader, columns, labels, cv=4).mean()

    assert probe(got, GROUP) > 0.95
    assert probe(got[:, :48], GROUP // 2) > 0.95
    assert probe(got[:, 48:], GROUP % 2) > 0.95


@pytest.mark.slow
def test_a_seed_gives_the_same_rows_and_leaves_other_random_numbers_alone():
    state = torch.random.get_rng_state()
    one, again = (recp(planted(), **SHORT) for _ in "ab")
    np.testing.assert_array_equal(one, again)
    assert torch.equal(torch.random.get_rng_state(), state)
    given = planted()
    other = BaselineInput(flows=given.flows, features=given.features, seed=9)
    assert not np.allclose(recp(other, **SHORT), one)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 7},
        {"batch": 16},
        {"learning_rate": 0.001},
        {"temperature": 0.5},
        {"alpha": 1},
        {"intra_weight": 5},
        {"reconstruction_weight": 50},
        {"poi_weight": 1.0},
        {"warmup": 4},
        {"log_flows": True},
        {"poi": "shops"},
    ],
)
def test_every_option_changes_the_result(change):
    given = planted()
    more = np.random.default_rng(1).poisson(3.0, (len(GROUP), 6)).astype(float)
    given = with_features(given, poi=given.features["poi"], shops=more)
    usual, changed = (recp(given, **{**SHORT, **more}) for more in ({}, change))
    assert not np.allclose(usual, changed)


def test_the_first_modality_stands_in_for_pois():
    given = planted()
    counts = given.features["poi"]
    renamed = with_features(given, shops=counts, people=counts * 2 + 0.5)
    np.testing.assert_array_equal(recp(renamed, **SHORT), recp(given, **SHORT))


@pytest.mark.parametrize("counts", [True, False])
def test_missing_pois_leave_every_row_finite(counts):
    given = planted()
    block = given.features["poi"] + (0.0 if counts else 0.25)
    block[3] = np.nan
    block[5, 1] = np.nan
    assert np.isfinite(recp(with_features(given, poi=block), **SHORT)).all()


def test_missing_counts_are_no_pois():
    given = planted()
    gap, none = given.features["poi"].copy(), given.features["poi"].copy()
    gap[3], none[3] = np.nan, 0.0
    np.testing.assert_array_equal(
        recp(with_features(given, poi=gap), **SHORT),
        recp(with_features(given, poi=none), **SHORT),
    )


def test_units_of_features_that_are_not_counts_do_not_matter():
    given = planted()
    block = given.features["poi"] + 0.25
    np.testing.assert_allclose(
        recp(with_features(given, poi=block / 1024), **SHORT),
        recp(with_features(given, poi=block), **SHORT),
        atol=1e-4,
    )


def test_the_unit_of_the_flows_does_not_matter_but_their_volume_does():
    given = planted()
    usual = recp(given, **SHORT)

    def embed(flows):
        return recp(BaselineInput(flows=flows, features=given.features), **SHORT)

    np.testing.assert_allclose(embed(given.flows * 1024), usual, atol=1e-5)
    busier = sp.csr_array(given.flows * np.linspace(1, 9, len(GROUP))[:, None])
    assert not np.allclose(embed(busier), usual)


def test_more_tokens_than_regions_of_the_paper_are_projected():
    rng = np.random.default_rng(0)
    flows = sp.random_array((300, 300), density=0.1, rng=rng, format="csr")
    counts = rng.poisson(3.0, (300, 5)).astype(float)
    given = BaselineInput(flows=flows, features={"poi": counts})
    got = recp(given, **SHORT)
    assert got.shape == (300, 8)
    assert np.isfinite(got).all()


def test_tokens_without_movement_or_pois_are_finite():
    nothing = BaselineInput(
        flows=sp.csr_array((6, 6)), features={"poi": np.zeros((6, 2))}
    )
    assert np.isfinite(recp(nothing, **SHORT)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 7}, "dim is 7; expected an even number"),
        ({"dim": 0}, "dim is 0; expected an even number"),
        ({"steps": 0}, "steps is 0; expected at least 1"),
        ({"batch": 1}, "batch is 1; expected at least 2"),
        ({"temperature": 0.0}, "temperature is 0.0; expected more than 0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(MoraError, match=message):
        recp(planted(), **options)


def test_one_token_has_nothing_to_contrast():
    one = BaselineInput(flows=sp.csr_array((1, 1)), features={"poi": np.ones((1, 2))})
    with pytest.raises(MoraError, match="recp got 1 tokens; expected 2"):
        recp(one)


def test_both_inputs_are_needed():
    given = planted()
    for part in ({"flows": given.flows}, {"features": given.features}):
        with pytest.raises(MissingInputError, match="this run has no"):
            BASELINES["recp"](BaselineInput(**part))


def test_altered_counts_touch_a_tenth_and_keep_their_meaning():
    counts = np.random.default_rng(0).poisson(200.0, (30, 5)).astype(np.float32)
    copies = alter_counts(counts, np.random.default_rng(1))
    added, removed, moved = copies
    assert (added >= counts).all()
    assert (removed <= counts).all()
    assert (removed >= 0).all()
    np.testing.assert_array_equal(moved.sum(axis=1), counts.sum(axis=1))
    assert added.sum() / counts.sum() == pytest.approx(1.1, abs=0.01)
    assert removed.sum() / counts.sum() == pytest.approx(0.9, abs=0.01)
    assert (moved != counts).mean() > 0.9
    for copy in alter_counts(np.zeros((2, 3), np.float32), np.random.default_rng(1)):
        np.testing.assert_array_equal(copy, np.zeros((2, 3)))


def test_contrast_by_hand_and_at_its_least():
    rows = torch.eye(2)
    # Similarity 2 to the positive, 0 to the other row: log(1 + exp(-2)).
    got = contrast_positives(rows, [rows], 0.5)
    assert float(got) == pytest.approx(np.log1p(np.exp(-2)))
    least = contrast_positives(10 * rows, [10 * rows] * 3, 0.1)
    assert float(least) == pytest.approx(np.log(3), rel=1e-4)


def test_contrast_agrees_with_a_loop():
    torch.manual_seed(0)
    rows, *positives = torch.randn(3, 5, 4, dtype=torch.float64)
    total = 0.0
    for i, row in enumerate(rows):
        near = [float(row @ p[i]) / 0.7 for p in positives]
        far = [float(row @ rows[j]) / 0.7 for j in range(5) if j != i]
        total += np.mean([np.log(np.exp(near + far).sum()) - x for x in near])
    got = contrast_positives(rows, positives, 0.7)
    assert float(got) == pytest.approx(total / 5)


def test_information_is_least_where_views_agree_on_even_categories():
    sure = 50 * torch.eye(4, dtype=torch.float64)
    for alpha in (0.0, 9.0):
        least = -(1 + 2 * alpha) * np.log(4)
        assert float(shared_information(sure, sure, alpha)) == pytest.approx(least)
    # Constant views share nothing; their entropy is still the largest.
    even = torch.zeros(4, 4, dtype=torch.float64)
    assert float(shared_information(even, even, 0.0)) == pytest.approx(0, abs=1e-9)


def test_information_agrees_with_sums_over_the_joint_distribution():
    torch.manual_seed(0)
    one, other = torch.randn(2, 7, 3, dtype=torch.float64)
    joint = (one.softmax(1).T @ other.softmax(1)).numpy() / 7
    joint = (joint + joint.T) / 2
    margin = joint.sum(axis=0)
    information = (joint * np.log(joint / np.outer(margin, margin))).sum()
    entropy = -(margin * np.log(margin)).sum()
    got = shared_information(one, other, 2.0)
    assert float(got) == pytest.approx(-(information + 2 * 2.0 * entropy))


def test_prediction_joins_after_the_warmup():
    torch.manual_seed(0)
    model = Recp(poi=5, flow=6, dim=4)
    inputs = [torch.rand(8, 5), torch.rand(8, 6), torch.rand(8, 6)]
    options = Losses(0.1, 9.0, 1.0, 1.0, 1.0, warmup=3)
    early, late = (
        model.loss(inputs, [[x] for x in inputs], options, step).item()
        for step in (2, 3)
    )
    assert late > early


@pytest.mark.slow
@pytest.mark.skipif(MANHATTAN is None, reason="data set manhattan180 is not here")
def test_manhattan_scores_are_those_that_the_row_reports():
    city = np.load(MANHATTAN / "regions.npz")
    features = {"poi": city["poi_counts"].astype(float)}
    flows = sp.csr_array(city["od"])
    scores = {name: [] for name in MEASURED}
    for seed in range(3):
        vectors = recp(BaselineInput(flows=flows, features=features, seed=seed))
        for name, found in scores.items():
            label = city[f"label_{name}"].astype(float)
            guess = cross_val_predict(Ridge(alpha=1), vectors, label, cv=KFold(5))
            found.append(r2_score(label, guess))
    for name, (mean, _) in MEASURED.items():
        assert np.mean(scores[name]) == pytest.approx(mean, abs=0.05)
        assert f"{mean:.3f}" in BASELINES["recp"].reproduction.what
