"""Submissions to the HuMob challenge, written from predictions and checked."""

import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Int

from mora.errors import MoraError, examples
from mora.tokens import GridTokens
from mora.trajectories.events import Events
from mora.trajectories.humob.columns import COLUMNS
from mora.trajectories.humob.files import MASKED_XY, read_humob, write_humob
from mora.trajectories.humob.lenient import LenientRows, read_leniently
from mora.trajectories.humob.rules import Rules, find_rules


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a submission.

    Attributes:
        name: of the rule that is broken.
        count: how often.
        first: up to three examples.
    """

    name: str
    count: int
    first: str

    def __str__(self) -> str:
        return f"{self.name}: {self.count} (first: {self.first})"


@dataclass(frozen=True)
class SubmissionReport:
    """All that is wrong with a submission, and how large it is.

    Attributes:
        path: of the file.
        rules: year of the challenge.
        rows: that could be read.
        users: in these rows.
        findings: none if the submission may be sent.
    """

    path: Path
    rules: str
    rows: int
    users: int
    findings: tuple[Finding, ...]

    @property
    def valid(self) -> bool:
        """Say whether the submission may be sent."""
        return not self.findings

    def lines(self) -> list[str]:
        """Give the report as text."""
        verdict = "valid" if self.valid else f"{len(self.findings)} findings"
        head = f"{self.path.name}, rules {self.rules}: {self.rows} rows of {self.users}"
        return [f"{head} users, {verdict}", *map(str, self.findings)]


def validate_submission(
    path: Path | str, challenge: Events | Path | str, rules: str = "humob2024"
) -> SubmissionReport:
    """Check a submission against the file whose masked events it predicts.

    Wanted are columns ``uid,d,t,x,y`` of whole numbers, with this header line or none;
    exactly the masked events, none twice, sorted by user, day and slot; and cells of
    the grid. A row that cannot be read is a finding of its own and then missing.

    Args:
        path: the submission, gzipped if it ends in ``.gz``.
        challenge: the events given by the organisers, or their file.
        rules: of :data:`~mora.trajectories.humob.rules.RULES`.

    Returns:
        All findings, not only the first.

    Raises:
        MissingFileError: if there is no such file.
        MoraError: if the challenge has no masked events, masks days that the rules do
            not predict, or the rules are unknown.
    """
    chosen = find_rules(rules)
    if not isinstance(challenge, Events):
        challenge = read_humob(challenge, first_day=chosen.first_day)
    grid, wanted = _grid(challenge), _wanted(challenge, chosen, rules)
    found = read_leniently(path)
    checks = [
        *_check_name(Path(path).name, chosen),
        *_check_text(found),
        *_check_cells(found.values, grid),
        *_check_events(found.values[:, :3], wanted, chosen),
    ]
    users = len(np.unique(found.values[:, 0]))
    return SubmissionReport(
        Path(path), rules, len(found.values), users, tuple(f for f in checks if f.count)
    )


def write_submission(
    predicted: Events,
    challenge: Events | Path | str,
    folder: Path | str,
    team: str,
    part: str,
    rules: str = "humob2024",
) -> Path:
    """Write a submission, check it, and give its path.

    The file holds the ids of the users as the organisers gave them, because the
    challenge asks for them; nothing else that this package writes does.

    Args:
        predicted: the masked events with their predicted cells, days from 0.
        challenge: the events given by the organisers, or their file.
        folder: in which the file is made, gzipped; the folder must exist.
        team: letters, digits and hyphens.
        part: city or task, such as ``cityB``.
        rules: of :data:`~mora.trajectories.humob.rules.RULES`.

    Raises:
        MoraError: if the team or the part cannot stand in the name, or the file breaks
            a rule; then none is made, and an older one stays.
    """
    chosen = find_rules(rules)
    name = chosen.name.format(team=team, part=part) + ".gz"
    for finding in _check_name(name, chosen):
        raise MoraError(
            f"team {team!r} and part {part!r} give a wrong {finding.name}: "
            f"{finding.first}, and letters, digits and hyphens as the team."
        )
    with TemporaryDirectory(dir=folder) as unchecked:
        path = Path(unchecked) / name
        write_humob(predicted, path, chosen.first_day)
        report = validate_submission(path, challenge, rules)
        if not report.valid:
            raise MoraError(
                f"the predictions are no submission for {rules}: "
                f"{'; '.join(map(str, report.findings))}. Predict exactly the masked "
                f"events."
            )
        return path.replace(Path(folder) / name)


def _grid(challenge: Events) -> GridTokens:
    if not isinstance(challenge.tokens, GridTokens):
        raise MoraError(
            f"the challenge is at {challenge.tokens.kind} tokens; expected grid cells."
        )
    if challenge.users.dtype.kind not in "iu":
        raise MoraError(
            f"user ids are {challenge.users.dtype}; expected whole numbers as in HuMob."
        )
    return challenge.tokens


def _wanted(challenge: Events, rules: Rules, name: str) -> Int[np.ndarray, "events 3"]:
    """Give user, day (numbered as in the file) and slot of the masked events."""
    masked = challenge.select(challenge.masked())
    first, last = rules.predicted
    day = masked.day.astype(np.int64) + rules.first_day
    outside = (day < first) | (day > last)
    if len(masked) == 0 or outside.any():
        raise MoraError(
            f"the challenge has {len(masked)} masked events, {outside.sum()} of them "
            f"on other days than {first} to {last} (first: {day[outside][:3].tolist()})"
            f", which {name} predicts. Give the organisers' file and the rules of its "
            f"year."
        )
    users = masked.users[masked.user_rows()].astype(np.int64)
    return np.column_stack([users, day, masked.slot])


def _check_name(name: str, rules: Rules) -> list[Finding]:
    ending = ".gz" if rules.zipped else "(.gz)?"
    form = rules.name.format(team="[A-Za-z0-9-]+", part=f"({'|'.join(rules.parts)})")
    if re.fullmatch(form.replace(".csv", r"\.csv") + ending.replace(".", r"\."), name):
        return []
    wanted = rules.name.format(team="team", part=rules.parts[0])
    wanted += ".gz" if rules.zipped else " or " + wanted + ".gz"
    parts = ", ".join(rules.parts)
    return [Finding("file name", 1, f"{name}; expected {wanted} with one of {parts}")]


def _check_text(found: LenientRows) -> list[Finding]:
    header = found.header and tuple(found.header) != COLUMNS
    return [
        Finding("header", int(bool(header)), ",".join(found.header)),
        Finding("lines without five fields", found.ragged, _show(found.ragged_first)),
        Finding(
            "fields that are no whole number",
            found.malformed,
            _show(found.malformed_first),
        ),
    ]


def _check_cells(rows: Int[np.ndarray, "rows 5"], grid: GridTokens) -> list[Finding]:
    xy = rows[:, 3:]
    masked = (xy == MASKED_XY).any(axis=1)
    outside = ((xy < 1) | (xy > [grid.width, grid.height])).any(axis=1)
    return [
        _finding(f"rows with {MASKED_XY} left", rows[masked]),
        _finding("cells off the grid", rows[outside & ~masked]),
    ]


def _check_events(
    rows: Int[np.ndarray, "rows 3"], wanted: Int[np.ndarray, "events 3"], rules: Rules
) -> list[Finding]:
    """Compare users, days and slots with the wanted ones; each is in one finding."""
    first, last = rules.predicted
    other_day = (rows[:, 1] < first) | (rows[:, 1] > last)
    stranger = ~np.isin(rows[:, 0], wanted[:, 0])
    events, position = np.unique(
        np.concatenate([wanted, rows]), axis=0, return_inverse=True
    )
    asked, given = np.split(position.ravel(), [len(wanted)])
    asked, times = (np.bincount(side, minlength=len(events)) for side in (asked, given))
    known = ~(stranger | other_day)
    extra = known & (asked[given] == 0)
    absent = np.setdiff1d(wanted[:, 0], rows[:, 0])
    missing = events[(asked > times) & ~np.isin(events[:, 0], absent)]
    return [
        _finding("users that are not masked", np.unique(rows[stranger, 0])),
        _finding("users missing", absent),
        _finding(f"days outside {first} to {last}", rows[other_day & ~stranger]),
        _finding("events missing", missing),
        _finding("events that are not masked", rows[extra]),
        _finding("events twice", events[(times > 1) & (times > asked)]),
        _finding("rows out of order", rows[1:][_descends(rows)]),
    ]


def _descends(rows: Int[np.ndarray, "rows 3"]) -> np.ndarray:
    """Mark each row that belongs before the one above it."""
    step = np.diff(rows, axis=0)
    user, day, slot = step.T
    return (user < 0) | ((user == 0) & ((day < 0) | ((day == 0) & (slot < 0))))


def _finding(name: str, rows: np.ndarray) -> Finding:
    return Finding(name, len(rows), _show(rows[:3].tolist()))


def _show(values: list) -> str:
    rows = [",".join(map(str, v)) if isinstance(v, list) else v for v in values]
    return examples(rows)
