"""The experiments of the paper, made for the configuration of any run."""

import difflib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from mora.config import RunConfig
from mora.errors import ConfigError
from mora.experiments.coverage import scaling
from mora.experiments.sections import fused
from mora.experiments.variants import Experiment, Variant

Maker: TypeAlias = Callable[[RunConfig, Path], Experiment]
EXPERIMENTS: dict[str, Maker] = {"scaling": scaling, "fused": fused}

# MoRA, section 4.1: the grid that is searched during training.
LEARNING_RATES = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3)
WEIGHT_DECAYS = (1e-3, 1e-2, 1e-1)
# MoRA, Table 6: mean R2 without each modality against 0.779 with all.
TABLE_6 = {"poi": 0.765, "imagery": 0.762, "demographics": 0.748}
WHOLE = 0.779
# MoRA, Table 7: mean R2 over the nine tasks at H3 level 5, 6 and 7 in East China.
TABLE_7 = {-1: 0.697, 0: 0.752, 1: 0.778}


def experiment(name: str) -> Callable[[Maker], Maker]:
    """Register a function from a configuration to an experiment under a name."""

    def register(maker: Maker) -> Maker:
        EXPERIMENTS[name] = maker
        return maker

    return register


def make_experiment(name: str, config: RunConfig, folder: Path) -> Experiment:
    """Make a named experiment for a run.

    Args:
        name: key of :data:`EXPERIMENTS`.
        config: the run that is varied.
        folder: of the finished run; some experiments look at its places.

    Raises:
        ConfigError: if there is no such experiment, or it has nothing to vary here.
    """
    if name not in EXPERIMENTS:
        near = difflib.get_close_matches(name, EXPERIMENTS, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"no experiment {name!r}; expected one of {', '.join(EXPERIMENTS)}.{hint}"
        )
    return EXPERIMENTS[name](config, folder)


@experiment("ablation")
def ablation(config: RunConfig, _folder: Path) -> Experiment:
    """Take parts of the method away: anchor, alignment, graph, LINE, modalities."""
    aligned = _aligned(config)
    alone = {name: {"align": False} for name in aligned}
    variants = [
        Variant("MoRA", paper=0.0),
        Variant("w/o CLIP", {"modalities": alone}, paper=-6.5),
        Variant("w/o graph encoder (MLP)", {"encoder": {"kind": "mlp"}}),
        Variant("w/o LINE", {"line": {"method": "random", "options": {}}}, paper=-1.5),
        Variant("neighbour graph", {"mobility": {"edges": "neighbours"}}, paper=-12.2),
        *_anchors(aligned),
    ]
    if len(aligned) > 1:
        variants += [
            Variant(
                f"w/o {name}",
                {"modalities": {name: {"align": False}}},
                paper=_percent(TABLE_6.get(name)),
            )
            for name in aligned
        ]
    return Experiment(
        "ablation",
        "What each part of the method is worth",
        "MoRA, section 4.4, figure 3 (a) and (b), and Table 6",
        tuple(variants),
        notes=(
            "The paper gives -1 to -2 % for w/o LINE, and no number for w/o graph "
            "encoder beyond that it costs most. Mobility as the anchor is 16.8 % above "
            "the best other anchor, demographics: -14.4 % seen from mobility.",
        ),
    )


def _anchors(aligned: list[str]) -> Iterator[Variant]:
    for name in aligned:
        paper = -14.4 if name == "demographics" else None
        yield Variant(f"{name} as anchor", {"encoder": {"anchor": name}}, paper=paper)


@experiment("sampling")
def sampling(config: RunConfig, _folder: Path) -> Experiment:
    """Keep the heaviest or random edges, at three shares."""
    ways = itertools.product(("weight", "random"), (0.1, 0.2, 0.3))
    shown = {"weight": "top", "random": "random"}
    variants = [
        Variant(
            f"{shown[by]} {share:.0%}".replace("%", " %"),
            {"sample": {"by": by, "share": share}},
            size=100 * share,
        )
        for by, share in ways
    ]
    own = config.sample
    first = [
        v for v in variants if v.changes["sample"] == {"by": own.by, "share": own.share}
    ]
    rest = [v for v in variants if v not in first]
    return Experiment(
        "sampling",
        "Which edges the encoder propagates over",
        "MoRA, section 4.4, figure 3 (c), without numbers",
        (*(first or [Variant("as configured")]), *rest),
        axis="share of each place's edges, %",
    )


@experiment("resolution")
def resolution(config: RunConfig, _folder: Path) -> Experiment:
    """Rebuild everything one H3 level finer and coarser.

    Raises:
        ConfigError: if tokens are no H3 cells.
    """
    if config.tokens.kind != "h3":
        raise ConfigError(
            f"tokens.kind is {config.tokens.kind!r}; the experiment changes the H3 "
            f"level and needs 'h3'."
        )
    level = config.tokens.resolution
    common = {"evaluation": {"labels": _with_common_units(config, level - 1)}}
    variants = [
        Variant(
            f"H3 level {level + step}",
            {"tokens": {"resolution": level + step}} | common,
            paper=TABLE_7[step],
            size=level + step,
        )
        for step in (0, -1, 1)
    ]
    return Experiment(
        "resolution",
        "How large a place should be",
        "MoRA, appendix A.6 and Table 7",
        tuple(variants),
        paper_unit="R2",
        notes=(
            f"R2 of cells is over the cells of each level, and so not of the same "
            f"places; labels named ...@{level - 1} and labels of zones are of the same "
            f"units at every level. The paper's levels are 5, 6 and 7.",
        ),
    )


def _with_common_units(config: RunConfig, level: int) -> list[dict[str, Any]]:
    """Add to each table of point labels the same labels of cells of one level."""
    tables = []
    for labels in config.evaluation.labels:
        own = labels.model_dump(mode="json", exclude={"declared"})
        tables.append(own)
        if labels.unit == "token":
            renamed = {
                key: {f"{name}@{level}": value for name, value in own[key].items()}
                for key in (
                    "values",
                    "transform",
                    "given_away",
                    "domains",
                    "descriptions",
                )
            }
            unit = {"unit": "parent", "parent_resolution": level}
            tables.append({**own, **renamed, **unit})
    return tables


@experiment("width")
def width(config: RunConfig, _folder: Path) -> Experiment:
    """Give the vectors more or fewer columns."""
    widths = sorted({32, 64, 128, 256, config.line.dim})
    variants = [
        Variant(f"{dim} columns", {"line": {"dim": dim}}, size=dim) for dim in widths
    ]
    variants.sort(key=lambda variant: variant.size != config.line.dim)
    return Experiment(
        "width",
        "How many columns the vectors need",
        "not in the paper, which has 128",
        tuple(variants),
        figure="curve",
        axis="columns",
    )


@experiment("temperature")
def temperature(config: RunConfig, _folder: Path) -> Experiment:
    """Scale the temperatures of all modalities together."""
    variants = []
    for factor in (1.0, 0.25, 0.5, 2.0):
        heads = {
            name: {"head": {"temperature": factor * modality.head.temperature}}
            for name, modality in config.modalities.items()
        }
        variants.append(
            Variant(f"temperatures x {factor:g}", {"modalities": heads}, size=factor)
        )
    return Experiment(
        "temperature",
        "How sharp the contrastive loss should be",
        "MoRA gives its temperatures without a study",
        tuple(variants),
        axis="factor",
    )


@experiment("grid")
def grid(config: RunConfig, _folder: Path) -> Experiment:
    """Search learning rate and weight decay as the paper does."""
    own = config.training
    variants = [Variant("as configured")]
    for rate, decay in itertools.product(LEARNING_RATES, WEIGHT_DECAYS):
        if (rate, decay) != (own.learning_rate, own.weight_decay):
            change = {"learning_rate": rate, "weight_decay": decay}
            variants.append(Variant(f"lr {rate:g}, wd {decay:g}", {"training": change}))
    return Experiment(
        "grid",
        "Learning rate and weight decay, chosen on validation loss",
        "MoRA, section 4.1, implementation details",
        tuple(variants),
        by_validation=True,
    )


def _aligned(config: RunConfig) -> list[str]:
    """Name the modalities that are aligned.

    Raises:
        ConfigError: if there is none.
    """
    aligned = [name for name, m in config.modalities.items() if m.align]
    if not aligned:
        raise ConfigError(
            "modalities: none is aligned, so nothing can be taken away; expected at "
            "least one with `align: true`."
        )
    return aligned


def _percent(r2: float | None) -> float | None:
    return None if r2 is None else round(100 * (r2 / WHOLE - 1), 1)
