import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import balanced_accuracy_score, root_mean_squared_error

from mora.errors import MoraError
from mora.trajectories.raw.rules import MajorityClass, TrainingMean
from mora.trajectories.raw.tasks import (
    LabelTask,
    TaskScore,
    VectorHead,
    evaluate_task,
    measure,
)


def planted(rows=200, dim=6, seed=0, noise=0.1):
    """Vectors of which the first column tells a number and its sign a class."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, dim))
    return vectors, 3 * vectors[:, 0] + noise * rng.normal(size=rows) + 10


def numbers(labels, **more):
    return LabelTask("trips", labels, "numbers", **more)


def classes(labels, **more):
    return LabelTask("commuter", labels, "classes", **more)


def values(scores, model, metric):
    (found,) = (s for s in scores if (s.model, s.metric) == (model, metric))
    return found.values


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_heads_find_planted_classes(head):
    vectors, label = planted()
    models = {"head": VectorHead(vectors, head), "majority": MajorityClass()}
    scores = evaluate_task(classes(label > 10), models, repeats=3)
    assert np.mean(values(scores, "head", "accuracy")) > 0.9
    assert np.mean(values(scores, "head", "balanced accuracy")) > 0.9
    assert np.mean(values(scores, "majority", "accuracy")) < 0.65
    assert set(values(scores, "majority", "balanced accuracy")) == {0.5}


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_heads_find_planted_numbers(head):
    vectors, label = planted()
    models = {"head": VectorHead(vectors, head), "mean": TrainingMean()}
    scores = evaluate_task(numbers(label), models, repeats=3)
    assert np.mean(values(scores, "head", "pearson")) > 0.9
    for metric in ("mae", "rmse"):
        ours, theirs = (np.mean(values(scores, m, metric)) for m in models)
        assert ours < theirs / 2
    assert np.isnan(values(scores, "mean", "pearson")).all()


def test_vectors_that_know_nothing_score_as_chance():
    rng = np.random.default_rng(5)
    nothing, label = rng.normal(size=(300, 4)), rng.random(300) < 0.5
    scores = evaluate_task(classes(label), {"head": VectorHead(nothing, "linear")})
    assert abs(np.mean(values(scores, "head", "accuracy")) - 0.5) < 0.1


def test_hand_worked_measures():
    got = measure("numbers", np.array([1.0, 2, 3]), np.array([2.0, 2, 5]))
    assert got["mae"] == pytest.approx(1)
    assert got["rmse"] == pytest.approx((5 / 3) ** 0.5)
    assert got["pearson"] == pytest.approx(np.sqrt(3) / 2)
    got = measure("classes", np.array([1, 1, 1, 0]), np.array([1, 1, 1, 1]))
    assert got == {"accuracy": 0.75, "balanced accuracy": 0.5}


def test_measures_agree_with_libraries():
    rng = np.random.default_rng(0)
    truth, guess = rng.normal(size=(2, 50))
    got = measure("numbers", truth, guess)
    assert got["pearson"] == pytest.approx(pearsonr(truth, guess).statistic)
    assert got["rmse"] == pytest.approx(root_mean_squared_error(truth, guess))
    truth, guess = rng.integers(0, 3, (2, 50))
    got = measure("classes", truth, guess)["balanced accuracy"]
    assert got == pytest.approx(balanced_accuracy_score(truth, guess))


def test_train_and_test_users_are_disjoint():
    _, label = planted(100)
    label[::7] = np.nan
    users = np.arange(100) // 4
    for train, test in numbers(label, groups=users).splits(repeats=4):
        assert not set(users[train]) & set(users[test])
        assert np.isfinite(label[np.concatenate([train, test])]).all()
    train, test = numbers(label).splits()[0]
    assert len(train) + len(test) == np.isfinite(label).sum()
    assert set(users[train]) & set(users[test])  # which is why groups are there


def test_windows_of_one_user_give_nothing_away_when_grouped():
    """Each user has a vector and a random label: only memory could tell it."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(60), 5)
    vectors = rng.normal(size=(60, 40))[users]
    label = (rng.random(60) < 0.5)[users]
    head = {"head": VectorHead(vectors, "linear")}
    leaky = evaluate_task(classes(label), head)
    honest = evaluate_task(classes(label, groups=users), head)
    assert np.mean(values(leaky, "head", "accuracy")) > 0.8
    assert np.mean(values(honest, "head", "accuracy")) < 0.7


def test_labels_of_test_rows_are_not_looked_at():
    vectors, label = planted()
    train, test = np.arange(150), np.arange(150, 200)
    spoiled = label.copy()
    spoiled[test] = -1e6
    for predictor in (VectorHead(vectors), VectorHead(vectors, "linear")):
        first, second = (
            predictor.fit_predict(numbers(labels), train, test, 0)
            for labels in (label, spoiled)
        )
        np.testing.assert_array_equal(first, second)


def test_parameters_change_the_scores():
    vectors, label = planted(100, noise=2.0)
    task = numbers(label)

    def scored(head=None, **options):
        head = head or VectorHead(vectors, hidden=4)
        return evaluate_task(task, {"head": head}, **{"repeats": 2, **options})[
            1
        ].values

    base = scored()
    assert scored() == base
    assert scored(VectorHead(vectors, hidden=3)) != base
    assert scored(VectorHead(vectors, hidden=4, penalty=30)) != base
    assert scored(VectorHead(vectors, "linear")) != base
    assert scored(seed=1) != base
    assert scored(test_share=0.5) != base
    assert len(scored(repeats=3)) == 3
    loose, tight = (
        VectorHead(vectors, "linear", penalty=penalty).fit_predict(
            classes(label > 10), np.arange(60), np.arange(60, 100), 0
        )
        for penalty in (1e-3, 1e3)
    )
    assert (loose != tight).any()
    fit = VectorHead(vectors).fit_predict
    rows = np.arange(50), np.arange(50, 100)
    assert (fit(task, *rows, 0) != fit(task, *rows, 1)).any()


def test_mean_and_deviation_over_splits():
    score = TaskScore("trips", "head", "mae", (1.0, 3.0))
    assert score.mean == 2
    assert score.std == pytest.approx(2**0.5)
    assert np.isnan(TaskScore("trips", "head", "mae", (1.0,)).std)


def test_bad_labels_are_refused():
    with pytest.raises(MoraError, match="2 of 3 labels are known, with 1 different"):
        numbers(np.array([1.0, np.nan, 1.0]))
    rare = np.array(["a"] * 20 + ["b"] * 9)
    with pytest.raises(
        MoraError, match=r"1 of 2 classes have fewer than 10 .*\(first: b"
    ):
        classes(rare)


def test_bad_vectors_are_refused():
    vectors, label = planted(40)
    with pytest.raises(MoraError, match="39 vectors, 0 of them not finite, for 40"):
        evaluate_task(numbers(label), {"head": VectorHead(vectors[:-1])})
    vectors[3, 2] = np.nan
    with pytest.raises(MoraError, match="40 vectors, 1 of them not finite"):
        evaluate_task(numbers(label), {"head": VectorHead(vectors)})


def test_rows_that_may_not_be_tested_are_fitted_on_in_every_split():
    _, label = planted()
    seen = []

    class Told(TrainingMean):
        def fit_predict(self, task, train, test, seed):
            seen.append((train, test))
            return super().fit_predict(task, train, test, seed)

    tested = np.arange(150, 200)
    evaluate_task(numbers(label), {"told": Told()}, repeats=2, tested=tested)
    for train, test in seen:
        assert np.isin(np.arange(150), train).all()
        assert np.isin(test, tested).all()
        assert len(test) == 10
        assert len(np.intersect1d(train, test)) == 0
