import importlib

import numpy as np
import pytest

from mora.benchmark import ScoreFile, Task, evaluate
from mora.benchmark.candidates import candidates_of, choose_candidate
from mora.benchmark.readouts import RidgeReadout
from mora.errors import MoraError

N = 200
RNG = np.random.default_rng(0)
HIDDEN = RNG.normal(size=N)
BLOCKS = np.arange(N) // 10
GOOD = np.column_stack([HIDDEN, RNG.normal(size=N)]).astype(np.float32)
NOISE = RNG.normal(size=(N, 3)).astype(np.float32)
FAIR = np.column_stack([HIDDEN + RNG.normal(size=N), NOISE]).astype(np.float32)
TASK = Task("income", HIDDEN * 3 + 10, BLOCKS, regions=np.arange(N) // 50)
RIDGE = {"ridge": RidgeReadout()}


def leaking(test: np.ndarray) -> np.ndarray:
    """Noise in training rows, the label itself in test rows."""
    vectors = NOISE.copy()
    vectors[test] = HIDDEN[test, None]
    return vectors


def test_the_candidate_that_knows_is_taken():
    train = np.arange(0, N, 2)
    assert choose_candidate([NOISE, GOOD, FAIR], HIDDEN, train) == 1
    assert choose_candidate([GOOD, NOISE], HIDDEN, train, BLOCKS) == 0


def test_what_leaks_in_test_rows_alone_is_not_taken():
    train = np.flatnonzero(np.arange(N) % 5 > 0)
    test = np.setdiff1d(np.arange(N), train)
    assert choose_candidate([leaking(test), FAIR], HIDDEN, train) == 1


def test_test_rows_change_nothing():
    train = np.arange(100)
    labels, vectors = HIDDEN.copy(), [NOISE.copy(), FAIR.copy()]
    first = choose_candidate(vectors, labels, train, BLOCKS)
    labels[100:] = 7e9
    for x in vectors:
        x[100:] = np.nan
    assert choose_candidate(vectors, labels, train, BLOCKS) == first == 1


def test_groups_are_held_out_whole():
    """Each block's own number tells all of it within the block, nothing outside."""
    rng = np.random.default_rng(1)
    level = rng.normal(size=20)
    y = level[BLOCKS] + 0.5 * HIDDEN
    one_hot = np.eye(20, dtype=np.float32)[BLOCKS] * 3
    candidates, train = [one_hot, GOOD], np.arange(N)
    assert choose_candidate(candidates, y, train) == 0
    assert choose_candidate(candidates, y, train, BLOCKS) == 1


def test_the_seed_draws_the_inner_folds():
    close = [RNG.normal(size=(40, 2)) for _ in range(6)]
    y, train = RNG.normal(size=40), np.arange(40)
    assert len({choose_candidate(close, y, train, seed=seed) for seed in range(8)}) > 1


def test_equal_candidates_and_equal_labels_take_the_first():
    train = np.arange(60)
    assert choose_candidate([GOOD, GOOD], HIDDEN, train) == 0
    assert choose_candidate([NOISE, GOOD], np.ones(N), train) == 0
    assert choose_candidate([NOISE], HIDDEN, train) == 0


def test_training_rows_of_one_block_are_divided_freely():
    assert choose_candidate([NOISE, GOOD], HIDDEN, np.arange(60), BLOCKS * 0) == 1


def test_a_matrix_is_its_only_candidate():
    assert candidates_of(GOOD)[0] is GOOD
    assert len(candidates_of((GOOD, NOISE))) == 2


@pytest.mark.parametrize("protocol", ["random", "blocked", "region", "kfold"])
def test_choices_are_recorded_and_scored(protocol):
    models = {"ours": FAIR, "tuned": [NOISE, GOOD], "good": GOOD, "one": [NOISE]}
    report = evaluate(
        [TASK], models, repeats=2, readouts=RIDGE, protocols=[protocol], threads=2
    )
    folds = {"region": 4, "kfold": 10}.get(protocol, 2)
    assert report.chosen == {"tuned": {"income": {protocol: [1] * folds}}}
    assert report.to_json()["chosen"] == report.chosen
    tuned, good = (report.table(m, "ridge", protocol) for m in ("tuned", "good"))
    np.testing.assert_array_equal(tuned, good)
    assert report.dims == {"ours": 4, "tuned": 3, "good": 2, "one": 3}


def test_readouts_share_a_choice():
    readouts = {"a": RidgeReadout(), "b": RidgeReadout()}
    report = evaluate([TASK], {"tuned": [NOISE, GOOD]}, repeats=3, readouts=readouts)
    assert report.chosen["tuned"]["income"] == {"blocked": [1] * 3, "random": [1] * 3}
    assert report.only([]).chosen == {"tuned": {}}


def test_a_leak_in_test_rows_is_not_taken_in_an_evaluation():
    """The last region is leaked; it trains in every fold but its own."""
    report = evaluate(
        [TASK],
        {"tuned": [leaking(np.arange(150, N)), FAIR]},
        readouts=RIDGE,
        protocols=["region"],
    )
    assert report.chosen["tuned"]["income"]["region"][3] == 1


def test_finished_choices_come_from_the_score_file(tmp_path, monkeypatch):
    path, models = tmp_path / "scores.jsonl", {"tuned": [NOISE, GOOD]}
    options = {"repeats": 2, "readouts": RIDGE}
    first = evaluate([TASK], models, score_file=ScoreFile(path), **options)

    def refuse(*_args):
        raise AssertionError("chosen again")

    # The package's attribute `evaluate` is the function; the module is found by name.
    module = importlib.import_module("mora.benchmark.evaluate")
    monkeypatch.setattr(module, "choose_candidate", refuse)
    again = evaluate([TASK], models, score_file=ScoreFile(path), **options)
    assert again == first
    for changed in ({"tuned": [GOOD, NOISE]}, {"tuned": [NOISE, GOOD, FAIR]}):
        with pytest.raises(AssertionError, match="chosen again"):
            evaluate([TASK], changed, score_file=ScoreFile(path), **options)


def test_one_candidate_is_a_plain_model(tmp_path):
    path, options = tmp_path / "scores.jsonl", {"repeats": 2, "readouts": RIDGE}
    plain = evaluate([TASK], {"m": GOOD}, score_file=ScoreFile(path), **options)
    size = path.stat().st_size
    single = evaluate([TASK], {"m": [GOOD]}, score_file=ScoreFile(path), **options)
    assert single == plain
    assert path.stat().st_size == size


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ([], r"models of shapes {'m': \[\]}; expected at least one"),
        ([GOOD, GOOD[:5]], r"\(200, 2\), \(5, 2\)"),
        ([GOOD, GOOD * np.inf], "the vectors of m hold infinite values"),
    ],
)
def test_unusable_candidates_are_refused(model, message):
    with pytest.raises(MoraError, match=message):
        evaluate([TASK], {"m": model}, readouts=RIDGE)
