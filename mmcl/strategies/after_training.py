"""AfterTraining: base of plugins that score the experiences of a stream after each training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avalanche.core import SupervisedPlugin

if TYPE_CHECKING:
    from avalanche.benchmarks.scenarios import CLExperience

    from mmcl.strategies.template import MMCLTemplate


class AfterTraining(SupervisedPlugin):
    """Base of plugins that score the experiences of one stream after training, in any order of evaluation.

    Args:
        stream: name of the stream that is scored; others are ignored.

    Attributes:
        trained: number of the last trained experience; -1 before the first.
        paused: whether evaluations are ignored, as within an experience.
    """

    def __init__(self, stream: str = "test") -> None:
        super().__init__()
        self.stream = stream
        self.trained = -1
        self.paused = False

    def before_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Record the number of the experience."""
        self.trained = int(strategy.experience.current_experience)

    def is_scored(self, experience: CLExperience) -> bool:
        """Whether an experience is scored: it belongs to the stream, or to none, and the plugin is not paused."""
        name = getattr(getattr(experience, "origin_stream", None), "name", None)
        return not self.paused and (name is None or name == self.stream)
