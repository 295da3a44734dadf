"""Was a person in the data? A run learned again without some of its people."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, UInt64

from mora.config import VisitsMobility
from mora.errors import ConfigError, MissingFileError
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import keep_inside
from mora.pipeline.opening import open_run
from mora.pipeline.places import PlaceCoder
from mora.pipeline.run import run
from mora.pipeline.visits import refuse_empty, visit_batches, weeks_of
from mora.progress import Progress, silent
from mora.publish.user_membership import UserAttack, attack_membership
from mora.tables import check_visits

AGAIN = "embeddings learned again"
TABLE = "mobility.table"
NOT_TRIED = "User membership was not attacked: "
NO_PEOPLE = NOT_TRIED + "the inputs hold no records of persons."
NO_CONFIG = NOT_TRIED + "the run's folder does not say what it was made of."
NOT_ASKED = (
    NOT_TRIED + "it learns the whole run again, several times. `mora publish "
    "--attack-users 4` does, at the cost of four such runs."
)


@dataclass(frozen=True, eq=False)
class ReadVisits:
    """The visits of a run, read again.

    Attributes:
        rows: as in their table, those that the run uses.
        user: a number for each person, of each row.
        week: running number of the week of each row.
        code: of the place of each row.
        places: turns codes into places.
    """

    rows: pd.DataFrame
    user: UInt64[np.ndarray, " visits"]
    week: Int[np.ndarray, " visits"]
    code: UInt64[np.ndarray, " visits"]
    places: PlaceCoder


def attack_users(
    folder: Path,
    runs: int,
    *,
    people: int = 50,
    seed: int = 0,
    progress: Progress = silent,
) -> UserAttack:
    """Measure whether the vectors of a run tell who was in its data.

    The run is learned again from its visits, with its own settings, each time without
    half of the people that are attacked: vectors of just the published kind, and not
    the published ones, which nobody was left out of.

    Args:
        folder: of a finished run; the table of its visits has to be where it was.
        runs: times that the run is learned again, even; 0 does not attack.
        people: that are attacked, >= 2.
        seed: of the draws; the runs keep their own.
        progress: told the runs done and in all.

    Returns:
        What was found; or why it was not tried, such as for inputs without persons.

    Raises:
        MoraError: if ``runs`` is odd, or there are too few people.
    """
    context = open_run(folder)
    if context is None:
        return UserAttack(skipped=NO_CONFIG)
    if not isinstance(context.config.mobility, VisitsMobility):
        return UserAttack(skipped=NO_PEOPLE)
    if runs == 0:
        return UserAttack(skipped=NOT_ASKED)
    try:
        visits = read_visits_again(context, context.config.mobility)
    except (MissingFileError, ConfigError) as error:
        return UserAttack(skipped=f"{NOT_TRIED}{error}")
    results = attack_membership(
        visits.user,
        visits.week,
        visits.code,
        learn_again(context, visits),
        subject=AGAIN,
        targets=people,
        runs=runs,
        seed=seed,
        progress=progress,
    )
    return UserAttack(tuple(results))


def read_visits_again(context: RunContext, mobility: VisitsMobility) -> ReadVisits:
    """Read all visits of a run, with the checks that the run had; all in memory.

    Args:
        context: the run.
        mobility: where its visits are.

    Raises:
        MissingFileError: if the table is not there.
        ConfigError: if the run was given a frame instead of a table.
        TableError: if no visit is left.
    """
    places = PlaceCoder.for_tokens(context)
    batches = visit_batches(context, mobility.table, TABLE, places)
    rows = pd.concat(list(batches), ignore_index=True)
    frame, report = check_visits(places.with_token(rows), timezone=mobility.timezone)
    refuse_empty(report)
    frame, _ = keep_inside(frame, context.config.tokens.bounds, "visits")
    code, known = places.encode(frame)
    frame, code = frame[known], code[known]
    week = weeks_of(frame, mobility)
    user = pd.factorize(frame["user"])[0].astype(np.uint64)
    return ReadVisits(rows.loc[frame.index], user, week, code, places)


def learn_again(
    context: RunContext, visits: ReadVisits
) -> Callable[[Bool[np.ndarray, " visits"]], Float[np.ndarray, "places dim"]]:
    """Give what does the whole run from some of its visits.

    Returns:
        A function of the marked visits, for
        :func:`mora.publish.user_membership.attack_membership`: a row for each distinct
        place of all visits, NaN for those that the run without the others hides.
    """
    theirs = context.config.mobility.table.columns
    names = visits.places.names(np.unique(visits.code))

    def learn(kept: Bool[np.ndarray, " visits"]) -> Float[np.ndarray, "places dim"]:
        frame = visits.rows[kept].rename(columns=theirs)
        with TemporaryDirectory() as folder:
            found = run(
                context.config, tables={TABLE: frame}, folder=folder, until="embed"
            )
        assert found is not None  # a single process, up to embeddings
        row = found.tokens.find(names)
        return np.where(row[:, None] >= 0, found.vectors[row], np.nan)

    return learn
