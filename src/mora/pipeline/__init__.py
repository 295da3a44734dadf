"""The stages of a run, each resumable, in their order."""

from mora.pipeline.run import STAGES, run

__all__ = ["STAGES", "run"]
