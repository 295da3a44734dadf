"""The people of a RAW run: their points, their steps, and what is true of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from mora.config import TableInput
from mora.errors import MoraError
from mora.pipeline.raw_config import RawRunConfig, TraceInput
from mora.tables.reading import read_frame
from mora.trajectories.generator.gps import Profiles, generate_traces
from mora.trajectories.raw.steps import Steps, to_steps
from mora.trajectories.raw.tasks import LabelTask
from mora.trajectories.traces import Traces, traces_from_visits

VISIT_COLUMNS = ("user", "time", "lon", "lat")


@dataclass(frozen=True, eq=False)
class People:
    """Users with the same order everywhere.

    Attributes:
        steps: where each user is at each step.
        traces: the points of the same users.
        labels: by name, one for each user; nothing where none are known.
        test: users that the network never sees.
        home: where each of them lives, in degrees; None where it is not known.
        work: the same; NaN of those who do not commute.
    """

    steps: Steps
    traces: Traces
    labels: Mapping[str, Shaped[np.ndarray, " users"]]
    test: Shaped[np.ndarray, " users"]
    home: Float[np.ndarray, "users 2"] | None = None
    work: Float[np.ndarray, "users 2"] | None = None

    def task(self, name: str, rows: Shaped[np.ndarray, " kept"]) -> LabelTask:
        """Give one label of some users as a task.

        Yes or no, text, and numbers of which there are two are classes.

        Raises:
            MoraError: if too few of them have the label, or all the same.
        """
        values = self.labels[name][rows]
        known = values[~pd.isna(values)]
        numbers = values.dtype.kind in "iuf" and len(np.unique(known)) != 2
        return LabelTask(name, values, "numbers" if numbers else "classes")


def read_people(config: RawRunConfig) -> People:
    """Read or generate the people, and set some aside for the test.

    Raises:
        MoraError: if a table cannot be used, or too few people are left to divide.
    """
    traces, labels, truth = _traces(config.traces, config.seed)
    steps = to_steps(traces, **config.steps.model_dump())
    users = len(steps.users)
    held_out = round(config.test_share * users)
    if held_out < 2 or users - held_out < 2:
        raise MoraError(
            f"{users} users, {held_out} of them for the test; expected at least 2 on "
            f"both sides. Take more users or another test_share."
        )
    kept = np.isin(traces.users, steps.users)
    test = np.zeros(users, bool)
    order = np.random.default_rng(config.seed).permutation(users)
    test[order[:held_out]] = True
    home = work = None
    if truth is not None:
        home = truth.home[kept]
        work = np.where(truth.commuter[:, None], truth.work, np.nan)[kept]
    own = {name: values[kept] for name, values in labels.items()}
    return People(steps, traces.of_users(steps.users), own, test, home, work)


def _traces(
    given: TraceInput, seed: int
) -> tuple[Traces, Mapping[str, Shaped[np.ndarray, " users"]], Profiles | None]:
    if given.generated is not None:
        traces, truth = generate_traces(given.generated, seed)
        labels = {
            "commuter": truth.commuter,
            "trips": truth.trips.astype(np.float64),
            "transit use": truth.transit_share(),
        }
        return traces, labels, truth
    assert given.table is not None
    frame = _read(given.table, VISIT_COLUMNS, "visits")
    traces, _ = traces_from_visits(frame, given.timezone)
    known = {} if given.labels is None else _labels(given.labels, traces)
    return traces, known, None


def _labels(
    table: TableInput, traces: Traces
) -> Mapping[str, Shaped[np.ndarray, " users"]]:
    """Bring labels into the order of the users; NaN where there is none."""
    names = [name for name in table.columns if name != "user"]
    frame = _read(table, ("user", *names), "user labels")
    frame = frame.drop_duplicates("user").set_index("user")
    frame.index = frame.index.astype(str)
    known = frame.reindex(traces.users.astype(str))
    if known.isna().all(axis=None):
        raise MoraError(
            f"none of {len(frame)} labelled users is among {len(traces.users)} users "
            f"(first: {frame.index[:3].tolist()}); expected the same ids."
        )
    return {str(name): known[name].to_numpy() for name in known.columns}


def _read(table: TableInput, names: tuple[str, ...], kind: str) -> pd.DataFrame:
    columns = {name: table.columns.get(name, name) for name in names}
    return read_frame(Path(str(table.path)), columns, kind)
