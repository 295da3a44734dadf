"""The honest evaluation of place vectors: tasks, protocols, readouts, report."""

from mora.benchmark.compare import Comparison, compare_scores
from mora.benchmark.evaluate import evaluate
from mora.benchmark.fitting import Readout
from mora.benchmark.leakage import Leak, find_leaks
from mora.benchmark.readouts import READOUTS, make_readout
from mora.benchmark.report import print_report, to_markdown
from mora.benchmark.results import Report
from mora.benchmark.scores import ScoreFile, ScoreKey
from mora.benchmark.splits import (
    blocked_splits,
    degree_blocks,
    group_blocks,
    random_splits,
)
from mora.benchmark.tables import to_csv
from mora.benchmark.tasks import Task, pooling_matrix

__all__ = [
    "READOUTS",
    "Comparison",
    "Leak",
    "Readout",
    "Report",
    "ScoreFile",
    "ScoreKey",
    "Task",
    "blocked_splits",
    "compare_scores",
    "degree_blocks",
    "evaluate",
    "find_leaks",
    "group_blocks",
    "make_readout",
    "pooling_matrix",
    "print_report",
    "random_splits",
    "to_csv",
    "to_markdown",
]
