"""Class-incremental spoken language understanding: accuracy and forgetting of continual learning strategies.

For each seed, classes arrive in experiences. Each strategy trains a classifier or a sequence-to-sequence model on one
after the other, and is tested on all after each. Features of frozen encoder layers are computed once and cached.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mmcl.config.model import OneOrMore, StrictModel
from mmcl.config.signature import section_of
from mmcl.sections import slu as sections
from mmcl.sections import task_checks
from mmcl.sections.objectives import ObjectivesSection

if TYPE_CHECKING:
    from mmcl.runs.run import Run


@section_of("mmcl.distributed:launch", without=("timeout",))
@section_of("mmcl.strategies.template:MMCLTemplate", without=sections.OF_THE_LOOP)
@section_of("mmcl.strategies.rehearsal:Rehearsal", without=("by_superclass",))
@section_of("mmcl.data.streams:class_incremental", without=("train", "test", "seed", "without"))
class Config(StrictModel):
    not_exported: ClassVar[dict[str, str]] = sections.NOT_EXPORTED
    rebuild_model = sections.rebuild_model

    data: sections.DataSection = sections.DataSection()
    strategy: OneOrMore[sections.StrategyName] = Field(
        ("naive", "replay", "coconut", "joint"), min_length=1, description=sections.STRATEGY_HELP
    )
    seeds: OneOrMore[int] = Field((0,), min_length=1, description="seeds of class order, weights, memory and batches")
    encoder: sections.AudioSection = sections.AudioSection()
    model: Literal["classifier", "seq2seq"] = Field("classifier", description="classifier, or seq2seq to generate text")
    classifier: sections.ClassifierSection = sections.ClassifierSection()
    seq2seq: sections.Seq2SeqSection = sections.Seq2SeqSection()
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
    rehearsal: sections.RehearsalSection = sections.RehearsalSection()
    regularization: sections.RegularizationSection = sections.RegularizationSection()
    l2p: sections.L2PSection = sections.L2PSection()
    readout: sections.ReadOutSection = sections.ReadOutSection()
    knowledge_distillation: sections.KnowledgeDistillationSection = sections.KnowledgeDistillationSection()
    threads: int = Field(2, ge=1, description="number of CPU threads; changes results in the last digits")
    tensorboard: bool = Field(False, description="also write TensorBoard logs")

    _resolve_strategies = model_validator(mode="after")(sections.resolve_strategies)


check = task_checks.slu_incremental  # of `mmcl validate`


def main(config: Config, run: Run) -> None:
    """Train every strategy with every seed; a resumed run skips finished ones."""
    import torch

    from mmcl import distributed
    from mmcl.encoders import cached_features
    from mmcl.progress import progress_display
    from mmcl.runs.checkpoints import unit_name
    from mmcl.seeding import seed_everything

    torch.set_num_threads(config.threads)
    seed_everything(config.seeds[0])  # a frozen random encoder is the same for all seeds
    encoder, is_seq2seq = config.encoder.build(), config.model == "seq2seq"
    sections.check_frozen_encoder(config.strategy, is_trained=not encoder.frozen)
    with distributed.main_first():
        cached = {"keep": "sequence" if is_seq2seq else "auto", **config.model_dump(include={"device", "precision"})}
        data: list[Any] = [cached_features(split, encoder, **cached) for split in config.data.build()]
        data.append(config.data.validation(data[0].classes, lambda split: cached_features(split, encoder, **cached)))
        tokenizer = config.seq2seq.tokenizer(data[0], run.folder / "tokenizer.json") if is_seq2seq else None
    with progress_display() as progress:
        for seed in config.seeds:
            for name in config.strategy:
                saved = run.restore(unit_name(name, seed)) or {"finished": False, "training": None}
                if not saved["finished"]:
                    learn(config, run, name, seed, data, encoder, tokenizer, saved["training"], progress)


def learn(
    config: Config, run: Run, name: str, seed: int, data: Any, encoder: Any, tokenizer: Any, saved: Any, progress: Any
) -> None:
    """Train one strategy with one seed, resuming from its last checkpoint, and log the results."""
    from mmcl import strategies
    from mmcl.data import class_incremental
    from mmcl.runs.calibrate import calibrate_run
    from mmcl.runs.course import learn_stream
    from mmcl.runs.tracking import Tracking
    from mmcl.seeding import seed_everything
    from mmcl.strategies.accuracy_matrix import AccuracyMatrix

    base, (train, test, valid) = sections.base_of(name), data
    benchmark = class_incremental(train, test, seed=seed, **sections.stream_settings(config, base))
    seed_everything(seed)
    encoder = encoder if encoder.frozen else config.encoder.build()
    model = sections.build_model(config, name, encoder, tokenizer)
    if encoder.frozen:
        model.standardize(train.vectors(benchmark.train_stream[0].dataset.rows[:]))
    accuracy, scores = AccuracyMatrix(), sections.scoring_plugins(config, benchmark)
    own = settings(config, base, len(train)) | config.readout.argument(name)
    tracking = Tracking(run, name, seed, progress, epochs=len(benchmark.train_stream) * own.get("epochs", 1))
    strategy = getattr(strategies, "naive" if base == "offline" else base)(
        model,
        config.optimizer.build(model, encoder),
        **own,
        **config.model_dump(include={"batch_size", "eval_batch_size", "bucket", "precision", "device"}),
        scheduler=config.optimizer.scheduler(),
        clip_norm=config.optimizer.clip_norm,
        plugins=[*sections.build_additions(name, config), accuracy, *scores, tracking],
    )
    keep = None if base in config.not_exported else partial(calibrate_run, run, tracking.unit, valid)
    learn_stream(run, strategy, benchmark, tracking, accuracy, scores, saved, keep)


def settings(config: Config, base: str, samples: int) -> dict[str, Any]:
    """Return the arguments of a strategy, given the number of training samples."""
    if base in sections.CLOSED_FORM:
        return config.readout.settings(base)
    size = config.memory_size if config.memory_share is None else round(config.memory_share * samples)
    memory = {"memory_size": size, "selection": config.selection, "by_superclass": config.by_superclass}
    own = config.rehearsal.settings(memory) | {
        "replay": memory,
        "icarl": {"memory_size": size, **config.distillation.model_dump()},
        "lwf": config.distillation.model_dump(),
        "l2p": config.l2p.model_dump(),
        "coconut": {**memory, **config.coconut.model_dump()},
    }
    return {"epochs": 1 if config.online else config.epochs, **own.get(base, config.regularization.settings(base))}
