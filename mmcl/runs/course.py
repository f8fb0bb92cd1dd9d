"""Train and evaluate a strategy on a stream of experiences, with logging and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import nn

from mmcl import metrics
from mmcl.freeze import trainable_state
from mmcl.runs.run import Run
from mmcl.runs.tracking import Tracking
from mmcl.strategies.accuracy_matrix import AccuracyMatrix
from mmcl.strategies.first_session import FirstSession
from mmcl.strategies.kept_memory import kept_bytes
from mmcl.strategies.template import MMCLTemplate


class Scores(Protocol):
    """A plugin for further measures, such as :class:`~mmcl.strategies.frame_scores.FrameScores`."""

    @property
    def rows(self) -> Sequence[dict[str, float | None]]:
        """Measures after each experience."""
        ...

    def average(self) -> dict[str, float | None]:
        """Return the measures of the whole stream."""
        ...


def learn_stream(
    run: Run,
    strategy: MMCLTemplate,
    benchmark: Any,
    tracking: Tracking,
    accuracy: AccuracyMatrix,
    scores: Sequence[Scores] = (),
    saved: dict[str, Any] | None = None,
    keep: Callable[[nn.Module], None] | None = None,
) -> None:
    """Train a strategy on each experience of a stream and evaluate it on all of them.

    Logs a ``stream`` row, an ``evaluation`` row after each experience, and a ``result`` row at the end. The last
    checkpoint has the trained model. A stream of domains is also evaluated before training, for the forward transfer.

    Args:
        run: The run.
        strategy: An Avalanche strategy with ``tracking``, ``accuracy`` and ``scores`` among its plugins.
        benchmark: The benchmark, see :func:`~mmcl.data.streams.class_incremental`.
        tracking: The plugin that writes checkpoints; it has the names of strategy and seed.
        accuracy: The plugin that measures accuracy.
        scores: Plugins for further measures, with ``rows`` and ``average()``.
        saved: The ``training`` state of a checkpoint to resume from.
        keep: Called with the trained model before the last checkpoint, to calibrate or save it.
    """
    unit, classes = tracking.name, benchmark.train_stream[0].source.classes
    if saved is None:
        run.log("stream", **unit, **benchmark.description)
        if "domains" in benchmark.description:  # a model that knows all classes may be right by chance
            strategy.model.grow(benchmark.train_stream[0].group)
            strategy.eval(benchmark.test_stream)
    else:
        strategy.load_state_dict(saved)
    start = 0 if saved is None else saved["experience"] + saved.get("finished", False)
    for experience in benchmark.train_stream[start:]:
        strategy.train(experience, eval_streams=[])
        strategy.eval(benchmark.test_stream)
        per_class = {classes[label]: value for label, value in accuracy.per_class[-1].items()}
        seen = metrics.seen_accuracy(accuracy.matrix, accuracy.sizes)[-1]
        result: dict[str, object] = {"accuracy": accuracy.matrix[-1], "seen_accuracy": seen}
        for each in scores:
            result |= each.rows[-1]
        run.log("evaluation", **unit, experience=experience.current_experience, **result, per_class=per_class)
        tracking.show(f"accuracy {100 * seen:.1f} %")
        if strategy.epoch == 0:  # no epoch ended with a checkpoint
            run.checkpoint(tracking.unit, {"finished": False, "training": strategy.state_dict()})

    measured = metrics.summary(accuracy.matrix, accuracy.sizes, accuracy.baseline or None)
    summary: dict[str, float | None] = {**measured}
    for each in scores:
        summary |= each.average()
    cost = {"memory_bytes": kept_bytes(strategy.plugins), "trained_parameters": trained_parameters(strategy)}
    run.log("result", **unit, **summary, **cost, seconds=tracking.seconds)
    if keep is not None:
        keep(strategy.model)
    run.checkpoint(tracking.unit, {"finished": True, "model": trainable_state(strategy.model)})


def trained_parameters(strategy: MMCLTemplate) -> int:
    """Return the number of parameters that a strategy trained; 0 for one without epochs."""
    for plugin in strategy.plugins:
        if isinstance(plugin, FirstSession):  # the head has grown since
            return plugin.trained_parameters
    groups = strategy.optimizer.param_groups if strategy.train_epochs else ()
    return sum(each.numel() for group in groups for each in group["params"])
