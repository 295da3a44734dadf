import csv
import io

import numpy as np
import pytest

from mora.errors import MoraError
from mora.trajectories.raw.evaluation import (
    Evaluation,
    Published,
    forecast_scores,
)
from mora.trajectories.raw.tasks import TaskScore

NAN = float("nan")


def score(task, metric, model, *values):
    return TaskScore(task, model, metric, values)


def good():
    return [
        score("commuter", "accuracy", "raw", 0.9, 0.92),
        score("commuter", "accuracy", "rule", 0.8, 0.84),
        score("transit use", "pearson", "raw", 0.75, 0.77),
        score("transit use", "pearson", "mean", NAN, NAN),
        score("transit use", "mae", "raw", 1.0, 2.0),
        score("transit use", "mae", "mean", 3.0, 3.0),
    ]


def test_table_shows_scores_beside_baselines_and_published_figures():
    lines = Evaluation(good(), "raw").to_markdown().splitlines()
    assert lines[0] == "| task | metric | raw | rule | mean | published | verdict |"
    assert lines[2] == (
        "| commuter | accuracy | **0.910 ± 0.014** | 0.820 ± 0.028 | - | >= 0.85 "
        "| reached |"
    )
    assert lines[3].startswith("| transit use | pearson | **0.760 ± 0.014** | - | - |")
    assert lines[4].startswith("| transit use | mae | **1.500 ± 0.707** | - | 3.000 ± ")
    assert "Warning" not in "\n".join(lines)


def test_a_single_split_has_no_deviation():
    alone = Evaluation([score("trips", "mae", "raw", 1.25)], "raw")
    assert "| **1.250** |" in alone.to_markdown()
    (row,) = csv.DictReader(io.StringIO(alone.to_csv()))
    assert (row["mean"], row["std"], row["values"]) == ("1.25", "", "1")


def test_csv_has_a_line_for_each_model():
    rows = list(csv.DictReader(io.StringIO(Evaluation(good(), "raw").to_csv())))
    assert len(rows) == len(good())
    first, second = rows[:2]
    assert float(first["mean"]) == pytest.approx(0.91)
    assert (first["published"], first["verdict"]) == ("0.85", "reached")
    assert (second["model"], second["verdict"]) == ("rule", "")
    assert rows[3]["mean"] == ""  # the correlation of a constant


def test_failure_signs_are_warned_of():
    scores = [
        score("commuter", "accuracy", "raw", 0.55),
        score("commuter", "accuracy", "rule", 0.95),
        score("forecast", "km at 150 min", "raw", 3.0),
        score("forecast", "km at 150 min", "persistence", 2.0),
    ]
    evaluation = Evaluation(scores, "raw", signs=["the loss fell by 0.01 only."])
    assert evaluation.warnings() == [
        "the loss fell by 0.01 only.",
        "commuter: accuracy 0.550 is below 0.6, a sign of failure.",
        "commuter: accuracy 0.550 is not better than that of rule (0.950).",
        "commuter: the published accuracy (>= 0.85) is not reproduced; measured 0.550.",
        "forecast: km at 150 min 3.000 is not better than that of persistence (2.000).",
        "forecast: the published km at 150 min (<= 2.5) is not reproduced; measured "
        "3.000.",
    ]
    text = evaluation.to_markdown()
    assert text.count("- Warning: ") == 6
    assert "| not reproduced |" in text


def test_the_judged_model_and_the_published_figures_can_be_others():
    assert Evaluation(good(), "rule").warnings()
    figures = (Published("commuter", "accuracy", 0.99),)
    changed = Evaluation(good(), "raw", published=figures)
    assert len(changed.warnings()) == 1
    assert ">= 0.99 | not reproduced" in changed.to_markdown()


def test_order_of_the_models_does_not_change_the_warnings():
    forward, backward = (
        Evaluation(s, "raw").warnings() for s in (good(), good()[::-1])
    )
    assert sorted(forward) == sorted(backward)


def test_files_are_written(tmp_path):
    evaluation = Evaluation(good(), "raw")
    evaluation.write(tmp_path / "new")
    written = tmp_path / "new" / "evaluation.md"
    assert written.read_text(encoding="utf-8") == evaluation.to_markdown()
    assert (tmp_path / "new" / "evaluation.csv").read_text() == evaluation.to_csv()


def test_a_model_without_scores_is_refused():
    with pytest.raises(MoraError, match="no score of the model 'gpt'; expected one"):
        Evaluation(good(), "gpt")
    with pytest.raises(MoraError, match="expected one of no models"):
        Evaluation([], "raw")


def test_forecast_errors_become_scores_by_horizon():
    minutes = np.array([15.0, 30.0, 45.0])
    runs = [
        {"raw": np.array([[1.0, 2, 3], [NAN, 4, 5]]), "stay": np.full((2, 3), 9.0)},
        {"raw": np.array([[3.0, 2, 3]]), "stay": np.full((1, 3), NAN)},
    ]
    scores = forecast_scores(minutes, runs, horizons=(15, 30))
    found = {(s.model, s.metric): s.values for s in scores}
    assert found["raw", "km at 15 min"] == (1.0, 3.0)
    assert found["raw", "km at 30 min"] == (3.0, 2.0)
    assert found["stay", "km at 30 min"][0] == 9
    assert np.isnan(found["stay", "km at 30 min"][1])
    assert len(scores) == 4
    with pytest.raises(MoraError, match=r"2 runs with errors at 15.0, 30.0, 45.0 min"):
        forecast_scores(minutes, runs)
    with pytest.raises(MoraError, match="0 runs with errors"):
        forecast_scores(minutes, [], horizons=(15,))
