"""Checks of what a run has left: its stages, graph, vectors and features."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mora.embeddings import read_embeddings
from mora.errors import MoraError, NoGeometryError
from mora.modalities import read_features
from mora.pipeline.folder import LAYOUT, MANIFEST, StageFolder, read_json
from mora.pipeline.mobility import read_mobility
from mora.pipeline.stages import STAGES
from mora.pipeline.validation_checks import (
    check_bounds,
    check_duplicate_tokens,
    check_isolated,
    check_modality,
    check_users,
    check_vectors,
    count_not_finite,
)
from mora.pipeline.validation_report import Check, Level
from mora.tokens import Tokens

NEEDED = ("graph", "line", "features", "train", "embed")  # for embeddings


def read_manifests(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the manifests of the stages that are done."""
    read = {s.name: read_json(folder / s.name / MANIFEST) for s in STAGES}
    return {
        name: {"facts": {}} | manifest
        for name, manifest in read.items()
        if isinstance(manifest, dict)
    }


def check_outputs(
    folder: Path, manifests: Mapping[str, Mapping[str, Any]]
) -> Iterator[Check]:
    """Check the files that the stages left."""
    yield _check_stages(folder, manifests)
    yield from tried("graph", lambda: _check_graph(folder, manifests))
    if "embed" in manifests or (folder / "embeddings.parquet").is_file():
        yield from tried("embeddings", lambda: _check_embeddings(folder))
    facts = manifests.get("features", {}).get("facts", {})
    for name in (name for name in facts if name != "tables"):
        read = _modality_reader(folder, name)
        yield from tried(f"modality {name}", read)


def _check_stages(folder: Path, manifests: Mapping[str, Mapping[str, Any]]) -> Check:
    """Look whether every stage is done, and its files are whole and of one layout."""
    missing = [name for name in NEEDED if name not in manifests]
    torn, old = [], []
    for stage in STAGES:
        if stage.name not in manifests:
            continue
        mark = manifests[stage.name].get("fingerprint", "")
        home = StageFolder(folder / stage.name, mark, stage.products)
        if "files" not in manifests[stage.name] or home.manifest() is None:
            torn.append(stage.name)
        if home.other_layout() is not None:
            old.append(stage.name)
    level: Level = "warning" if missing or old else "ok"
    return Check(
        "stages",
        "error" if torn else level,
        f"{len(manifests)} done; {len(torn)} with files missing or cut short, "
        f"{len(missing)} not done, {len(old)} not in layout {LAYOUT}",
        (*torn, *missing, *old),
        "Run again: what is whole is not done twice.",
    )


def _check_graph(
    folder: Path, manifests: Mapping[str, Mapping[str, Any]]
) -> list[Check]:
    """Check places and edges."""
    mobility = read_mobility(folder / "graph")
    settings = manifests.get("graph", {}).get("settings", {})
    told = settings.get("mobility", {})
    kind, edges = told.get("kind", "unknown"), told.get("edges", "movement")
    checks = [
        check_users(mobility.graph, kind, edges, told.get("min_users")),
        check_isolated(mobility.tokens, mobility.graph),
    ]
    bounds = settings.get("tokens", {}).get("bounds")
    middles = _middles(mobility.tokens)
    if bounds is not None and middles is not None:
        checks.append(check_bounds(mobility.tokens, middles, tuple(bounds)))
    return checks


def _middles(tokens: Tokens) -> np.ndarray | None:
    """Give the middle of each place; None where that is not known."""
    try:
        return tokens.centroids()
    except NoGeometryError:
        return None


def _check_embeddings(folder: Path) -> list[Check]:
    """Check the vectors, and that they are those of the places of the graph."""
    embeddings = read_embeddings(folder / "embeddings.parquet")
    places = read_mobility(folder / "graph").tokens
    same = np.array_equal(places.ids, embeddings.tokens.ids)
    return [
        Check(
            "places of graph and embeddings",
            "ok" if same else "error",
            f"{len(places):,} places in the graph, {len(embeddings):,} with vectors",
            (),
            "They differ or are in another order: run the run again.",
        ),
        *check_vectors(embeddings.tokens, embeddings.vectors),
        check_duplicate_tokens(embeddings.tokens, embeddings.vectors),
    ]


def _modality_reader(folder: Path, name: str) -> Callable[[], list[Check]]:
    def read() -> list[Check]:
        tokens = read_mobility(folder / "graph").tokens
        features = read_features(folder / "features", name)
        broken = count_not_finite(features.values)
        return [check_modality(name, np.asarray(features.present), broken, tokens)]

    return read


def tried(name: str, work: Callable[[], list[Check]]) -> list[Check]:
    """Make checks; what cannot be read becomes a check of its own."""
    try:
        return work()
    except (MoraError, OSError) as error:
        return [Check(name, "error", str(error), (), "Do this stage again.")]
