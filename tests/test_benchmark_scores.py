import json

import numpy as np
import pytest
from sklearn.metrics import r2_score

from mora.benchmark.scores import (
    FoldScore,
    Score,
    ScoreFile,
    ScoreKey,
    fingerprint,
    fold_score,
    r_squared,
)
from mora.errors import MoraError

KEY = ScoreKey("income", "mora", "ridge", "blocked", 0)


def test_r_squared_by_hand():
    # errors 1 and -1 against deviations -2, 0, 2
    got = r_squared(np.array([0.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]))
    assert got == pytest.approx(1 - 2 / 8)


def test_r_squared_agrees_with_scikit_learn():
    truth, predicted = np.random.default_rng(0).normal(size=(2, 50))
    assert r_squared(truth, predicted) == pytest.approx(r2_score(truth, predicted))


def test_the_mean_explains_nothing():
    truth = np.array([1.0, 2.0, 6.0])
    assert r_squared(truth, np.full(3, 3.0)) == pytest.approx(0)


def test_finished_scores_are_found_after_reopening(tmp_path):
    path = tmp_path / "scores.jsonl"
    ScoreFile(path).add(KEY, "a", Score(0.1 + 0.2))
    again = ScoreFile(path)
    assert again.get(KEY, "a") == Score(0.1 + 0.2)
    assert again.get(KEY._replace(split=1), "a") is None


def test_scores_of_other_inputs_do_not_count(tmp_path):
    scores = ScoreFile(tmp_path / "scores.jsonl")
    scores.add(KEY, "a", Score(0.5))
    assert scores.get(KEY, "b") is None


def test_a_score_is_written_once(tmp_path):
    scores = ScoreFile(tmp_path / "scores.jsonl")
    for _ in range(2):
        scores.add(KEY, "a", Score(0.5))
    assert len(scores.path.read_text().splitlines()) == 1


def test_a_torn_last_line_is_dropped(tmp_path):
    path = tmp_path / "scores.jsonl"
    scores = ScoreFile(path)
    for split in range(3):
        scores.add(KEY._replace(split=split), "a", Score(split / 10))
    path.write_bytes(path.read_bytes()[:-9])
    again = ScoreFile(path)
    assert again.get(KEY._replace(split=1), "a") == Score(0.1)
    assert again.get(KEY._replace(split=2), "a") is None
    again.add(KEY._replace(split=2), "a", Score(0.2))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["split"] for line in lines] == [0, 1, 2]


@pytest.mark.parametrize("line", ["not json", '{"task": "x"}', "[]"])
def test_a_broken_line_is_named(tmp_path, line):
    path = tmp_path / "scores.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(MoraError, match=r"line 1 is no score .* Delete the line"):
        ScoreFile(path)


def test_fingerprints_tell_values_shapes_and_settings_apart():
    x = np.arange(6.0)
    same = [fingerprint(x, 1), fingerprint(x.copy(), 1)]
    others = [
        fingerprint(x + 1, 1),
        fingerprint(x.reshape(2, 3), 1),
        fingerprint(x.astype(np.float32), 1),
        fingerprint(x, 2),
        fingerprint(x),
    ]
    assert same[0] == same[1]
    assert len({same[0], *others}) == 6


def test_choices_and_regions_are_kept(tmp_path):
    path = tmp_path / "scores.jsonl"
    folds = {"3": FoldScore(7, 0.25, 1.5), "4": FoldScore(1, None, 0.5)}
    score = Score(0.5, (1, 0), folds)
    ScoreFile(path).add(KEY, "a", score)
    assert ScoreFile(path).get(KEY, "a") == score


def test_a_plain_score_is_written_as_it_always_was(tmp_path):
    path = tmp_path / "scores.jsonl"
    ScoreFile(path).add(KEY, "a", Score(0.5))
    assert list(json.loads(path.read_text())) == [*KEY._fields, "fingerprint", "r2"]


def test_a_fold_is_scored_around_its_own_mean():
    got = fold_score(np.array([10.0, 12.0]), np.array([10.0, 11.0]))
    assert got == FoldScore(2, 0.5, np.sqrt(0.5))


def test_a_fold_of_equal_labels_has_no_r2():
    assert fold_score(np.ones(3), np.full(3, 3.0)) == FoldScore(3, None, 2.0)
