"""The stages of a run: what each reads, depends on and leaves."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mora.pipeline.evaluation import check_evaluation, run_evaluate
from mora.pipeline.exporting import run_embed
from mora.pipeline.flows import (
    mobility_from_arrays,
    mobility_from_flows,
    mobility_from_gravity,
    mobility_from_neighbours,
    mobility_from_radiation,
)
from mora.pipeline.inputs import RunContext
from mora.pipeline.learning import (
    check_features,
    check_training,
    run_features,
    run_line,
    run_train,
)
from mora.pipeline.mapping import check_map, run_map
from mora.pipeline.restriction import restrict
from mora.pipeline.visits import mobility_from_visits

MOBILITY = {
    "visits": mobility_from_visits,
    "flows": mobility_from_flows,
    "gravity": mobility_from_gravity,
    "radiation": mobility_from_radiation,
    "neighbours": mobility_from_neighbours,
    "arrays": mobility_from_arrays,
}


def run_graph(context: RunContext, folder: Path) -> dict[str, Any]:
    """Turn records or flows into tokens and a graph."""
    config = context.config.mobility
    mobility = restrict(context, MOBILITY[config.kind](context, config, folder))
    mobility.write(folder)
    tokens, graph = mobility.tokens, mobility.graph
    context.display.say(
        f"  {len(tokens):,} {tokens.kind} tokens, {graph.edges:,} edges of total "
        f"weight {graph.total_weight():,.0f}"
    )
    facts = {"tokens": len(tokens), "edges": graph.edges, **mobility.facts}
    shutil.rmtree(folder / "counted", ignore_errors=True)  # as large as the graph
    return facts


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Attributes:
        name: also its folder and its subcommand.
        title: what it does, for people.
        after: stages whose result it reads.
        sections: parts of the configuration that it depends on.
        work: does it and gives facts for the manifest.
        products: files in the run's folder that it may leave.
        check: refuses what the stage could not use, before the stages that take long.
        shared: all processes of a run do its work together; others are the first's.
        ignores: settings within its sections that its result does not depend on; ``*``
            stands for any name.
        revision: of how it works. A stage that was done under another one is done
            again, though its settings are the same.
    """

    name: str
    title: str
    after: tuple[str, ...]
    sections: tuple[str, ...]
    work: Callable[[RunContext, Path], dict[str, Any]]
    products: tuple[str, ...] = ()
    check: Callable[[RunContext], None] | None = None
    shared: bool = False
    ignores: tuple[str, ...] = ()
    revision: int = 0


STAGES = (
    Stage("graph", "Places and mobility graph", (), ("tokens", "mobility"), run_graph),
    Stage("line", "LINE pre-encoding", ("graph",), ("line", "seed"), run_line),
    Stage(
        "features", "Features of every place", ("graph",),
        ("tokens", "modalities"), run_features, check=check_features,
        ignores=("modalities.*.head", "modalities.*.align", "modalities.*.standardise"),
    ),
    Stage(
        "train", "Aligning the modalities with mobility", ("line", "features"),
        ("sample", "encoder", "objectives", "training", "modalities", "seed"),
        run_train, check=check_training, shared=True,
    ),
    Stage(
        "embed", "Embeddings", ("train",),
        ("name", "preset", "notes", "export"), run_embed,
        ("embeddings.parquet",), revision=1,
    ),
    Stage(
        "evaluate", "Evaluation", ("embed",), ("evaluation", "notes"),
        run_evaluate, ("report.json", "report.md"), check_evaluation,
    ),
    Stage(
        "map", "Map", ("evaluate",), ("name", "map", "evaluation", "notes"), run_map,
        ("map.html",), check_map,
    ),
)  # fmt: skip
