"""What publishing reads of a run, refused where it is personal data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from mora.embeddings import Embeddings, read_embeddings
from mora.errors import MissingFileError, MoraError, RunError
from mora.graph.storage import MobilityGraph, read_graph
from mora.personal import require_not_personal
from mora.publish.edges import require_user_counts, users_of_places
from mora.publish.privacy_report import Manifests, mobility_kind
from mora.tokens import read_tokens

STAGES = ("graph", "features", "train")
# A run evaluates itself; `mora benchmark` leaves its report in a folder of its own.
REPORTS = ("report.json", "benchmark/report.json")


@dataclass(frozen=True, eq=False)
class RunFiles:
    """A finished run, as far as it is published or described.

    Attributes:
        name: of the run.
        embeddings: places and vectors.
        graph: the edges that were learned from, in the order of the embeddings.
        manifests: of the stages graph, features and train.
        report: content of its evaluation; empty where there is none.
    """

    name: str
    embeddings: Embeddings
    graph: MobilityGraph
    manifests: Manifests
    report: Mapping[str, Any]


def read_run_files(folder: Path) -> RunFiles:
    """Read what is needed of a run folder.

    Args:
        folder: of a finished run.

    Raises:
        PersonalDataError: if the folder or a file that is read holds personal data,
            also by a link that leads there.
        MissingFileError: if a file is missing.
        RunError: if graph and embeddings are of other places.
    """
    stages = [f"{stage}/manifest.json" for stage in STAGES]
    tokens = "graph/tokens.parquet"
    for name in ("", "embeddings.parquet", "graph/edges", tokens, *stages, *REPORTS):
        require_not_personal(folder / name)
    embeddings = read_embeddings(folder / "embeddings.parquet")
    for name in (tokens, stages[0]):
        if not (folder / name).is_file():
            raise MissingFileError(folder / name, "publishing a run")
    ids = read_tokens(folder / tokens).ids
    if not np.array_equal(ids, embeddings.tokens.ids):
        raise RunError(
            f"{folder}: the graph has {len(ids)} places, the embeddings have "
            f"{len(embeddings)}, or their order differs; expected the same places. Run "
            f"the run again."
        )
    reports = [folder / name for name in REPORTS if (folder / name).is_file()]
    return RunFiles(
        name=str(embeddings.provenance.get("run", folder.name)),
        embeddings=embeddings,
        graph=read_graph(folder / "graph" / "edges"),
        manifests={
            stage: _read_json(folder / stage / "manifest.json")
            for stage in STAGES
            if (folder / stage / "manifest.json").is_file()
        },
        report=_read_json(reports[0]) if reports else {},
    )


def input_files(manifests: Manifests) -> dict[str, str]:
    """Give the checksum of every input that was learned from, by its place."""
    found: dict[str, str] = {}
    for stage in ("graph", "features"):
        found |= manifests.get(stage, {}).get("inputs", {})
    return found


def places_to_publish(
    run: RunFiles, min_users: int | None
) -> Bool[np.ndarray, " tokens"]:
    """Mark the places where enough people are known to have been.

    Args:
        run: to publish.
        min_users: distinct users that a place needs; None for inputs that count none.

    Returns:
        All places where the graph was built with that threshold or a higher one;
        else those with an edge of as many users.

    Raises:
        MoraError: if no place is left, or None is given for a run from visits.
        GraphError: if a number is given and the graph counts no users.
    """
    if min_users is None:
        if mobility_kind(run.manifests) == "visits":
            raise MoraError(
                f"min_users is None for the run {run.name!r}, which is made of visits; "
                f"expected a number, such as 5. None is for published flows."
            )
        return np.ones(len(run.graph), bool)
    require_user_counts(run.graph)
    applied = run.manifests["graph"]["facts"].get("privacy", {}).get("min_users", 0)
    if applied >= min_users:
        return np.ones(len(run.graph), bool)
    shown = users_of_places(run.graph) >= min_users
    if not shown.any():
        raise MoraError(
            f"none of {len(shown)} places is known to have had {min_users} users; "
            f"expected at least one. Lower min_users, or use coarser places."
        )
    return shown


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise RunError(
            f"{path} is not whole ({error}); expected JSON. Run the stage again."
        ) from error
