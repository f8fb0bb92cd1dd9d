"""Config section and training loop of class-incremental tasks: each strategy with each seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from mmcl.config.model import OneOrMore
from mmcl.config.signature import SignatureModel, section_of
from mmcl.sections import slu as sections
from mmcl.sections.objectives import ObjectivesSection

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch import nn

    from mmcl.encoders.base import Encoder
    from mmcl.encoders.fused_views import FusedViews
    from mmcl.runs.calibrate import ValidationData
    from mmcl.runs.run import Run


@section_of("mmcl.distributed:launch", without=("timeout",))
@section_of("mmcl.strategies.template:MMCLTemplate", without=sections.OF_THE_LOOP)
@section_of("mmcl.strategies.rehearsal:Rehearsal", without=("by_superclass",))
@section_of("mmcl.data.streams:class_incremental", without=("train", "test", "seed", "without"))
class IncrementalSection(SignatureModel):
    """Data, strategies, their settings, and the stream; a task adds encoders and models."""

    not_exported: ClassVar[dict[str, str]] = sections.NOT_EXPORTED

    data: sections.DataSection = sections.DataSection()
    strategy: OneOrMore[sections.StrategyName] = Field(
        ("naive", "replay", "coconut", "joint"), min_length=1, description=sections.STRATEGY_HELP
    )
    seeds: OneOrMore[int] = Field((0,), min_length=1, description="seeds of class order, weights, memory and batches")
    classifier: sections.ClassifierSection = sections.ClassifierSection()
    optimizer: sections.OptimizerSection = sections.OptimizerSection()
    epochs: int = Field(10, ge=1, description="passes over the data of each experience")
    online: bool = Field(False, description="train one epoch, and measure accuracy within experiences")
    anytime_every: int = Field(10, ge=1, description="training steps between evaluations if online")
    memory_share: float | None = Field(None, ge=0, le=1, description="memory size as a share of the training data")
    contrast: sections.ContrastSection = sections.ContrastSection()
    objectives: ObjectivesSection = ObjectivesSection()
    coconut: sections.CoconutSection = sections.CoconutSection()
    distillation: sections.DistillationSection = sections.DistillationSection()
    relational: sections.RelationalSection = sections.RelationalSection()
    core_tuning: sections.CoreTuningSection = sections.CoreTuningSection()
    rehearsal: sections.RehearsalSection = sections.RehearsalSection()
    regularization: sections.RegularizationSection = sections.RegularizationSection()
    l2p: sections.L2PSection = sections.L2PSection()
    readout: sections.ReadOutSection = sections.ReadOutSection()
    threads: int = Field(2, ge=1, description="number of CPU threads; changes results in the last digits")
    tensorboard: bool = Field(False, description="also write TensorBoard logs")

    @model_validator(mode="after")
    def _check_memory(self) -> IncrementalSection:
        if self.memory_bytes is not None and self.memory_share is not None:
            raise ValueError(
                f"memory_bytes is {self.memory_bytes} and memory_share {self.memory_share:g}: set one of them to null"
            )
        return self

    _resolve_strategies = model_validator(mode="after")(sections.resolve_strategies)

    def trains_encoder(self) -> bool:
        """Return whether the encoder is trained."""
        return sections.trains_encoder(self.encoder)

    def has_prompts(self) -> bool:
        """Return whether prompts are trained in front of the encoder."""
        return self.encoder.prompts is not None


@dataclass(frozen=True)
class IncrementalParts:
    """The data of a run, and functions that build its models.

    Attributes:
        train: training data, with cached features.
        test: test data, with cached features.
        valid: validation data to calibrate with.
        encoder: the encoder; all models share a frozen one.
        build_encoder: builds the encoder of one model if it is trained.
        build_model: builds the untrained model of a strategy from its encoder.
        scale: fits the scaling of a model's features to rows of the training data.
        keep: saves a trained model under a name, or does nothing.
    """

    train: Any
    test: Any
    valid: ValidationData
    encoder: Encoder | FusedViews
    build_encoder: Callable[[], Encoder | FusedViews]
    build_model: Callable[[str, Any], Any]
    scale: Callable[[Any, Sequence[int]], None]
    keep: Callable[[str, nn.Module], None] = lambda name, model: None


def run_strategies(config: Any, run: Run, prepare: Callable[[], IncrementalParts]) -> None:
    """Train every strategy with every seed; a resumed run skips finished ones.

    Args:
        config: the config of a task, an :class:`IncrementalSection`.
        run: the run.
        prepare: opens the data and builds the encoder. It is called with the first seed set, so a frozen random
            encoder is the same for all seeds.
    """
    import torch

    from mmcl.progress import progress_display
    from mmcl.runs.checkpoints import unit_name
    from mmcl.seeding import seed_everything

    torch.set_num_threads(config.threads)
    seed_everything(config.seeds[0])
    parts = prepare()
    with progress_display() as progress:
        for seed in config.seeds:
            for name in config.strategy:
                saved = run.restore(unit_name(name, seed)) or {"finished": False, "training": None}
                if not saved["finished"]:
                    learn(config, run, name, seed, parts, saved["training"], progress)


def learn(config: Any, run: Run, name: str, seed: int, parts: IncrementalParts, saved: Any, progress: Progress) -> None:
    """Train one strategy with one seed, resuming from its last checkpoint, and log the results."""
    from mmcl import strategies
    from mmcl.data import class_incremental
    from mmcl.runs.course import learn_stream
    from mmcl.runs.tracking import Tracking
    from mmcl.seeding import seed_everything
    from mmcl.strategies.accuracy_matrix import AccuracyMatrix

    base = sections.base_of(name)
    benchmark = class_incremental(parts.train, parts.test, seed=seed, **sections.stream_settings(config, base))
    seed_everything(seed)
    encoder = parts.encoder if parts.encoder.frozen else parts.build_encoder()
    model = parts.build_model(name, encoder)
    parts.scale(model, benchmark.train_stream[0].dataset.rows[:])
    accuracy, scores = AccuracyMatrix(), sections.scoring_plugins(config, benchmark)
    own = strategy_settings(config, base, len(parts.train)) | config.readout.argument(name)
    tracking = Tracking(run, name, seed, progress, epochs=len(benchmark.train_stream) * own.get("epochs", 1))
    strategy = getattr(strategies, "naive" if base == "offline" else base)(
        model,
        config.optimizer.build(model, encoder),
        **own,
        **config.model_dump(include={"batch_size", "eval_batch_size", "bucket", "columns", "precision", "device"}),
        scheduler=config.optimizer.scheduler(),
        clip_norm=config.optimizer.clip_norm,
        plugins=[*sections.build_additions(name, config), accuracy, *scores, tracking],
    )
    keep = None if base in config.not_exported else partial(_keep, run, tracking.unit, parts)
    learn_stream(run, strategy, benchmark, tracking, accuracy, scores, saved, keep)


def _keep(run: Run, unit: str, parts: IncrementalParts, model: nn.Module) -> None:
    """Save and calibrate a trained model."""
    from mmcl.runs.calibrate import calibrate_run

    parts.keep(unit, model)
    calibrate_run(run, unit, parts.valid, model)


def strategy_settings(config: Any, base: str, samples: int) -> dict[str, Any]:
    """Return the arguments of a strategy, given the number of training samples."""
    if base in sections.CLOSED_FORM:
        return config.readout.settings(base)
    size = config.memory_size if config.memory_share is None else round(config.memory_share * samples)
    budget = {"memory_size": size, "memory_bytes": config.memory_bytes}
    memory = {**budget, "selection": config.selection, "by_superclass": config.by_superclass}
    own = config.rehearsal.settings(memory) | {
        "replay": memory,
        "icarl": {**budget, **config.distillation.model_dump()},
        "lwf": config.distillation.model_dump(),
        "l2p": config.l2p.model_dump(),
        "coconut": {**memory, **config.coconut.model_dump()},
    }
    return {"epochs": 1 if config.online else config.epochs, **own.get(base, config.regularization.settings(base))}
