"""What the states of a RAW run know, and what its heads look at."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from mora.explore.drawing import COLOURS, new_figure, save_figure, styled
from mora.pipeline.raw import RawRun
from mora.trajectories.raw.inputs import make_inputs
from mora.trajectories.raw.network import RawNetwork
from mora.trajectories.raw.probes import (
    ProbeConfig,
    encoder_of,
    probe_states,
    summarise_attention,
)
from mora.trajectories.raw.rules import night_and_noon
from mora.trajectories.raw.steps import Steps
from mora.trajectories.raw.tasks import TaskScore

if TYPE_CHECKING:
    import matplotlib.figure

WATCHED = 4  # users whose attention is looked at; it grows with the steps squared
HEADS_DRAWN = 4
MODELS = ("states", "shuffled", "coordinates", "nothing")
EXPLAINED = """Mean error ± standard deviation over splits of unseen users, by ridge on
frozen states: `home` and `work` from the mean state, `hour` from single states. What
`states` tell better than `shuffled` (the same steps in a random order) they have from
the order in time; better than `coordinates`, from the network.
"""


def probe_run(run: RawRun) -> str:
    """Probe the states of users whom the network never saw, and draw its attention.

    Home and work are those of the generator where the people are made up; else where
    each user usually is at night and around noon.

    Args:
        run: with a network, which is trained if it is not yet.

    Returns:
        The tables in Markdown, which are ``probes.md``. ``attention.csv`` has a row for
        each head, ``attention.png`` and ``.svg`` maps of a few.

    Raises:
        MissingExtraError: without matplotlib, before anything is trained.
        MoraError: if too few homes or works are known.
    """
    _require_drawing()
    network, people = run.network(), run.people
    rows = np.flatnonzero(people.test)
    steps = people.steps.take_users(rows)
    home, work = _home_and_work(run, rows)
    config = ProbeConfig(repeats=run.config.heads.repeats, seed=run.config.seed)
    scores = probe_states(encoder_of(network), steps, home, work, config)
    attention = _attention(network, steps.take_users(slice(0, WATCHED)))
    heads = summarise_attention(attention, steps.steps_a_day)
    heads.to_csv(run.home / "attention.csv")
    save_figure(
        _draw_attention(attention, heads, steps.minutes), run.home / "attention"
    )
    text = "\n".join([_table(scores), EXPLAINED, _most_daily(heads)])
    (run.home / "probes.md").write_text(text)
    return text


def _home_and_work(
    run: RawRun, rows: np.ndarray
) -> tuple[Float[np.ndarray, "users 2"], Float[np.ndarray, "users 2"]]:
    """Give where unseen users live and work; NaN where they do not."""
    people = run.people
    if people.home is not None and people.work is not None:
        return people.home[rows], people.work[rows]
    traces = people.traces.of_users(people.steps.users[rows])
    usual = night_and_noon(traces)
    return usual.night, usual.noon


def _attention(
    network: RawNetwork, steps: Steps
) -> Float[np.ndarray, "layers users heads steps steps"]:
    inputs = make_inputs(steps, network.config)
    weight = network.position.weight
    return network.attention_maps(*inputs.to(weight.device, weight.dtype)).cpu().numpy()


@styled
def _require_drawing() -> None:
    """Fail where there is no matplotlib."""


@styled
def _draw_attention(
    attention: Float[np.ndarray, "layers users heads steps steps"],
    heads: pd.DataFrame,
    minutes: float,
) -> "matplotlib.figure.Figure":
    """Draw the weight by how far back it is, for heads that look near and far."""
    shown = heads["steps_back"].sort_values()
    picks = np.unique(np.linspace(0, len(shown) - 1, HEADS_DRAWN).round().astype(int))
    figure = new_figure(4.6)
    for place, (layer, head) in enumerate(shown.index[picks]):
        axes = figure.add_subplot(2, 2, place + 1)
        mean = attention[layer, :, head].mean(axis=0)
        hours, weights = _by_distance(mean, minutes)
        axes.fill_between(hours, weights, step="mid", color=COLOURS[place], linewidth=0)
        axes.set_title(f"layer {layer}, head {head}")
        axes.set_xlabel("hours back")
        axes.set_ylabel("mean weight")
        axes.set_ylim(bottom=0)  # else weights that are nearly even look uneven
    return figure


def _by_distance(
    mean: Float[np.ndarray, "steps steps"], minutes: float
) -> tuple[Float[np.ndarray, " lags"], Float[np.ndarray, " lags"]]:
    """Give the mean weight of a step by how long before it was.

    Only the later half of the steps looks back: all of them can look as far.
    """
    half = len(mean) // 2
    lags = np.arange(len(mean) - half)
    rows = np.arange(half, len(mean))
    weights = np.array([mean[rows, rows - lag].mean() for lag in lags])
    return lags * minutes / 60, weights


def _table(scores: list[TaskScore]) -> str:
    found = {(s.task, s.metric): {} for s in scores}
    for score in scores:
        found[score.task, score.metric][score.model] = score
    lines = ["| probe | " + " | ".join(MODELS) + " |", "| --- " + "| ---: " * 4 + "|"]
    for (task, metric), row in found.items():
        cells = [f"{row[m].mean:.3f} ± {row[m].std:.3f}" for m in MODELS]
        lines.append(f"| {task} ({metric}) | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _most_daily(heads: pd.DataFrame) -> str:
    """Say which head looks most at the same time of earlier days."""
    share = heads["daily"]
    if share.isna().all():
        return "Trajectories of up to a day: no head can look a day back.\n"
    (layer, head), even = share.idxmax(), heads["daily_if_even"].iloc[0]
    return (
        f"The head that looks most at the same time of earlier days (layer {layer}, "
        f"head {head}) puts {share.max():.1%} of its weight there; even weights would "
        f"put {even:.1%}.\n"
    )
