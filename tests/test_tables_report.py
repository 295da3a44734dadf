import json

import numpy as np
import pandas as pd
import pytest

from mora.errors import TableError
from mora.tables import Problem, TableReport
from mora.tables.inspection import Inspection

FAR = Problem(
    "coordinates out of range", 2, ("row 3: lat 95", "row 9: lat 99"), "dropped"
)


def report(**changes):
    values = {"kind": "visits", "source": "a.csv", "rows_read": 1200, "rows_kept": 1198}
    return TableReport(**{**values, "problems": (FAR,), **changes})


def test_description_has_counts_and_examples():
    assert report().describe() == (
        "a.csv: 1,198 of 1,200 visits kept\n  2 of 1,200 visits dropped: coordinates "
        "out of range (first: row 3: lat 95; row 9: lat 99)"
    )
    assert report(problems=()).describe() == "a.csv: 1,198 of 1,200 visits kept"


def test_merge_adds_up_and_keeps_three_examples():
    both = report().merge(report(source="b.csv", rows_read=10, rows_kept=8))
    assert (both.rows_read, both.rows_kept, both.source) == (1210, 1206, "a.csv, b.csv")
    (problem,) = both.problems
    assert problem.count == 4
    assert problem.examples == (*FAR.examples, "row 3: lat 95")


def test_merge_keeps_other_problems_apart():
    noted = Problem(FAR.name, 1, (), "kept")
    assert report().merge(report(problems=(noted,))).problems == (FAR, noted)
    assert report().merge(report()).source == "a.csv"


def test_merge_refuses_another_kind():
    with pytest.raises(
        TableError, match=r"reports on visits and on flows cannot be mer"
    ):
        report().merge(report(kind="flows"))


def test_json_comes_back_from_text():
    plain = report().to_json()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["problems"][0]["examples"] == list(FAR.examples)
    assert plain["rows_kept"] == 1198


@pytest.fixture
def inspection():
    frame = pd.DataFrame({"id": list("abcde"), "v": [1.0, 2.0, 3.0, 4.0, 1234.5678]})
    return Inspection(frame, "labels", "labels.csv")


def test_rows_leave_only_with_a_reason(inspection):
    inspection.drop(np.array([True, False, True, True, True]), "too odd", "v")
    inspection.note(np.array([True]), "even", "id")
    inspection.drop(np.array([False]), "never")
    frame, found = inspection.result()
    assert frame.to_dict("list") == {"id": ["b"], "v": [2.0]}
    assert (found.rows_read, found.rows_kept) == (5, 1)
    assert found.problems == (
        Problem("too odd", 4, ("row 1: v 1", "row 3: v 3", "row 4: v 4"), "dropped"),
        Problem("even", 1, ("row 2: id b",), "kept"),
    )


def test_examples_are_short(inspection):
    inspection.put("id", np.array(["x" * 99] * 5, dtype=object))
    inspection.note(np.arange(5) == 4, "long", "id", "v")
    assert inspection.problems[0].examples == (f"row 5: id {'x' * 37}..., v 1235",)


def test_refusal_says_what_where_and_what_to_do(inspection):
    inspection.refuse(np.zeros(5, dtype=bool), "fine", "Nothing to do.")
    message = r"labels.csv: 1 of 5 labels refused: bad \(first: row 4: id d\). Mend it."
    with pytest.raises(TableError, match=message):
        inspection.refuse(np.arange(5) == 3, "bad", "Mend it.", "id")


def test_mostly_bad_tables_are_refused(inspection):
    inspection.drop(np.arange(5) < 2, "bad")
    inspection.refuse_mostly_bad(0.4)
    message = r"2 of 5 labels dropped: bad .*accepted share of 0.39\. Check `columns:`"
    with pytest.raises(TableError, match=message):
        inspection.refuse_mostly_bad(0.39)


@pytest.mark.parametrize("index", [["p", "q"], [7, 7]])
def test_given_frame_stays_as_it_was(index):
    frame = pd.DataFrame({"id": ["a", "b"], "v": [1, 2]}, index=index)
    before = frame.copy()
    inspection = Inspection(frame, "labels", "labels")
    inspection.put("v", np.array([5, 6]))
    inspection.drop(np.array([False, True]), "bad")
    pd.testing.assert_frame_equal(frame, before)
    assert inspection.problems[0].examples == ("row 2",)
