import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from mora.benchmark.report import print_report, remarks, score_tables, to_markdown
from mora.benchmark.results import Report

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
