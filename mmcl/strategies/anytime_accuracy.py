"""AnytimeAccuracy: a plugin that measures accuracy several times within each experience."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from mmcl import distributed
from mmcl.config.numbers import Count
from mmcl.errors import ConfigError, InputError
from mmcl.strategies.accuracy_matrix import correct_predictions
from mmcl.strategies.after_training import AfterTraining

if TYPE_CHECKING:
    from avalanche.benchmarks.scenarios import CLExperience

    from mmcl.strategies.template import MMCLTemplate


class AnytimeAccuracy(AfterTraining):
    """Average anytime accuracy of online learning (Caccia et al. 2022, arXiv 2104.05025).

    ``mean over evaluations of A``, where A is the accuracy on the test samples of all experiences so far, the current
    one included. The model is evaluated after every few steps, and at the end of each experience. A strategy without
    training steps is evaluated at the end only. Other measures of accuracy ignore these evaluations.

    Within an experience, a read-out (:class:`~mmcl.strategies.closed_form.ClosedForm`) and the nearest mean of iCaRL
    are those from the end of the last experience.

    Args:
        tested: test experiences, such as ``benchmark.test_stream``.
        every: training steps between evaluations.

    Attributes:
        points: accuracies in the order of evaluation, a list for each experience.

    Raises:
        ConfigError: ``every`` is below 1.
    """

    def __init__(self, tested: Sequence[CLExperience], every: Count = 10) -> None:
        if every < 1:
            raise ConfigError(f"every is {every}, expected at least 1 step between evaluations")
        super().__init__()
        self.tested, self.every = tested, every
        self.points: list[list[float]] = []
        self._correct = self._total = 0
        self._measures = False

    @property
    def rows(self) -> list[dict[str, float | None]]:
        """Average anytime accuracy up to the end of each experience."""
        ends = range(1, len(self.points) + 1)
        return [{"anytime_accuracy": _mean(self.points[:end])} for end in ends]

    def average(self) -> dict[str, float | None]:
        """Return the average anytime accuracy.

        Raises:
            InputError: nothing was evaluated.
        """
        return {"anytime_accuracy": _mean(self.points)}

    def before_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Record the number of the experience."""
        super().before_training_exp(strategy, **kwargs)
        self.points += [[] for _ in range(self.trained + 1 - len(self.points))]

    def after_training_iteration(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Evaluate after every few steps, but the last step of the experience."""
        step = strategy.clock.train_exp_iterations + 1
        if step % self.every == 0 and step < strategy.train_epochs * len(strategy.dataloader):
            self._measure(strategy)

    def after_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Evaluate at the end of the experience."""
        self._measure(strategy)

    def after_eval_iteration(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Count the samples, and the correct predictions."""
        if self._measures:
            self._correct += int(correct_predictions(strategy.mb_output, strategy.mb_y).sum())
            self._total += len(strategy.mb_y)

    def _measure(self, strategy: MMCLTemplate) -> None:
        others = [each for each in strategy.plugins if isinstance(each, AfterTraining)]
        self._correct = self._total = 0
        for each in others:
            each.paused = True
        self._measures = True
        try:
            strategy.eval(self.tested[: self.trained + 1])
        finally:
            self._measures = False
            for each in others:
                each.paused = False
        correct, total = (distributed.all_reduce_sum(count) for count in (self._correct, self._total))
        self.points[self.trained].append(correct / total)

    def state_dict(self, strategy: MMCLTemplate) -> dict[str, Any]:
        """Return all points."""
        return {"points": [list(each) for each in self.points], "trained": self.trained}

    def load_state_dict(self, state: dict[str, Any], strategy: MMCLTemplate) -> None:
        """Restore all points."""
        self.points, self.trained = [list(each) for each in state["points"]], state["trained"]


def _mean(points: Sequence[Sequence[float]]) -> float:
    """Return the mean of all points of all experiences."""
    found = [each for part in points for each in part]
    if not found:
        raise InputError("no evaluation took place: train on an experience first")
    return fmean(found)
