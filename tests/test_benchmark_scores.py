import json

import numpy as np
import pytest
from sklearn.metrics import r2_score

from mora.benchmark.scores import ScoreFile, ScoreKey, fingerprint, r_squared
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
    ScoreFile(path).add(KEY, "a", 0.1 + 0.2)
    again = ScoreFile(path)
    assert again.get(KEY, "a") == 0.1 + 0.2
    assert again.get(KEY._replace(split=1), "a") is None


def test_scores_of_other_inputs_do_not_count(tmp_path):
    scores = ScoreFile(tmp_path / "scores.jsonl")
    scores.add(KEY, "a", 0.5)
    assert scores.get(KEY, "b") is None


def test_a_score_is_written_once(tmp_path):
    scores = ScoreFile(tmp_path / "scores.jsonl")
    for _ in range(2):
        scores.add(KEY, "a", 0.5)
    assert len(scores.path.read_text().splitlines()) == 1


def test_a_torn_last_line_is_dropped(tmp_path):
    path = tmp_path / "scores.jsonl"
    scores = ScoreFile(path)
    for split in range(3):
        scores.add(KEY._replace(split=split), "a", split / 10)
    path.write_bytes(path.read_bytes()[:-9])
    again = ScoreFile(path)
    assert again.get(KEY._replace(split=1), "a") == 0.1
    assert again.get(KEY._replace(split=2), "a") is None
    again.add(KEY._replace(split=2), "a", 0.2)
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
