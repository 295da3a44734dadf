import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from mora.benchmark.report import print_report, remarks, score_tables, to_markdown
from mora.benchmark.results import Report
from mora.benchmark.tables import gain_percent, to_csv

SPLITS = {"blocked": [0.25, 0.35], "random": [0.5, 0.5]}


def entry(shift: float) -> dict:
    return {
        readout: {
            protocol: [score + shift for score in scores]
            for protocol, scores in SPLITS.items()
        }
        for readout in ("lightgbm", "ridge")
    }


@pytest.fixture
def report() -> Report:
    models = {"mora": entry(0.1), "line|v": entry(0.0)}
    turned = {"mora": entry(-0.05), "line|v": entry(0.0)}
    return Report(
        scores={"income": models, "gini": turned, "age": models},
        readouts={"lightgbm": "LightGBM, quick", "ridge": "Ridge"},
        samples={"income": 3106, "gini": 90, "age": 80},
        test_ratio={
            name: dict.fromkeys(SPLITS, 0.25) for name in ("income", "gini", "age")
        },
        leaky={"age": "age shares are inputs"},
        left_out={"harmonics": "this run has no lon/lat"},
        warnings=["label 'x' can be read"],
        notes=["flows are [simulated]"],
        pairs=[("mora", "line|v")],
    )


def test_blocked_comes_first_and_leaky_tasks_last(report):
    titles = [table.title for table in score_tables(report)]
    assert [title.split(";")[0] for title in titles[:2]] == [
        "R2, blocked splits (2), LightGBM, quick",
        "R2, random splits (2), LightGBM, quick",
    ]
    assert ["given away" in title for title in titles] == [False] * 4 + [True] * 4


def test_rows_are_models_and_columns_tasks(report):
    table = next(score_tables(report))
    assert table.columns == ["model", "income (n=3,106)", "gini (n=90)", "mean"]
    assert table.rows == [
        ["mora", "0.400 ± 0.071", "0.250 ± 0.071", "0.325 ± 0.071"],
        ["line|v", "0.300 ± 0.071", "0.300 ± 0.071", "0.300 ± 0.071"],
    ]
    assert table.best[0][:2] == [True, False]
    assert table.best[1][:2] == [False, True]


def test_leaky_tables_have_no_mean(report):
    assert list(score_tables(report))[-1].columns == ["model", "age (n=80)"]


def test_markdown_is_a_table_with_the_best_in_bold(report):
    lines = to_markdown(report).splitlines()
    assert "| model | income (n=3,106) | gini (n=90) | mean |" in lines
    assert "| --- | ---: | ---: | ---: |" in lines
    bold = [line for line in lines if line.startswith("| mora | **0.400 ± 0.071**")]
    assert len(bold) == 2 * 2
    assert any(line.startswith(r"| line\|v | ") for line in lines)
    assert "- Note: flows are [simulated]" in lines


def test_remarks_tell_what_the_tables_cannot(report):
    said = "\n".join(remarks(report))
    assert "Given away: age: age shares are inputs" in said
    assert "Left out: harmonics: this run has no lon/lat" in said
    assert "Warning: label 'x' can be read" in said
    assert (
        "mora against line|v (lightgbm, blocked): R2 +0.025 ± 0.000 (plain 0.000) over "
        "2 tasks and 2 splits; higher on 1 of 2 tasks"
    ) in said
    assert "Nadeau and Bengio 2003" in said


def test_nothing_to_compare_needs_no_word_about_errors(report):
    assert not any("Nadeau" in line for line in remarks(replace(report, pairs=())))


def test_screen_shows_the_same_numbers(report):
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=120))
    text = stream.getvalue()
    assert text.count("0.400") == 4
    assert text.count("over splits ± 0.071") == 2  # of the mean, blocked
    assert "flows are [simulated]" in text
    assert "R2, blocked splits (2)" in text


def test_screen_sets_the_best_in_bold(report):
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=120, force_terminal=True))
    assert re.search(r"\x1b\[1m *0\.400", stream.getvalue())


def test_only_leaky_tasks_leave_the_first_tables_out(report):
    everything = dict.fromkeys(report.scores, "given")
    tables = list(score_tables(replace(report, leaky=everything)))
    assert len(tables) == 4
    assert tables[0].columns[-1] == "age (n=80)"


def test_a_single_split_shows_no_deviation(report):
    alone = {
        readout: {protocol: [0.5] for protocol in SPLITS}
        for readout in ("lightgbm", "ridge")
    }
    single = replace(report, scores={"age": {"mora": alone}}, pairs=())
    assert next(score_tables(single)).rows == [["mora", "0.500"]]


def test_a_part_of_the_report_has_means_over_its_own_tasks(report):
    part = report.only(["gini"]).to_json()
    assert list(part["tasks"]) == list(part["samples"]) == ["gini"]
    alone = report.to_json()["tasks"]["gini"]["mora"]["blocked"]["mean"]
    assert part["means"]["mora"]["blocked"]["mean"] == pytest.approx(alone)
    assert part["leaky"] == {}


@pytest.fixture
def wide(report) -> Report:
    return replace(
        report,
        dims={"mora": 128, "line|v": 1064},
        domains={"income": "economic", "gini": "social", "age": "social"},
    )


def test_width_and_domain_means_are_columns(wide):
    table = next(score_tables(wide))
    assert table.columns == [
        "model",
        "dim",
        "income (n=3,106)",
        "gini (n=90)",
        "mean economic",
        "mean social",
        "mean",
    ]
    assert table.rows[0][:3] == ["mora", "128", "0.400 ± 0.071"]
    assert table.rows[1][1] == "1,064"
    assert table.best[0] == [False, True, False, True, False, True]
    leaky = list(score_tables(wide))[-1]
    assert leaky.columns == ["model", "dim", "age (n=80)"]


def test_one_domain_alone_needs_no_mean_of_its_own(report):
    social = replace(report, domains=dict.fromkeys(report.scores, "social"))
    assert list(social.fair_means()) == ["mean"]
    assert social.to_json()["domain_means"] == {}


def test_domain_means_are_in_the_json(wide):
    got = wide.to_json()["domain_means"]
    assert list(got) == ["economic", "social"]
    assert got["social"]["mora"]["blocked"]["mean"] == pytest.approx(0.25)


def test_gains_are_over_the_best_other_model(report):
    third = {
        task: {**models, "best": entry(0.3)} for task, models in report.scores.items()
    }
    table = next(score_tables(replace(report, scores=third)))
    # income: 0.4 against 0.6; gini: 0.25 against 0.6; mean: 0.325 against 0.6
    assert table.gains == ["-33.3 %", "-58.3 %", "-45.8 %"]
    assert next(score_tables(report)).gains == ["+33.3 %", "-16.7 %", "+8.3 %"]


def test_the_mean_gain_is_over_the_single_best_model():
    """Each other model wins a task; the gain in the mean is over one of them."""
    scores = {
        "a": {"ours": 0.4, "x": 0.5, "y": 0.1},
        "b": {"ours": 0.4, "x": 0.1, "y": 0.5},
    }
    report = Report(
        scores={
            task: {m: {"ridge": {"random": [r2]}} for m, r2 in models.items()}
            for task, models in scores.items()
        },
        readouts={"ridge": "Ridge"},
        samples={"a": 9, "b": 9},
        test_ratio={"a": {"random": 0.25}, "b": {"random": 0.25}},
    )
    assert next(score_tables(report)).gains == ["-20.0 %", "-20.0 %", "+33.3 %"]


def test_gain_by_hand():
    assert gain_percent(0.6, np.array([0.5, 0.1])) == pytest.approx(20)
    assert gain_percent(0.5, np.array([0.5])) == 0
    assert gain_percent(0.6, np.array([0.0, -0.1])) is None
    assert gain_percent(0.6, np.array([])) is None


def test_one_model_has_no_gain(report):
    alone = {task: {"mora": models["mora"]} for task, models in report.scores.items()}
    single = replace(report, scores=alone, pairs=())
    assert next(score_tables(single)).gains == []
    assert "gain" not in to_markdown(single)


def test_markdown_ends_with_the_gain(wide):
    text = to_markdown(wide)
    assert "| gain |  | +33.3 % | -16.7 % | +33.3 % | -16.7 % | +8.3 % |" in text
    assert "| mora | 128 | **0.400 ± 0.071** |" in text
    assert "- The gain is by how many percent the first model's mean R2" in text


def test_csv_holds_every_cell(wide):
    rows = list(csv.DictReader(io.StringIO(to_csv(wide))))
    assert len(rows) == 2 * 2 * 2 * 6  # readouts, protocols, models, columns
    first = rows[0]
    assert first["task"] == "income"
    assert (first["model"], first["dim"], first["units"]) == ("mora", "128", "3106")
    assert float(first["mean"]) == pytest.approx(0.4)
    assert float(first["std"]) == pytest.approx(0.0707, abs=1e-4)
    assert float(first["gain_percent"]) == pytest.approx(33.333, abs=1e-3)
    assert rows[1]["gain_percent"] == ""
    (mean,) = [
        row
        for row in rows
        if (row["task"], row["model"], row["readout"], row["protocol"])
        == ("mean", "line|v", "ridge", "random")
    ]
    assert (mean["tasks"], mean["units"], mean["splits"]) == ("2", "", "2")
    assert float(mean["mean"]) == pytest.approx(0.5)


def test_screen_stays_within_its_width(report):
    """Many models of long names and many tasks."""
    models = {f"baseline-number-{i}": entry(i / 100) for i in range(20)}
    names = [f"a rather long name of task {i}" for i in range(9)]
    large = replace(
        report,
        scores=dict.fromkeys(names, models),
        samples=dict.fromkeys(names, 1000),
        test_ratio=dict.fromkeys(names, report.test_ratio["income"]),
        leaky={},
        pairs=(),
        dims=dict.fromkeys(models, 128),
    )
    stream = io.StringIO()
    print_report(large, Console(file=stream, width=100))
    text = stream.getvalue()
    assert max(len(line) for line in text.splitlines()) <= 100
    assert text.count("…") == 0
    for model in models:
        assert len(re.findall(rf"{model}(?!\d)", text)) == 4
    assert text.count(" gain") == 4 + 1  # a column a table, and the remark


def test_screen_shows_width_and_gain(wide):
    stream = io.StringIO()
    print_report(wide, Console(file=stream, width=100))
    text = stream.getvalue()
    assert re.search(r"dim +128 +1,064", text)
    assert re.search(r"income +0\.400 +0\.300 +\+33\.3 %", text)


def test_a_single_split_is_said_to_have_no_error(report):
    once = {
        task: {
            model: {
                readout: {name: scores[:1] for name, scores in found.items()}
                for readout, found in by_readout.items()
            }
            for model, by_readout in models.items()
        }
        for task, models in report.scores.items()
    }
    single = replace(report, scores=once)
    assert "(error unknown from a single split)" in "\n".join(remarks(single))
    assert "one score, so no deviation is known" in next(score_tables(single)).title
    stream = io.StringIO()
    print_report(single, Console(file=stream, width=100))
    assert "over splits" not in stream.getvalue()


def test_tuned_models_are_named(report):
    tuned = replace(report, chosen={"line|v": {"income": {"blocked": [0, 2]}}})
    assert any("Tuned within the training rows: line|v" in r for r in remarks(tuned))


def test_differences_by_task(report):
    got = report.differences("mora", "line|v", "ridge", "random")
    assert list(got) == ["income", "gini"]
    assert got["income"].difference == pytest.approx(0.1)
    assert got["gini"].wins == 0
