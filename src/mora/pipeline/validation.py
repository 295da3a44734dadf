"""Is a run fit for use? Its inputs, its files, its vectors, its drift to another."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mora.benchmark.drift import (
    Noise,
    Snapshot,
    compare,
    median_of_known,
    rank_changes,
)
from mora.config import RunConfig, load_config, validate_settings
from mora.embeddings import read_embeddings
from mora.errors import MoraError, RunError
from mora.personal import require_not_personal
from mora.pipeline.folder import CONFIG, MANIFEST, read_json
from mora.pipeline.headers import check_headers
from mora.pipeline.mobility import read_mobility
from mora.pipeline.validation_checks import (
    check_coordinates_inside,
    check_repeated_places,
    check_rows_used,
)
from mora.pipeline.validation_inputs import check_files, check_span, scan_mobility
from mora.pipeline.validation_outputs import (
    NEEDED,
    check_outputs,
    read_manifests,
    tried,
)
from mora.pipeline.validation_report import Check, Level, ValidationReport

SHARED_ENOUGH = 0.9  # of the places of each run; fewer are two study areas
# Median change of direction, 1 - cosine, at which vectors of one run cannot stand in
# for the other's: 60 degrees.
DRIFTED = 0.5


def validate_run(
    run: Path | str | Mapping[str, Any] | RunConfig,
    other: Path | str | None = None,
    *,
    read_inputs: bool = True,
) -> ValidationReport:
    """Check the inputs and outputs of a run.

    Args:
        run: its folder, or a configuration (YAML file, dictionary or settings), whose
            folder is looked at too where it exists.
        other: folder of another run, to measure how the places drifted from there.
        read_inputs: read the records of movement once, for their time span; visits a
            batch at a time.

    Returns:
        One check a subject. What cannot be read is a check of level error.

    Raises:
        RunError: if the folder holds no run.
        ConfigError: if the configuration cannot be followed.
        PersonalDataError: if a folder holds personal data.
    """
    folder, settings = _opened(run)
    for path in (folder, other):
        if path is not None:
            require_not_personal(Path(path))
    checks: list[Check] = []
    manifests = read_manifests(folder) if folder else {}
    if settings is not None:
        level: Level = "warning" if manifests else "error"
        checks.append(check_files(settings, level))
        checks.append(_check_columns(settings, level))
    tables = [t for m in manifests.values() for t in m["facts"].get("tables", ())]
    if settings is not None and read_inputs:
        scanned, found = _scanned(settings)
        checks += scanned
        tables = tables or found
    if tables:
        whole = (check_coordinates_inside, check_rows_used, check_repeated_places)
        checks += [check(tables) for check in whole]
    if folder is not None and manifests:
        checks += check_outputs(folder, manifests)
    if other is not None:
        checks += tried("drift", lambda: [_check_drift(_required(folder), other)])
    subject = folder if folder is not None else "the configuration"
    return ValidationReport(str(subject), tuple(checks))


def _check_columns(settings: RunConfig, level: Level) -> Check:
    name = "columns of tables"
    try:
        check_headers(settings)
    except MoraError as error:
        return Check(name, level, str(error))
    return Check(name, "ok", "every column that the settings name is there")


def _opened(
    run: Path | str | Mapping[str, Any] | RunConfig,
) -> tuple[Path | None, RunConfig | None]:
    """Find the folder and the settings of a run; None for what there is not.

    Raises:
        RunError: if a folder holds no run.
    """
    if isinstance(run, str | Path) and Path(run).is_dir():
        folder = Path(run)
        if not read_manifests(folder):
            raise RunError(
                f"{folder} has no {MANIFEST} in any of {', '.join(NEEDED)}; expected "
                f"the folder of a run, or a configuration."
            )
        return folder, _told(folder)
    settings = load_config(run)
    folder = Path(settings.folder or Path("runs") / settings.name)
    return (folder if folder.is_dir() else None), settings


def _told(folder: Path) -> RunConfig | None:
    """Give what a run was told: whole, or what the manifests keep; None if neither."""
    told = read_json(folder / CONFIG)
    if told is None:
        kept = read_manifests(folder)
        told = {"name": "run"}
        for stage in ("graph", "features"):
            told |= kept.get(stage, {}).get("settings", {})
    if "mobility" not in told:
        return None
    return validate_settings(told, str(folder), RunConfig)


def _required(folder: Path | None) -> Path:
    if folder is None:
        raise RunError("the run has no folder yet; expected a finished run.")
    return folder


def _scanned(settings: RunConfig) -> tuple[list[Check], list[dict[str, Any]]]:
    """Read the records of movement; give the check of their span, and the reports."""
    try:
        scan = scan_mobility(settings)
    except MoraError as error:
        return [Check("records of movement", "error", str(error))], []
    return ([check_span(scan)], scan.reports) if scan else ([], [])


def _check_drift(folder: Path, other: Path | str) -> Check:
    """Measure how vectors changed from another run to this one."""
    now, before = snapshot_of_run(folder), snapshot_of_run(other)
    name, advice = "drift", "Do not mix vectors of the two runs; see rank_changes."
    try:
        change = compare(before, now)
    except MoraError as error:
        return Check(name, "warning", str(error), (), advice)
    shares = [len(change.token) / len(s.tokens) for s in (before, now)]
    middle = median_of_known(change.pattern)
    few = min(shares) < SHARED_ENOUGH
    order = np.argsort(-np.nan_to_num(change.pattern), kind="stable")[:3]
    moved = order[change.pattern[order] > 0]
    places = before.tokens.ids[change.token[moved]]
    return Check(
        name,
        "warning" if few or not middle < DRIFTED else "ok",
        f"{len(change.token):,} places in common ({shares[0]:.1%} of {Path(other).name}"
        f", {shares[1]:.1%} of this run); their vectors changed by {middle:.3f} "
        f"(median of 1 - cosine, after rotation)",
        tuple(map(before.tokens.name, places)),
        advice,
    )


def snapshot_of_run(folder: Path | str) -> Snapshot:
    """Give the places of a finished run, to compare with another.

    Args:
        folder: of the run.

    Returns:
        Its vectors, and the log of 1 + the movement of each place; NaN without a graph.

    Raises:
        MissingFileError: if the run has no embeddings.
        PersonalDataError: if it holds personal data.
        RunError: if graph and embeddings are of other places.
    """
    folder = Path(folder)
    embeddings = read_embeddings(folder / "embeddings.parquet")
    volume = np.full(len(embeddings), np.nan)
    if (folder / "graph" / "edges").is_dir():
        mobility = read_mobility(folder / "graph")
        if not np.array_equal(mobility.tokens.ids, embeddings.tokens.ids):
            raise RunError(
                f"{folder}: the graph has {len(mobility.tokens)} places, the "
                f"embeddings have {len(embeddings)}, or their order differs; expected "
                f"the same places. Run the run again."
            )
        volume = np.log1p(mobility.graph.degree() + mobility.graph.within)
    return Snapshot(embeddings.tokens, embeddings.vectors, volume)


def compare_runs(
    before: Path | str, after: Path | str, noise: Noise | None = None
) -> pd.DataFrame:
    """List the places of two runs, the most changed first.

    Args:
        before: folder of a finished run.
        after: folder of another.
        noise: from two quiet runs, see :func:`mora.benchmark.drift.quiet_noise`; by
            default the change of the median place.

    Returns:
        See :func:`mora.benchmark.drift.rank_changes`.

    Raises:
        MoraError: if a run has no embeddings, or the two have too few common places.
    """
    return rank_changes(snapshot_of_run(before), snapshot_of_run(after), noise)
