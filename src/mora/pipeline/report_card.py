"""What a run was made of, for its report: model card and sources."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mora.benchmark import Report
from mora.explore.report_parts import DataSource, ModelCard
from mora.pipeline.folder import read_json
from mora.pipeline.inputs import RunContext
from mora.pipeline.mobility import Mobility
from mora.pipeline.models import MODEL
from mora.publish.config import INTENDED


def model_card(context: RunContext, report: Report, mobility: Mobility) -> ModelCard:
    """Say what the vectors were made of, and what they are not for."""
    config = context.config
    modalities = [name for name, m in config.modalities.items() if m.align]
    graph = mobility.graph
    return ModelCard(
        intended_use=INTENDED,
        trained_on=(
            f"{len(mobility.tokens):,} {mobility.tokens.kind} tokens joined by "
            f"{graph.edges:,} edges (mobility: {config.mobility.kind}, edges: "
            f"{getattr(config.mobility, 'edges', 'neighbours')}); aligned: "
            f"{', '.join(modalities) or 'nothing'}"
        ),
        dim=report.dims[MODEL],
        seeds=(config.seed,),
        limits=list(_limits(report)),
        privacy=_privacy(context),
    )


def _limits(report: Report) -> Iterator[str]:
    yield "One training run; differences between models are paired over splits."
    yield "Nearby places resemble each other: read the blocked scores first."
    for task, why in report.leaky.items():
        yield f"{task} is given away by the inputs: {why}."


def _privacy(context: RunContext) -> list[str]:
    """Say what hides small groups, from the manifest of the graph."""
    manifest = read_json(context.folder / "graph" / "manifest.json") or {}
    facts = manifest.get("facts", {})
    if "privacy" in facts:
        least = getattr(context.config.mobility, "min_users", None)
        return [
            f"An edge or place needs {least} different users over the whole period.",
            "User ids are hashed under a secret that is never written.",
        ]
    hidden = facts.get("hidden")
    if hidden:
        return [f"{hidden['edges']:,} edges below {hidden['min_weight']:g} are hidden."]
    return ["The inputs hold no records of persons."]


def sources(folder: Path) -> Iterator[DataSource]:
    """List every input file with its checksum, from the manifests of the stages."""
    seen = set()
    for stage in ("graph", "features", "evaluate"):
        manifest = read_json(folder / stage / "manifest.json") or {}
        for place, checksum in manifest.get("inputs", {}).items():
            if checksum not in seen:
                seen.add(checksum)
                file = _file_at(manifest.get("settings", {}), place)
                yield DataSource(place, Path(file).name, checksum)


def _file_at(settings: Any, place: str) -> str:
    """Find the file that a setting such as ``mobility.table.path[0]`` names."""
    part = settings
    for step in place.partition("[")[0].split("."):
        if isinstance(part, list):
            part = part[int(step)] if step.isdigit() and int(step) < len(part) else None
        else:
            part = part.get(step) if isinstance(part, Mapping) else None
    return part if isinstance(part, str) else "a frame"
