"""What a config says of its stream: the scenario, and the plugins that measure it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmcl.data.streams import ClassIncrementalBenchmark
    from mmcl.strategies.anytime_accuracy import AnytimeAccuracy
    from mmcl.strategies.frame_scores import FrameScores

#: Settings of a config that are arguments of :func:`~mmcl.data.class_incremental`.
OF_THE_STREAM = ("experiences", "class_order", "initial", "by_superclass", "domain", "shots", "blur")


def stream_settings(config: Any, base: str) -> dict[str, Any]:
    """Return the arguments of :func:`~mmcl.data.class_incremental` for a strategy.

    ``offline`` has one experience with all samples.
    """
    settings: dict[str, Any] = config.model_dump(include=set(OF_THE_STREAM))
    if base == "offline":
        settings |= {"experiences": 1, "initial": None, "shots": None, "blur": 0.0}
    return settings


def scoring_plugins(config: Any, benchmark: ClassIncrementalBenchmark) -> list[FrameScores | AnytimeAccuracy]:
    """Return the plugins for measures beyond accuracy: of decoded frames, and of accuracy within experiences."""
    from mmcl.strategies.anytime_accuracy import AnytimeAccuracy
    from mmcl.strategies.frame_scores import FrameScores

    frames: list[FrameScores | AnytimeAccuracy] = [FrameScores()] if config.model == "seq2seq" else []
    return [*frames, AnytimeAccuracy(benchmark.test_stream, config.anytime_every)] if config.online else frames
