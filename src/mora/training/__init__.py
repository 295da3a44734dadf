"""The one training loop, for every model that is trained."""

from mora.training.loop import TrainingState, TrainingTask, fit

__all__ = ["TrainingState", "TrainingTask", "fit"]
