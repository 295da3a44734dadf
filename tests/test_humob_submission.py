import gzip
import itertools

import numpy as np
import pytest

from mora.errors import MissingFileError, MoraError, TableError
from mora.tokens import GridTokens, H3Tokens
from mora.trajectories.events import MASKED, build_events
from mora.trajectories.humob.files import write_humob
from mora.trajectories.humob.rules import RULES
from mora.trajectories.humob.submission import validate_submission, write_submission

NAME = "dream-team_cityB_humob.csv"
CELL = np.array([[6, 7]])
TOKENS = GridTokens.from_xy(np.array([[5, 5], [6, 7], [199, 200]]))


def challenge(users=(22000, 22001, 22002), days=(60, 74)):
    """Give users with one known event and two masked ones on each of some days."""
    rows = [(user, 3, 10, 0) for user in users]
    rows += [(u, d, t, MASKED) for u, d, t in itertools.product(users, days, (8, 20))]
    return build_events(*np.array([*rows, (1, 2, 3, 1)]).T, TOKENS)


def good_lines(first_day=0):
    rows = itertools.product((22000, 22001, 22002), (60, 74), (8, 20))
    return [f"{u},{d + first_day},{t},6,7" for u, d, t in rows]


def write(path, lines, header="uid,d,t,x,y"):
    text = "\n".join([*([header] if header else []), *lines]) + "\n"
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt") as file:
        file.write(text)
    return path


def findings(path, rules="humob2024", **options):
    report = validate_submission(path, challenge(**options), rules)
    assert report.valid == (not report.findings)
    return {finding.name: (finding.count, finding.first) for finding in report.findings}


@pytest.mark.parametrize("name", [NAME, NAME + ".gz"])
@pytest.mark.parametrize("header", ["uid,d,t,x,y", None])
def test_a_good_submission_is_valid(tmp_path, name, header):
    report = validate_submission(
        write(tmp_path / name, good_lines(), header), challenge()
    )
    assert (report.valid, report.rows, report.users) == (True, 12, 3)
    assert report.lines() == [f"{name}, rules humob2024: 12 rows of 3 users, valid"]


def test_the_challenge_may_be_a_file(tmp_path):
    write_humob(challenge(), tmp_path / "cityB_challengedata.csv.gz")
    path = write(tmp_path / NAME, good_lines())
    assert validate_submission(path, tmp_path / "cityB_challengedata.csv.gz").valid


def edited(change):
    lines = good_lines()
    change(lines)
    return lines


def replace(old, new):
    return lambda lines: lines.__setitem__(0, lines[0].replace(old, new))


@pytest.mark.parametrize(
    ("change", "name", "count", "first"),
    [
        (lambda lines: lines.pop(3), "events missing", 1, "22000,74,20"),
        (lambda lines: lines.insert(4, lines[3]), "events twice", 1, "22000,74,20"),
        (
            lambda lines: lines.insert(1, "22000,60,9,6,7"),
            "events that are not masked",
            1,
            "22000,60,9",
        ),
        (
            lambda lines: lines.insert(0, "22000,59,9,6,7"),
            "days outside 60 to 74",
            1,
            "22000,59,9",
        ),
        (lambda lines: lines.__delitem__(slice(8, 12)), "users missing", 1, "22002"),
        (
            lambda lines: lines.insert(0, "1,60,9,6,7"),
            "users that are not masked",
            1,
            "1",
        ),
        (lambda lines: lines.reverse(), "rows out of order", 11, "22002,74,8"),
        (replace("6,7", "999,999"), "rows with 999 left", 1, "22000,60,8,999,999"),
        (replace("6,7", "0,201"), "cells off the grid", 1, "22000,60,8,0,201"),
    ],
)
def test_one_fault_gives_one_finding(tmp_path, change, name, count, first):
    found = findings(write(tmp_path / NAME, edited(change)))
    assert list(found) == [name]
    assert found[name][0] == count
    assert found[name][1].startswith(first)


@pytest.mark.parametrize("text", ["6.0", "", " 6", "six", "1e1"])
def test_a_field_that_is_no_whole_number_is_found(tmp_path, text):
    found = findings(write(tmp_path / NAME, edited(replace(",6,7", f",{text},7"))))
    assert found == {
        "fields that are no whole number": (1, f"22000,60,8,{text},7"),
        "events missing": (1, "22000,60,8"),
    }


def test_a_line_without_five_fields_is_found(tmp_path):
    found = findings(write(tmp_path / NAME, [*good_lines(), "22002,74,20,6,7,1"]))
    assert found == {"lines without five fields": (1, "22002,74,20,6,7,1")}


def test_columns_in_another_order_are_found_once(tmp_path):
    lines = [",".join(reversed(line.split(","))) for line in good_lines()]
    found = findings(write(tmp_path / NAME, lines, "y,x,t,d,uid"))
    assert found == {"header": (1, "y,x,t,d,uid")}
    found = findings(write(tmp_path / NAME, good_lines(), "user,day,slot,col,row"))
    assert found == {"header": (1, "user,day,slot,col,row")}


def test_all_findings_come_at_once(tmp_path):
    lines = ["7,60,0,6,7", *good_lines()[:-4], "22001,74,20,999,999", "x"]
    report = validate_submission(write(tmp_path / "mine.csv", lines), challenge())
    assert {finding.name: finding.count for finding in report.findings} == {
        "file name": 1,
        "lines without five fields": 1,
        "rows with 999 left": 1,
        "users that are not masked": 1,
        "users missing": 1,
        "events twice": 1,
    }
    assert report.lines()[0].endswith("10 rows of 3 users, 6 findings")
    assert "users missing: 1 (first: 22002)" in report.lines()


@pytest.mark.parametrize(
    ("rules", "name", "good"),
    [
        ("humob2023", "me_task1_humob.csv.gz", True),
        ("humob2023", "me_task2_humob.csv", True),
        ("humob2023", "me_cityB_humob.csv", False),
        ("humob2024", "me_cityD_humob.csv", True),
        ("humob2024", "me_cityA_humob.csv", False),
        ("humob2024", "me_cityB_humob25.csv.gz", False),
        ("humob2024", "me_cityB_humobxcsv", False),
        ("giscup2025", "me_cityA_humob25.csv.gz", True),
        ("giscup2025", "me_cityA_humob25.csv", False),
    ],
)
def test_file_names_of_each_year(tmp_path, rules, name, good):
    path = write(tmp_path / name, good_lines(RULES[rules].first_day))
    found = findings(path, rules)
    assert list(found) == ([] if good else ["file name"])


def test_days_of_2025_count_from_one(tmp_path):
    path = tmp_path / "me_cityB_humob25.csv.gz"
    found = findings(write(path, good_lines(first_day=0)), "giscup2025")
    assert found["days outside 61 to 75"][0] == 6
    assert found["events that are not masked"][0] == 6
    assert found["events missing"][0] == 12
    assert findings(write(path, good_lines(first_day=1)), "giscup2025") == {}


def predictions(events):
    wanted = events.select(events.masked())
    wanted = wanted.take_users(np.flatnonzero(wanted.counts()))
    return wanted.with_tokens(np.full(len(wanted), TOKENS.encode_xy(CELL)[0]))


@pytest.mark.parametrize("rules", RULES)
def test_what_is_written_is_valid(tmp_path, rules):
    given, part = challenge(), RULES[rules].parts[-1]
    predicted = predictions(given)
    path = write_submission(predicted, given, tmp_path, "me", part, rules)
    assert path.parent == tmp_path
    assert path.name.startswith(f"me_{part}_humob")
    with gzip.open(path, "rt") as file:
        lines = file.read().splitlines()
    assert lines == ["uid,d,t,x,y", *good_lines(RULES[rules].first_day)]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_what_breaks_a_rule_is_not_written(tmp_path):
    given = challenge()
    predicted = predictions(given)
    with pytest.raises(MoraError, match=r"no submission .*events missing: 6 .*60,8"):
        write_submission(predicted.between(70, 75), given, tmp_path, "me", "cityB")
    unsolved = given.select(given.masked())
    with pytest.raises(MoraError, match=r"rows with 999 left: 12"):
        write_submission(unsolved, given, tmp_path, "me", "cityB")
    with pytest.raises(MoraError, match=r"team 'my team' and part 'cityB' .*hyphens"):
        write_submission(predicted, given, tmp_path, "my team", "cityB")
    with pytest.raises(MoraError, match=r"part 'cityA' .* one of cityB, cityC, cityD"):
        write_submission(predicted, given, tmp_path, "me", "cityA")
    assert list(tmp_path.iterdir()) == []


def test_a_challenge_that_does_not_fit_the_rules_is_refused(tmp_path):
    path = write(tmp_path / NAME, good_lines())
    with pytest.raises(MoraError, match=r"no rules 'humob2022'; expected one of"):
        validate_submission(path, challenge(), "humob2022")
    with pytest.raises(MoraError, match=r"12 masked events, 6 of them on other days"):
        validate_submission(path, challenge(days=(59, 60)))
    solved = challenge()
    with pytest.raises(MoraError, match=r"the challenge has 0 masked events"):
        validate_submission(path, solved.select(~solved.masked()))
    one = np.zeros(1, int)
    h3 = build_events(one, one, one, one, H3Tokens.from_cells(["8928308280fffff"]))
    with pytest.raises(MoraError, match=r"at h3 tokens; expected grid cells"):
        validate_submission(path, h3)
    named = build_events(np.array(["ann"]), one, one, one, TOKENS)
    with pytest.raises(MoraError, match=r"expected whole numbers as in HuMob"):
        validate_submission(path, named)


def test_a_submission_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match=r"no file at"):
        validate_submission(tmp_path / NAME, challenge())
    (tmp_path / NAME).write_text("")
    with pytest.raises(TableError, match=r"cannot be read .*uid,d,t,x,y"):
        validate_submission(tmp_path / NAME, challenge())
