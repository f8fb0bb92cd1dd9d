"""AfterTraining: base of plugins whose scores are named by experience, in whatever order these are evaluated."""

from __future__ import annotations

from typing import Any

from avalanche.core import SupervisedPlugin


class AfterTraining(SupervisedPlugin):
    """Base of plugins that score experiences of one stream after training on another experience.

    Args:
        stream: name of the stream that is scored; evaluation on others leaves no trace.

    Attributes:
        trained: number of the experience that was trained last; -1 before any.
    """

    def __init__(self, stream: str = "test") -> None:
        super().__init__()
        self.stream = stream
        self.trained = -1

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Note what is trained on."""
        self.trained = int(strategy.experience.current_experience)

    def is_scored(self, experience: Any) -> bool:
        """Whether an experience is of the stream that is scored, or of none."""
        name = getattr(getattr(experience, "origin_stream", None), "name", None)
        return name is None or name == self.stream
