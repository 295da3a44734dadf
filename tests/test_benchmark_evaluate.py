import json
from dataclasses import replace

import numpy as np
import pytest

from mora.benchmark import ScoreFile, Task, evaluate, pooling_matrix
from mora.benchmark.readouts import LightGBMReadout, PaperReadout, RidgeReadout
from mora.benchmark.scores import ScoreKey, r_squared
from mora.benchmark.splits import shuffled_folds
from mora.errors import MoraError

N = 300
RNG = np.random.default_rng(0)
HIDDEN = RNG.normal(size=(N, 3))
BLOCKS = np.arange(N) // 10
MODELS = {
    "knows": (HIDDEN @ RNG.normal(size=(3, 6))).astype(np.float32),
    "noise": RNG.normal(size=(N, 6)).astype(np.float32),
}
FAST = {
    "lightgbm": LightGBMReadout(trees=25, leaf_samples=5, feature_share=1.0),
    "ridge": RidgeReadout(),
}
RIDGE = {"ridge": RidgeReadout()}


def task(name: str = "income", column: int = 0, **options) -> Task:
    return Task(name, HIDDEN[:, column] * 10 + 40, BLOCKS, **options)


class Refusing(RidgeReadout):
    """Stands for a readout that must not be fitted again."""

    def fit_predict(self, train_x, train_y, test_x):  # noqa: ARG002
        raise AssertionError("fitted again")


class Spy(RidgeReadout):
    """Records which rows it was given; the first column holds the row number."""

    seen: list = []  # noqa: RUF012

    def fit_predict(self, train_x, train_y, test_x):
        self.seen.append((set(train_x[:, 0]), set(test_x[:, 0])))
        return super().fit_predict(train_x, train_y, test_x)


def test_the_model_that_knows_wins_everywhere():
    tasks = [task(), task("gini", 1)]
    report = evaluate(tasks, MODELS, repeats=2, readouts=FAST, threads=2)
    for readout in FAST:
        for protocol in ("blocked", "random"):
            assert report.table("knows", readout, protocol).min() > 0.6
            assert report.table("noise", readout, protocol).max() < 0.15


def test_linear_labels_are_read_exactly_by_ridge():
    report = evaluate([task()], MODELS, repeats=2, readouts=RIDGE)
    np.testing.assert_allclose(report.table("knows", "ridge", "random"), 1, atol=1e-5)


def test_all_models_see_the_same_splits_and_blocks_stay_whole():
    Spy.seen = []
    rows = np.column_stack([np.arange(N), RNG.normal(size=N)]).astype(np.float32)
    evaluate([task()], {"a": rows, "b": rows}, repeats=2, readouts={"spy": Spy()})
    first, second = Spy.seen[:4], Spy.seen[4:]
    assert first == second
    for train, test in first[:2]:
        assert not {row // 10 for row in train} & {row // 10 for row in test}


def test_a_model_is_scored_the_same_in_other_company():
    both = evaluate([task(), task("b", 1)], MODELS, repeats=2, readouts=FAST)
    alone = evaluate(
        [task("b", 1)], {"knows": MODELS["knows"]}, repeats=2, readouts=FAST
    )
    assert both.scores["b"]["knows"] == alone.scores["b"]["knows"]


def test_threads_change_nothing():
    first, second = (
        evaluate([task()], MODELS, repeats=2, readouts=FAST, threads=threads)
        for threads in (1, 2)
    )
    assert first == second


@pytest.mark.parametrize("change", [{"seed": 1}, {"test_share": 0.4}])
def test_each_setting_of_the_splits_matters(change):
    options = {"repeats": 2, "readouts": RIDGE}
    first = evaluate([task()], MODELS, **options)
    second = evaluate([task()], MODELS, **options, **change)
    assert first.scores != second.scores


def test_blocks_change_the_blocked_scores_alone():
    first, second = (
        evaluate(
            [replace(task(), blocks=blocks)], MODELS, repeats=2, readouts=RIDGE
        ).scores["income"]["noise"]["ridge"]
        for blocks in (BLOCKS, np.arange(N) % 20)
    )
    assert first["blocked"] != second["blocked"]
    assert first["random"] == second["random"]


def test_more_repeats_keep_the_first_scores():
    two, three = (
        evaluate([task()], MODELS, repeats=repeats, readouts=RIDGE)
        for repeats in (2, 3)
    )
    few, many = (report.table("noise", "ridge", "blocked") for report in (two, three))
    np.testing.assert_array_equal(few, many[:, :2])


def test_readouts_by_name():
    report = evaluate([task()], MODELS, repeats=1, readouts=("ridge",))
    assert list(report.readouts) == ["ridge"]
    assert report.readouts["ridge"].startswith("Ridge")


def test_missing_labels_are_no_samples():
    labels = np.where(np.arange(N) % 3 == 0, np.nan, HIDDEN[:, 0])
    report = evaluate([Task("few", labels, BLOCKS)], MODELS, repeats=1, readouts=RIDGE)
    assert report.samples == {"few": 200}


def test_labels_of_counties_are_read_from_pooled_vectors():
    """Means of hidden values over counties are linear in the means of vectors."""
    county = RNG.integers(0, 60, N)
    pooling = pooling_matrix(county, np.arange(N), np.ones(N), (60, N))
    labels = pooling @ HIDDEN[:, 0]
    pooled = Task("county", labels, np.arange(60), pooling)
    report = evaluate([pooled], MODELS, repeats=2, readouts=RIDGE)
    assert report.samples == {"county": 60}
    assert report.table("knows", "ridge", "blocked").min() > 0.999


def test_transform_changes_the_scores():
    counts = np.exp(3 * HIDDEN[:, 0])
    raw, logged = (
        evaluate(
            [Task("n", counts, BLOCKS, transform=transform)],
            MODELS,
            repeats=2,
            readouts=RIDGE,
        ).table("knows", "ridge", "random")
        for transform in (None, "log1p")
    )
    assert logged.mean() > raw.mean() + 0.1


def test_a_killed_evaluation_goes_on_where_it_was(tmp_path):
    path = tmp_path / "scores.jsonl"
    whole = evaluate(
        [task()], MODELS, repeats=2, readouts=RIDGE, score_file=ScoreFile(path)
    )
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 8
    path.write_bytes(b"".join(lines[:5]) + lines[5][:20])
    again = evaluate(
        [task()], MODELS, repeats=2, readouts=RIDGE, score_file=ScoreFile(path)
    )
    assert again == whole
    assert sorted(path.read_bytes().splitlines(keepends=True)) == sorted(lines)


def test_finished_scores_are_not_fitted_again(tmp_path):
    class Here(RidgeReadout):
        """Has the same text as the refusing one."""

        def __repr__(self):
            return "ridge"

    class Again(Refusing):
        def __repr__(self):
            return "ridge"

    path = tmp_path / "scores.jsonl"
    options = {"repeats": 2, "score_file": ScoreFile(path)}
    first = evaluate([task()], MODELS, readouts={"r": Here()}, **options)
    second = evaluate([task()], MODELS, readouts={"r": Again()}, **options)
    assert first == second
    changed = {**MODELS, "noise": MODELS["noise"] + 1}
    with pytest.raises(AssertionError, match="fitted again"):
        evaluate([task()], changed, readouts={"r": Again()}, **options)


def test_progress_counts_every_score():
    seen = []
    evaluate(
        [task()],
        MODELS,
        repeats=2,
        readouts=RIDGE,
        progress=lambda done, total, key: seen.append((done, total, key)),
    )
    assert [done for done, _, _ in seen] == list(range(1, 9))
    assert {total for _, total, _ in seen} == {8}
    assert seen[0][2] == ScoreKey("income", "knows", "ridge", "blocked", 0)


def test_json_has_the_agreed_form():
    tasks = [task(), task("gini", 1), task("age", 2, leaky="age shares are inputs")]
    report = evaluate(tasks, MODELS, repeats=2, readouts=FAST)
    report = replace(
        report,
        left_out={"line": "no LINE vectors"},
        warnings=["look here"],
        notes=["flows are simulated"],
        pairs=[("knows", "noise")],
    )
    got = json.loads(json.dumps(report.to_json(), allow_nan=False))
    entry = got["tasks"]["income"]["knows"]
    assert list(entry) == ["blocked", "random", "ridge"]
    assert (
        entry["ridge"]["random"]["scores"]
        == report.table("knows", "ridge", "random", ["income"])[0].tolist()
    )
    scores = np.array(entry["blocked"]["scores"])
    assert entry["blocked"]["mean"] == pytest.approx(scores.mean())
    assert entry["blocked"]["std"] == pytest.approx(scores.std(ddof=1))
    fair = [
        got["tasks"][name]["knows"]["blocked"]["mean"] for name in ("income", "gini")
    ]
    assert got["means"]["knows"]["blocked"]["mean"] == pytest.approx(np.mean(fair))
    assert got["leaky"] == {"age": "age shares are inputs"}
    assert got["left_out"] == {"line": "no LINE vectors"}
    assert got["warnings"] == ["look here"]
    assert got["notes"] == ["flows are simulated"]
    assert len(got["comparisons"]) == 4
    assert got["comparisons"][0]["tasks"] == 2
    assert got["comparisons"][0]["difference"] > 0.5


def test_a_single_split_has_no_deviation():
    report = evaluate([task()], MODELS, repeats=1, readouts=RIDGE)
    got = replace(report, pairs=[("knows", "noise")]).to_json()
    assert got["tasks"]["income"]["knows"]["random"]["std"] is None
    assert got["comparisons"][0]["standard_error"] is None


def test_only_leaky_tasks_have_no_means():
    report = evaluate([task(leaky="given")], MODELS, repeats=1, readouts=RIDGE)
    assert replace(report, pairs=[("knows", "noise")]).to_json()["means"] == {}


def test_comparing_an_unknown_model_is_refused():
    report = evaluate([task()], MODELS, repeats=1, readouts=RIDGE)
    with pytest.raises(MoraError, match="cannot compare 'knows' and 'magic' on 1"):
        report.compare("knows", "magic", "ridge", "random")


@pytest.mark.parametrize(
    ("tasks", "models", "message"),
    [
        ([task(), task()], MODELS, "no task name twice"),
        ([], MODELS, "at least one of each"),
        ([task()], {}, "models of shapes {}; expected at least one"),
        ([task()], {**MODELS, "short": np.zeros((3, 2))}, r"'short': \(3, 2\)"),
        ([task()], {"bad": np.full((N, 2), np.inf)}, "bad hold infinite values"),
        (
            [Task("flat", np.full(N, 3.0), BLOCKS)],
            MODELS,
            "task 'flat': all 300 labels are 3",
        ),
        (
            [
                Task(
                    "few",
                    np.where(np.arange(N) < 4, 1.0 * np.arange(N), np.nan),
                    BLOCKS,
                )
            ],
            MODELS,
            "task 'few': 1 blocks cannot be split",
        ),
        (
            [Task("few", np.where(BLOCKS < 4, HIDDEN[:, 0], np.nan), np.arange(N) * 0)],
            MODELS,
            "task 'few': 1 blocks cannot be split; expected at least 5",
        ),
        (
            [Task("rare", (np.arange(N) == 7) * 1.0, BLOCKS)],
            MODELS,
            "task 'rare': all labels of a blocked test set are equal, .* 2 distinct",
        ),
        (
            [Task("other", np.arange(5.0), np.arange(5))],
            MODELS,
            "task 'other': 5 labels, 5 blocks .* models have 300 tokens",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_the_first_fit(
    tasks, models, message
):
    with pytest.raises(MoraError, match=message):
        evaluate(tasks, models, readouts={"refusing": Refusing()})


REGIONS = np.arange(N) // 100
ALL = ["random", "blocked", "region", "kfold", "kfold-ordered", "random@10"]


def test_every_protocol_scores_and_the_model_that_knows_wins():
    report = evaluate(
        [task(regions=REGIONS)], MODELS, repeats=2, readouts=FAST, protocols=ALL
    )
    assert report.protocols == ALL
    trials = {name: report.trials(name) for name in ALL}
    assert trials == {**dict.fromkeys(ALL, 2), "region": 1, "kfold-ordered": 1}
    assert report.to_json()["trials"] == trials
    for protocol in ALL:
        assert report.table("knows", "ridge", protocol).min() > 0.99
        assert report.table("noise", "lightgbm", protocol).max() < 0.2


def test_protocols_do_not_change_each_other():
    usual = evaluate([task()], MODELS, repeats=2, readouts=RIDGE)
    turned = evaluate(
        [task()],
        MODELS,
        repeats=2,
        readouts=RIDGE,
        protocols=["kfold", "random", "blocked"],
    )
    for protocol in ("blocked", "random"):
        np.testing.assert_array_equal(
            usual.table("noise", "ridge", protocol),
            turned.table("noise", "ridge", protocol),
        )


def test_predictions_of_folds_are_pooled_around_the_mean_of_all_labels():
    report = evaluate(
        [task()], MODELS, repeats=2, readouts=RIDGE, protocols=["kfold"], seed=4
    )
    y, predicted = task().targets(), np.empty(N)
    for train, test in shuffled_folds(N, 5, 4, 1):
        x = MODELS["noise"]
        predicted[test] = RidgeReadout().fit_predict(x[train], y[train], x[test])
    got = report.table("noise", "ridge", "kfold")[0, 1]
    assert got == pytest.approx(r_squared(y, predicted))


def test_regions_are_scored_by_themselves_too(tmp_path):
    path = tmp_path / "scores.jsonl"
    higher = replace(task(regions=REGIONS), labels=task().labels + 9 * REGIONS)
    options = {"readouts": RIDGE, "protocols": ["region"]}
    report = evaluate([higher], MODELS, score_file=ScoreFile(path), **options)
    ((found,),) = [report.folds["income"]["knows"]["ridge"]["region"]]
    assert list(found) == ["0", "1", "2"]
    assert {fold.units for fold in found.values()} == {100}
    # The middle region lies between the others, so its mean alone is foreseen.
    assert found["1"].rmse < found["0"].rmse
    assert report.to_json()["regions"]["income"]["knows"]["ridge"]["region"] == [
        {name: fold._asdict() for name, fold in found.items()}
    ]
    again = evaluate([higher], MODELS, score_file=ScoreFile(path), **options)
    assert again == report
    assert report.only([]).folds == {}


def test_few_labels_read_less():
    noisy = replace(task(), labels=HIDDEN[:, 0] + RNG.normal(size=N))
    wide = {"wide": np.hstack([MODELS["knows"], RNG.normal(size=(N, 30))])}
    names = ["random@5", "random@50", "random"]
    report = evaluate([noisy], wide, readouts=RIDGE, protocols=names)
    means = [report.table("wide", "ridge", name).mean() for name in names]
    assert means == sorted(means)
    ratios = report.test_ratio["income"]
    assert ratios["random@5"] == ratios["random"]


def test_the_paper_readout_follows_the_scale_of_the_task():
    """Ridge for cities: its scores are those of ridge-1."""
    city = task("city", scale="city")
    report = evaluate(
        [city],
        MODELS,
        repeats=1,
        protocols=["kfold"],
        readouts=["lightgbm-paper", "ridge-1"],
    )
    np.testing.assert_array_equal(
        report.table("noise", "lightgbm-paper", "kfold"),
        report.table("noise", "ridge-1", "kfold"),
    )


def test_scales_do_not_share_scores(tmp_path):
    path = tmp_path / "scores.jsonl"

    class Short(PaperReadout):
        """The paper's settings with few trees."""

        def for_scale(self, scale):
            return replace(super().for_scale(scale), trees=3)

    for scale in ("grid", "county"):
        evaluate(
            [task(scale=scale)],
            {"knows": MODELS["knows"]},
            repeats=1,
            readouts={"paper": Short()},
            score_file=ScoreFile(path),
        )
    assert len(path.read_text().splitlines()) == 4


def test_widths_and_domains_are_told():
    tasks = [task(domain="economic"), task("gini", 1)]
    report = evaluate(tasks, MODELS, repeats=1, readouts=RIDGE)
    assert report.dims == {"knows": 6, "noise": 6}
    assert report.domains == {"income": "economic"}
    assert report.to_json()["dims"] == report.dims


@pytest.mark.parametrize(
    ("protocols", "message"),
    [
        (["blocked", "regio"], "no protocol 'regio'.*Did you mean 'region'"),
        (["region"], "task 'income': the task has no regions"),
        (["random", "random"], "at least one and none twice"),
        (["random@1"], "task 'income': 1 % of 240 training rows are 2"),
    ],
)
def test_protocols_that_cannot_be_followed_are_refused(protocols, message):
    with pytest.raises(MoraError, match=message):
        evaluate([task()], MODELS, protocols=protocols, readouts={"r": Refusing()})


def test_a_single_trial_has_no_error_of_its_difference():
    report = evaluate(
        [task()], MODELS, readouts=RIDGE, protocols=["kfold-ordered", "random"]
    )
    report = replace(report, pairs=[("knows", "noise")])
    assert np.isnan(
        report.compare("knows", "noise", "ridge", "kfold-ordered").standard_error
    )
    one, five = report.to_json()["comparisons"]
    assert one["standard_error"] is None
    assert one["by_task"]["income"]["standard_error"] is None
    assert five["by_task"]["income"]["standard_error"] > 0
    assert five["by_task"]["income"]["wins"] == five["splits"] == 5
