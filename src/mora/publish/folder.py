"""From a run to a folder for a model hub: what is taken, checked and measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from mora.config import TrainingConfig
from mora.distill.config import DISTILL_TRAINING, DistillConfig
from mora.distill.report import NETWORK, score
from mora.embeddings import Embeddings
from mora.errors import MissingExtraError, MoraError
from mora.personal import require_not_personal
from mora.progress import Progress, silent
from mora.publish.attack_report import (
    EMBEDDINGS,
    ENCODER,
    AttackReport,
    match_attacks,
    run_attacks,
)
from mora.publish.attacks import AttackResult
from mora.publish.card import CardFacts
from mora.publish.config import PublishConfig
from mora.publish.matching import MatchedPairs
from mora.publish.period import Days, require_overlap
from mora.publish.privacy_report import PrivacyStage, privacy_stages
from mora.publish.run_files import (
    RunFiles,
    input_files,
    places_to_publish,
    read_run_files,
)
from mora.publish.user_membership import UserAttack
from mora.publish.writing import SUMS, write_whole

if TYPE_CHECKING:  # torch is loaded when a folder is published
    from mora.distill.network import DistilledModel

FORCE = "`--force` (in Python `force=True`)"


@dataclass(frozen=True)
class Published:
    """What was published.

    Attributes:
        folder: where it is.
        places: published.
        hidden: places that the threshold keeps back.
        stages: what each stage of privacy removed.
        attacks: what attacks can read; None if none was run.
    """

    folder: Path
    places: int
    hidden: int
    stages: Sequence[PrivacyStage]
    attacks: AttackReport | None


def publish(
    run_folder: Path | str,
    to: Path | str,
    config: PublishConfig,
    *,
    encoder: Path | str | None = None,
    distillation: DistillConfig | None = None,
    training: TrainingConfig = DISTILL_TRAINING,
    further_attacks: Sequence[AttackResult] = (),
    attack_users: Callable[[Progress], UserAttack] | None = None,
    days_of_records: Callable[[], Days | None] | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Published:
    """Write a folder that can go to a model hub: all of it, or nothing.

    Args:
        run_folder: of a finished run.
        to: the new folder.
        config: licence, period, thresholds, and what goes in.
        encoder: a distilled encoder of this run; by default the run is distilled, from
            the places that are published.
        distillation: network and tests, where the run is distilled.
        training: optimiser and epochs, where the run is distilled.
        further_attacks: results of attacks that learn again, for the card.
        attack_users: tries whether people can be told, which may learn the run again;
            called when all else is checked, and only if ``config.attacks`` is set.
        days_of_records: gives the first and the last day of the run's records, None
            if not known, which may read them again; called before the long work.
        force: replace a folder that was published before.
        progress: given to ``attack_users``, then told the batches of the distillation.

    Returns:
        What was published; read ``attacks.verdict()`` before sharing it.

    Raises:
        PersonalDataError: if the run, the encoder or a file of theirs is personal.
        ConfigError: if a licence is stated of what is no input of the run, or a period
            in which it has no record.
        MoraError: if ``to`` is taken, user counts are not known, no place has enough
            users, or an encoder is given that knows places which are kept back.
    """
    from mora.distill import CoordinateEncoder  # loads torch

    to = Path(to)
    _require_free(to, force)
    if config.onnx:
        _require_onnx()
    run = read_run_files(Path(run_folder))
    config.require_inputs(input_files(run.manifests))
    shown = places_to_publish(run, config.min_users)
    _require_encoder(encoder, shown)
    records = days_of_records() if days_of_records is not None else None
    require_overlap(config.period, records)
    lonlat = run.embeddings.tokens.centroids()
    matched = _match(run, lonlat, shown, config)  # refuses before the long work
    people = UserAttack()
    if config.attacks and attack_users is not None:
        people = attack_users(progress)
    kept = _take(run.embeddings, shown)
    model, usage = _encoder(kept, encoder, distillation, training, progress)
    vectors = CoordinateEncoder(model).encode(lonlat)
    near = score(NETWORK, "all", vectors[shown], kept.vectors)
    if encoder is not None and not near.r2 > 0:
        raise MoraError(
            f"{encoder} explains {near.r2:.3f} of the variance of the run's vectors; "
            f"expected more than 0. Is it an encoder of another run?"
        )
    attacks = None
    if matched is not None:
        attacks = run_attacks(
            matched,
            lonlat,
            {EMBEDDINGS: run.embeddings.vectors, ENCODER: vectors},
            further=[*further_attacks, *people.results],
            skipped=[people.skipped] if people.skipped else [],
            kept_back=() if config.embeddings else (EMBEDDINGS,),
            seed=config.seed,
        )
    facts = _facts(run, kept, config, model, near.r2, usage, attacks, records)
    write_whole(to, facts, kept, model)
    return Published(to, len(kept), facts.hidden, facts.stages, attacks)


def _require_free(to: Path, force: bool) -> None:
    """Refuse a target that holds something, before long work begins."""
    require_not_personal(to)
    taken = to.is_file() or (to.is_dir() and any(to.iterdir()))
    if taken and not force:
        raise MoraError(
            f"{to} is there already; expected a new folder. Choose another, or replace "
            f"it with {FORCE}."
        )
    if taken and not (to / SUMS).is_file():
        raise MoraError(
            f"{to} holds no {SUMS}, so it was not published before; expected a folder "
            f"that was, or a new one. It is not replaced, even with {FORCE}."
        )


def _require_onnx() -> None:
    from mora.distill.onnx_export import PACKAGES

    for package in PACKAGES:
        if find_spec(package) is None:
            raise MissingExtraError(package, "onnx", "Publishing as ONNX")


def _require_encoder(encoder: Path | str | None, shown: Bool[np.ndarray, " _"]) -> None:
    """Refuse an encoder that knows places which are kept back."""
    if encoder is None:
        return
    path = Path(encoder)
    for file in (path, *(path.iterdir() if path.is_dir() else ())):
        require_not_personal(file)
    if not shown.all():
        raise MoraError(
            f"{(~shown).sum()} of {len(shown)} places are kept back, and {encoder} was "
            f"distilled from all of them; expected an encoder that does not know them. "
            f"Give none: the run is distilled from the places that are published."
        )


def _match(
    run: RunFiles,
    lonlat: Float[np.ndarray, "tokens 2"],
    shown: Bool[np.ndarray, " tokens"],
    config: PublishConfig,
) -> dict[str, MatchedPairs] | None:
    if not config.attacks:
        return None
    return match_attacks(
        run.graph,
        lonlat,
        pairs=config.attack_pairs,
        caliper=config.caliper,
        among=shown,
        seed=config.seed,
    )


def _take(embeddings: Embeddings, shown: Bool[np.ndarray, " tokens"]) -> Embeddings:
    people = embeddings.population
    return replace(
        embeddings,
        tokens=embeddings.tokens.take(np.flatnonzero(shown)),
        vectors=embeddings.vectors[shown],
        population=None if people is None else people[shown],
    )


def _encoder(
    kept: Embeddings,
    encoder: Path | str | None,
    distillation: DistillConfig | None,
    training: TrainingConfig,
    progress: Progress,
) -> tuple["DistilledModel", str]:
    """Load the encoder or distil it, and say how it is used."""
    from mora.distill import distill, load
    from mora.distill.saved import short_card

    about = "It was distilled before; how it does on held-out places is not known here."
    if encoder is not None:
        model = load(encoder)
    else:
        with TemporaryDirectory() as folder:
            report = distill(kept, distillation, training, folder, progress)
            model, about = load(folder), report.to_markdown()
    if model.dim != kept.dim:
        raise MoraError(
            f"{encoder} gives vectors of {model.dim} numbers, the run has {kept.dim}; "
            f"expected an encoder of this run."
        )
    # The card of the folder has a heading of its own.
    return model, short_card(model, about.replace("## ", "### ")).partition("\n\n")[2]


def _facts(
    run: RunFiles,
    kept: Embeddings,
    config: PublishConfig,
    model: "DistilledModel",
    r2: float,
    usage: str,
    attacks: AttackReport | None,
    records: Days | None,
) -> CardFacts:
    stages = privacy_stages(
        run.manifests,
        places=len(kept),
        dim=kept.dim,
        parameters=sum(p.numel() for p in model.network.parameters()),
        min_users=config.min_users,
        r2=r2,
    )
    return CardFacts(
        name=run.name,
        config=config,
        manifests=run.manifests,
        provenance=run.embeddings.provenance,
        places=len(kept),
        hidden=len(run.embeddings) - len(kept),
        kind=kept.tokens.kind,
        dim=kept.dim,
        usage=usage,
        report=run.report,
        stages=stages,
        attacks=attacks,
        records=records,
    )
