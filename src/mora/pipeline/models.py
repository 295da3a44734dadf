"""The vectors that are scored: the run's own, and those of the baselines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from mora.baselines import (
    Baseline,
    BaselineInput,
    MissingInputError,
    Volume,
    find_baseline,
)
from mora.errors import MissingExtraError, NoGeometryError
from mora.graph.neighbours import build_neighbour_graph
from mora.modalities import Features, read_features
from mora.pipeline.folder import fingerprint, read_json
from mora.pipeline.inputs import RunContext, locate
from mora.pipeline.mobility import Mobility
from mora.pipeline.units import lonlat_of

MODEL = "mora"
READ_STAGES = ("graph", "line", "features")  # whose results a baseline may read
Models = dict[str, np.ndarray | list[np.ndarray]]


def run_vectors(context: RunContext) -> np.ndarray:
    """Give the vectors that the run exports."""
    return np.load(context.folder / "embed" / "vectors.npy", allow_pickle=False)


def run_features(context: RunContext) -> dict[str, Features]:
    """Read the features of every modality of the run."""
    folder = context.folder / "features"
    return {name: read_features(folder, name) for name in context.config.modalities}


def with_gaps(features: Features) -> Float[np.ndarray, "tokens columns"]:
    """Give the values with NaN for tokens that have none."""
    return np.where(features.present[:, None], features.values, np.nan)


def baseline_input(
    context: RunContext, mobility: Mobility, names: Sequence[str]
) -> BaselineInput:
    """Gather what a run has; what none of the named baselines needs is left out."""
    graph = mobility.graph
    needed = {need for name in names for need in find_baseline(name).needs}
    flows = (np.array(graph.outflow), np.array(graph.inflow), np.array(graph.within))
    matrix = None
    if "flows" in needed:
        matrix = sp.csr_array(graph.symmetric() + sp.diags_array(flows[2]))
    return BaselineInput(
        lonlat=lonlat_of(mobility.tokens),
        line=np.load(context.folder / "line" / "vectors.npy", allow_pickle=False),
        volume=Volume(*flows),
        features={name: with_gaps(f) for name, f in run_features(context).items()},
        flows=matrix,
        neighbours=_neighbours(mobility) if "neighbours" in needed else None,
        tokens=mobility.tokens,
        seed=context.config.seed,
    )


def _neighbours(mobility: Mobility) -> sp.csr_array | None:
    try:
        return build_neighbour_graph(mobility.tokens).symmetric()
    except NoGeometryError:
        return None


def check_baselines(context: RunContext) -> None:
    """Refuse unknown baselines, and files of theirs that are not there.

    Raises:
        MoraError: saying which and why.
    """
    config = context.config.evaluation
    for name in [*config.baselines, *config.baseline_options]:
        find_baseline(name)
    for options in config.baseline_options.values():
        _located(options)


def embed_baselines_of_run(
    context: RunContext, mobility: Mobility, names: Sequence[str], cache: Path
) -> tuple[Models, dict[str, str]]:
    """Embed with each named baseline that has what it needs.

    Args:
        context: the run; ``baseline_options`` and ``tune`` of its evaluation apply.
        mobility: places and graph.
        names: of the baselines.
        cache: folder of vectors that are made already; those of the same inputs and
            options are read from it.

    Returns:
        The vectors by name (a list of them, one a setting, where baselines are tuned),
        and the reason for each baseline that was left out.
    """
    config = context.config.evaluation
    given = baseline_input(context, mobility, names)
    models: Models = {}
    left_out = {}
    with context.display.bar("Embedding baselines", "baselines") as progress:
        for done, name in enumerate(names):
            progress(done, len(names))
            chosen = find_baseline(name)
            own = _located(config.baseline_options.get(name, {}))
            # What is tried goes over what is configured, or nothing would be tried.
            tried = [{**own, **s} for s in chosen.settings] if config.tune else [own]
            try:
                found = [_cached(context, cache, chosen, given, o) for o in tried]
                models[name] = found if config.tune and len(found) > 1 else found[0]
            except (MissingInputError, MissingExtraError) as reason:
                left_out[name] = str(reason)
    return models, left_out


def _cached(
    context: RunContext,
    cache: Path,
    chosen: Baseline,
    given: BaselineInput,
    options: Mapping[str, Any],
) -> np.ndarray:
    """Read vectors that were made before, or make them."""
    if chosen.group in ("input", "analytical"):  # quicker made than read
        return chosen(given, **options)
    stages = [read_json(context.folder / s / "manifest.json") for s in READ_STAGES]
    marks = [(stage or {}).get("fingerprint") for stage in stages]
    key = fingerprint([chosen.name, dict(options), marks, given.seed])
    file = cache / f"{chosen.name}-{key}.npy"
    if file.is_file():
        return np.load(file, allow_pickle=False)
    vectors = chosen(given, **options)
    cache.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    with part.open("wb") as opened:
        np.save(opened, vectors)
    part.replace(file)
    return vectors


def _located(options: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a path among the options into a file that is there."""
    found = dict(options)
    if isinstance(found.get("path"), str):
        found["path"] = str(locate(found["path"], "weights or vectors of a baseline"))
    return found
