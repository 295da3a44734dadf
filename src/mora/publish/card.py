"""The model card of a published folder: front matter for machines, text for people."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from mora.graph.shown_edges import DECLARED
from mora.publish.attack_report import AttackReport
from mora.publish.config import PublishConfig
from mora.publish.period import Days, describe_period
from mora.publish.privacy_report import (
    Manifests,
    PrivacyStage,
    mobility_kind,
    to_markdown,
)
from mora.publish.run_files import input_files

PROTOCOL = "blocked"
NO_ATTACK = "**No attack was run**: nothing is known of what the vectors give away."


@dataclass(frozen=True)
class CardFacts:
    """What a card tells of a run.

    Attributes:
        name: of the run.
        config: licence, period, intended use, limits.
        manifests: of the run's stages.
        provenance: of the embeddings.
        places: published.
        hidden: places that the threshold keeps back.
        kind: of the places, such as ``h3``.
        dim: length of a vector.
        usage: Markdown on how the encoder is loaded and how near it comes.
        report: the run's ``report.json``; empty where there is none.
        stages: what each stage of privacy removed.
        attacks: None if none was run.
        records: first and last day of the records; None if not known.
    """

    name: str
    config: PublishConfig
    manifests: Manifests
    provenance: Mapping[str, Any]
    places: int
    hidden: int
    kind: str
    dim: int
    usage: str
    report: Mapping[str, Any]
    stages: list[PrivacyStage]
    attacks: AttackReport | None
    records: Days | None = None

    @property
    def title(self) -> str:
        """Give the heading."""
        return self.config.title or self.name


def write_card(facts: CardFacts) -> str:
    """Write the card: front matter, then sections from what it is to its limits.

    Source: Mitchell et al. 2019, Model cards for model reporting, for the sections.
    """
    config = facts.config
    sections = {
        "What it is": (
            f"{facts.places:,} {facts.kind} places, vectors of {facts.dim} numbers, "
            f"movement of {describe_period(config.period, facts.records)}."
        ),
        "Intended use": config.intended_use,
        "Limits": _list(_limits(facts)),
        "Encoder": facts.usage,
        "Evaluation": evaluation_table(facts.report),
        "Privacy": _privacy(facts),
        "Inputs and their licences": _list(_inputs(facts)),
    }
    text = "\n\n".join(f"## {name}\n\n{body}" for name, body in sections.items())
    matter = yaml.safe_dump(front_matter(facts), sort_keys=False, allow_unicode=True)
    return f"---\n{matter}---\n\n# {facts.title}\n\n{text}\n"


def front_matter(facts: CardFacts) -> dict[str, Any]:
    """Give what machines read: the keys of model hubs, and ours below ``mora``."""
    config = facts.config
    privacy: dict[str, Any] = {"min_users": config.min_users, "hidden": facts.hidden}
    if facts.attacks is not None:
        privacy["attack_threshold"] = facts.attacks.threshold
        privacy["attacked"] = {
            f"{r.attack}, {r.subject}, {r.score}": round(r.auc.value, 4)
            for r in facts.attacks.results
        }
    return {
        "license": config.licence,
        "library_name": "mora",
        "pipeline_tag": "feature-extraction",
        "tags": list(config.tags),
        "mora": {
            "run": facts.name,
            "data": {
                "mobility": mobility_kind(facts.manifests),
                "modalities": list(facts.provenance.get("modalities", [])),
            },
            "vintage": [day.isoformat() for day in config.period],
            "input_licences": dict(_licences(facts)),
            "intended_use": config.intended_use,
            "privacy": privacy,
        },
    }


def evaluation_table(report: Mapping[str, Any], protocol: str = PROTOCOL) -> str:
    """Write the scores of a run's report as Markdown.

    Args:
        report: content of ``report.json``.
        protocol: how the places were divided.

    Returns:
        A row a label, a column a model, mean and deviation over splits; a sentence
        where there is nothing to show.
    """
    tasks = {
        name: {m: found[protocol] for m, found in by_model.items() if protocol in found}
        for name, by_model in report.get("tasks", {}).items()
    }
    models = list(dict.fromkeys(m for found in tasks.values() for m in found))
    if not models:
        return f"The run was not evaluated on {protocol} splits."
    lines = [f"| label | {' | '.join(models)} |", f"| --- |{' ---: |' * len(models)}"]
    for name, found in tasks.items():
        cells = [_score(found.get(model)) for model in models]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    leaky = [f"{n} is given away by the inputs: {w}." for n, w in _leaky(report)]
    about = (
        f"R2 on {protocol} splits, mean ± deviation over splits; baselines beside it."
    )
    return "\n\n".join([about, "\n".join(lines), *leaky])


def _score(found: Mapping[str, Any] | None) -> str:
    if found is None or found.get("mean") is None:
        return ""
    spread = "" if found.get("std") is None else f" ± {found['std']:.3f}"
    return f"{found['mean']:.3f}{spread}"


def _leaky(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    return list(report.get("leaky", {}).items())


def _limits(facts: CardFacts) -> Iterator[str]:
    yield from facts.config.limits
    yield from (str(note) for note in facts.provenance.get("notes", ()))
    yield "Anywhere but in the places it was distilled from its vectors mean nothing."
    yield "Nearby places resemble each other: read the blocked scores, not random ones."


def _privacy(facts: CardFacts) -> str:
    least = facts.config.min_users
    threshold = (
        f"No number of users was asked for (`min_users: null`). {DECLARED}"
        if least is None
        else f"A place is published if at least {least} users are known to have been "
        f"there; {facts.hidden:,} places are kept back."
    )
    found = NO_ATTACK if facts.attacks is None else facts.attacks.to_markdown()
    parts = [threshold, *_too_few(facts), to_markdown(facts.stages)]
    return "\n\n".join([*parts, "### What attacks can read", found])


def _too_few(facts: CardFacts) -> Iterator[str]:
    """Warn of edges that took part in learning and would not be published."""
    graph = facts.manifests["graph"]["facts"].get("privacy")
    least = facts.config.min_users
    if graph and least is not None and graph["min_users"] < least:
        yield (
            f"**Edges of {graph['min_users']} to {least - 1} users took part in "
            f"learning.** Build the graph with `mobility.min_users: {least}` to leave "
            f"them out."
        )


def _inputs(facts: CardFacts) -> Iterator[str]:
    licences = dict(_licences(facts))
    for place, checksum in input_files(facts.manifests).items():
        yield f"`{place}`: licence {licences[place]}, checksum {checksum}"
    if not licences:
        yield "No input files are recorded."


def _licences(facts: CardFacts) -> Iterator[tuple[str, str]]:
    for place in input_files(facts.manifests):
        yield place, facts.config.licence_of(place)


def _list(lines: Iterator[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
