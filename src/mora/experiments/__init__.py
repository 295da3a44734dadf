"""Studies of the paper on any data: lists of changes to a run, and their tables."""

from mora.experiments.catalogue import EXPERIMENTS, make_experiment
from mora.experiments.outcome import Outcome
from mora.experiments.running import run_experiment
from mora.experiments.variants import Experiment, Variant

__all__ = [
    "EXPERIMENTS",
    "Experiment",
    "Outcome",
    "Variant",
    "make_experiment",
    "run_experiment",
]
