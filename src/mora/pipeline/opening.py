"""A finished run, opened from its folder alone."""

from pathlib import Path

from mora.config import load_config
from mora.errors import MissingFileError
from mora.explore.explorer_run import ExplorerRun, read_explorer_run
from mora.pipeline.display import Display
from mora.pipeline.exploring import gather_explorer_run
from mora.pipeline.folder import CONFIG, read_json
from mora.pipeline.inputs import RunContext


def open_run(folder: Path) -> RunContext | None:
    """Give a run with what it was last told; None where the folder does not say.

    Args:
        folder: of a run.
    """
    told = read_json(folder / CONFIG)
    if told is None:
        return None
    return RunContext(load_config(told), folder, Display())


def explored(folder: Path, *, predictions: bool = True) -> ExplorerRun:
    """Gather what can be shown of a run, names and labels too if their tables are here.

    Args:
        folder: of a finished run.
        predictions: also predict labels of held-out places, some seconds a label.

    Raises:
        MissingFileError: if the run has no embeddings.
    """
    context = open_run(folder)
    if context is None:
        return read_explorer_run(folder)
    try:
        return gather_explorer_run(context, predictions=predictions)
    except MissingFileError:  # the run was moved to another computer
        return read_explorer_run(folder)
