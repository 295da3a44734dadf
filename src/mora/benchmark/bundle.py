"""A benchmark as files: labels, fixed splits, checksums; any vectors can be scored."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from mora.benchmark.protocols import Draw, Rows, Trial, draw_trials
from mora.benchmark.tasks import Task
from mora.errors import MoraError, RunError
from mora.tokens import Tokens, tokens_from_names

VERSION = 1
MANIFEST = "bundle.json"
TABLES = ("units", "labels", "pooling", "splits")
README = """# Benchmark bundle: {name}

Version {version} of the format. Labels and splits are fixed: every model that is scored
on this bundle is trained and tested on the same units.

| file | columns |
| --- | --- |
| units.parquet | task, unit (number within the task), id, block, region, lon, lat |
| labels.parquet | task, unit, label (transformed as bundle.json says) |
| pooling.parquet | task, unit, place, weight: a unit's vector is the weighted mean |
| splits.parquet | task, protocol, trial, fold, unit, part (train or test) |
| bundle.json | tasks with their sources and licences, protocols, checksums |

The predictions of all folds of a trial are pooled into one R2. Licences of the labels:

{licences}
"""


@dataclass(frozen=True, eq=False)
class Bundle:
    """A benchmark that was read from files.

    Attributes:
        name: of the bundle.
        tokens: the places that vectors must be given for.
        tasks: the labels.
        trials: task -> protocol -> fixed trials.
        about: task -> what it is.
        checksum: of all tables together.
    """

    name: str
    tokens: Tokens
    tasks: list[Task]
    trials: dict[str, dict[str, list[Trial]]]
    about: dict[str, dict[str, Any]]
    checksum: str


def write_bundle(
    folder: Path,
    name: str,
    tasks: Sequence[Task],
    places: Sequence[str],
    about: Mapping[str, Mapping[str, Any]],
    *,
    protocols: Sequence[str] = ("blocked", "random"),
    draw: Draw | None = None,
) -> list[Path]:
    """Write tasks with fixed splits into a folder.

    Args:
        folder: made if it is not there.
        name: of the bundle.
        tasks: labels; their names differ.
        places: name of each token.
        about: task -> source, licence and what else is known of it.
        protocols: whose splits are written.
        draw: share, repeats and seed of the splits.

    Returns:
        The files.

    Raises:
        MoraError: if a task cannot be evaluated.
    """
    for task in tasks:
        task.check(len(places))
    draw = draw or Draw()
    folder.mkdir(parents=True, exist_ok=True)
    names = np.asarray(places, dtype=str)
    tables = {
        "units": pd.concat([_units(task, names) for task in tasks]),
        "labels": pd.concat([_labels(task) for task in tasks]),
        "pooling": pd.concat([_pooling(task, names) for task in tasks]),
        "splits": pd.concat(_splits(tasks, protocols, draw)),
    }
    for table, frame in tables.items():
        frame.to_parquet(folder / f"{table}.parquet", index=False)
    content = {
        "version": VERSION,
        "name": name,
        "protocols": list(protocols),
        "test_share": draw.test_share,
        "repeats": draw.repeats,
        "seed": draw.seed,
        "tasks": {
            task.name: {**about.get(task.name, {}), **_facts(task)} for task in tasks
        },
        "sha256": {table: _sha256(folder / f"{table}.parquet") for table in tables},
    }
    (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n")
    (folder / "README.md").write_text(_readme(name, content["tasks"]))
    files = [f"{table}.parquet" for table in TABLES]
    return [folder / file for file in (*files, MANIFEST, "README.md")]


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle and check that no table was changed.

    Raises:
        RunError: if there is none, it has another version, or a table differs from its
            checksum.
    """
    file = folder / MANIFEST
    if not file.is_file():
        raise RunError(f"{folder} holds no {MANIFEST}; expected an exported bundle.")
    content = json.loads(file.read_text())
    if content.get("version") != VERSION:
        raise RunError(
            f"{file} has version {content.get('version')}; expected {VERSION}. Export "
            f"the bundle again with this version of Mora."
        )
    changed = [
        table
        for table, checksum in content["sha256"].items()
        if not (folder / f"{table}.parquet").is_file()
        or _sha256(folder / f"{table}.parquet") != checksum
    ]
    if changed:
        raise RunError(
            f"{folder}: {', '.join(changed)} differ from the checksums in {MANIFEST}; "
            f"expected the files as they were exported. Get the bundle again."
        )
    tables = {table: pd.read_parquet(folder / f"{table}.parquet") for table in TABLES}
    tokens = tokens_from_names(list(tables["pooling"]["place"].unique()))
    places = tokens.names()
    tasks, trials = [], {}
    for name, facts in content["tasks"].items():
        own = {key: frame[frame["task"] == name] for key, frame in tables.items()}
        tasks.append(_task(name, facts, own, places))
        trials[name] = _trials(own["splits"], tasks[-1], content["protocols"])
    digest = hashlib.sha256("".join(content["sha256"].values()).encode()).hexdigest()
    return Bundle(content["name"], tokens, tasks, trials, content["tasks"], digest)


# ------------------------------------------------------------------- writing


def _units(task: Task, names: np.ndarray) -> pd.DataFrame:
    unit = task.units()
    lonlat = (
        np.full((len(unit), 2), np.nan) if task.lonlat is None else task.lonlat[unit]
    )
    regions = np.full(len(unit), -1) if task.regions is None else task.regions[unit]
    ids = names[unit] if task.pooling is None else unit.astype(str)
    groups = {f"group_{name}": of[unit] for name, of in task.groups.items()}
    own = {"task": task.name, "unit": np.arange(len(unit)), "id": ids}
    where = {"block": task.blocks[unit], "region": regions}
    point = {"lon": lonlat[:, 0], "lat": lonlat[:, 1]}
    return pd.DataFrame({**own, **where, **point, **groups})


def _labels(task: Task) -> pd.DataFrame:
    label = task.targets()
    return pd.DataFrame(
        {"task": task.name, "unit": np.arange(len(label)), "label": label}
    )


def _pooling(task: Task, names: np.ndarray) -> pd.DataFrame:
    unit = task.units()
    if task.pooling is None:
        row, place, weight = np.arange(len(unit)), unit, np.ones(len(unit))
    else:
        matrix = sp.coo_array(task.pooling[unit])
        row, place, weight = matrix.row, matrix.col, matrix.data
    own = {"task": task.name, "unit": row.astype(np.int64)}
    return pd.DataFrame({**own, "place": names[place], "weight": weight})


def _splits(
    tasks: Sequence[Task], protocols: Sequence[str], draw: Draw
) -> Iterator[pd.DataFrame]:
    for task in tasks:
        unit = task.units()
        regions = None if task.regions is None else task.regions[unit]
        rows = Rows(task.blocks[unit], regions)
        for protocol in protocols:
            for number, trial in enumerate(draw_trials(protocol, rows, draw)):
                for fold, (train, test) in enumerate(trial.folds):
                    part = ["train"] * len(train) + ["test"] * len(test)
                    yield pd.DataFrame(
                        {
                            "task": task.name,
                            "protocol": protocol,
                            "trial": number,
                            "fold": fold,
                            "unit": np.concatenate([train, test]),
                            "part": pd.Categorical(part),
                        }
                    )


def _facts(task: Task) -> dict[str, Any]:
    return {
        "samples": len(task.units()),
        "transform": task.transform or "",
        "leaky": task.leaky,
        "scale": task.scale,
        "domain": task.domain,
    }


def _readme(name: str, tasks: Mapping[str, Mapping[str, Any]]) -> str:
    licences = "\n".join(
        f"- {task}: {facts.get('source') or 'source not stated'}; "
        f"{facts.get('licence') or 'licence not stated'}"
        for task, facts in tasks.items()
    )
    return README.format(name=name, version=VERSION, licences=licences)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


# ------------------------------------------------------------------- reading


def _task(
    name: str,
    facts: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame],
    places: Sequence[str],
) -> Task:
    """Build a task whose labels are transformed already."""
    units, pooling = tables["units"], tables["pooling"]
    place = pd.Index(places).get_indexer(pooling["place"])
    ends = (pooling["unit"].to_numpy(), place)
    shape = (len(units), len(places))
    regions = units["region"].to_numpy()
    lonlat = units[["lon", "lat"]].to_numpy(np.float64)
    groups = {
        column.removeprefix("group_"): units[column].fillna("").to_numpy(str)
        for column in units
        if column.startswith("group_")
    }
    return Task(
        name,
        tables["labels"]["label"].to_numpy(np.float64),
        units["block"].to_numpy(np.int64),
        sp.csr_array((pooling["weight"].to_numpy(), ends), shape=shape),
        None,
        facts["leaky"],
        facts["scale"],
        facts["domain"],
        None if (regions < 0).all() else regions.astype(np.int64),
        groups,
        lonlat if np.isfinite(lonlat).all() else None,
    )


def _trials(
    splits: pd.DataFrame, task: Task, protocols: Sequence[str]
) -> dict[str, list[Trial]]:
    found: dict[str, list[Trial]] = {}
    for protocol in protocols:
        own = splits[splits["protocol"] == protocol]
        whole = None if protocol.startswith(("random", "kfold")) else task.blocks
        found[protocol] = [
            _trial(trial, whole, len(task.labels)) for _, trial in own.groupby("trial")
        ]
    return found


def _trial(rows: pd.DataFrame, whole: np.ndarray | None, units: int) -> Trial:
    folds = tuple(
        (
            np.sort(fold["unit"][fold["part"] == "train"].to_numpy(np.int64)),
            np.sort(fold["unit"][fold["part"] == "test"].to_numpy(np.int64)),
        )
        for _, fold in rows.groupby("fold")
    )
    if not folds:
        raise MoraError("a trial of the bundle has no rows; get the bundle again.")
    others = float(np.mean([units - len(test) for _, test in folds]))
    return Trial(folds, whole, (), others)
