"""Class-incremental text classification, with and without rationale distillation.

For each seed, the classes of a text data set are split into experiences. Each strategy trains a small T5 classifier on
one experience after the other, and tests it on all of them after each. With rationales, the model also learns to
generate explanations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from mmcl.config.model import OneOrMore, StrictModel
from mmcl.config.signature import section_of
from mmcl.sections import slu as sections
from mmcl.sections import task_checks
from mmcl.sections.rationales import StudentSection, TextsSection, WeightsSection

if TYPE_CHECKING:
    from rich.progress import Progress

    from mmcl.runs.run import Run


_NOT_OF_THE_STREAM = ("train", "test", "class_order", "seed", "initial", "without", "domain", "shots", "blur")
_SET_BY_TASK = ("lessons", "method", "weights", "temperature", "discriminator_rate", "seed")


@section_of("mmcl.distributed:launch", without=("devices", "nodes", "timeout"))
@section_of(
    "mmcl.strategies.template:MMCLTemplate", without=(*sections.OF_THE_LOOP, "eval_batch_size", "bucket", "precision")
)
@section_of("mmcl.strategies.rationale_distillation:RationaleDistillation", without=_SET_BY_TASK)
@section_of("mmcl.data.streams:class_incremental", without=_NOT_OF_THE_STREAM)
class Config(StrictModel):
    data: TextsSection = TextsSection()
    experiences: int = Field(3, ge=1, description="number of experiences that the classes are split into")
    strategy: OneOrMore[Literal["naive", "replay", "joint"]] = Field(
        ("replay",), min_length=1, description="continual learning strategies to compare"
    )
    rationales: OneOrMore[Literal["none", "dss", "qcrd"]] = Field(
        ("none", "dss", "qcrd"),
        min_length=1,
        description="method of rationale distillation added to each strategy; none: classes only",
    )
    seeds: OneOrMore[int] = Field(
        (0,), min_length=1, description="random seeds of class order, weights, memory, batches and sampled rationales"
    )
    student: StudentSection = StudentSection()
    weights: WeightsSection = WeightsSection()
    optimizer: sections.OptimizerSection = sections.OptimizerSection()
    epochs: int = Field(10, ge=1, description="passes over the data of each experience")
    memory_size: int = Field(100, ge=0, description="number of samples in the memory of replay, over all classes")
    threads: int = Field(2, ge=1, description="number of CPU threads; changes results in the last digits")


check = task_checks.text_incremental  # of `mmcl validate`


def main(config: Config, run: Run) -> None:
    """Train every strategy with every seed; a resumed run skips finished ones."""
    import torch

    from mmcl.data import LabelledExercises, class_incremental
    from mmcl.progress import progress_display
    from mmcl.runs.checkpoints import unit_name

    torch.set_num_threads(config.threads)
    data = [LabelledExercises(config.data.open(split)) for split in (config.data.train, config.data.test)]
    valid = config.data.validation(data[0].classes)
    needing = [each for each in config.rationales if each != "none"]
    config.data.check_rationales(data[0].exercises, needing, "rationales=none")
    taught = [
        (f"{base}+{added}" if added != "none" else base, base, added)
        for base in config.strategy
        for added in config.rationales
    ]
    with progress_display() as progress:
        for seed in config.seeds:
            benchmark = class_incremental(*data, config.experiences, seed=seed, by_superclass=config.by_superclass)
            for name, base, added in taught:
                saved = run.restore(unit_name(name, seed)) or {"finished": False, "training": None}
                if not saved["finished"]:
                    learn(config, run, name, base, added, seed, benchmark, valid, saved["training"], progress)


def learn(
    config: Config,
    run: Run,
    name: str,
    base: str,
    added: str,
    seed: int,
    benchmark: Any,
    valid: Any,
    saved: Any,
    progress: Progress,
) -> None:
    """Train one strategy with one seed, resuming from its last checkpoint, and log the results."""
    from mmcl import strategies
    from mmcl.models.saved_classifiers import save_classifier
    from mmcl.models.text_classifier import TextClassifier
    from mmcl.rationales.discriminator import Discriminator
    from mmcl.rationales.lessons import lessons_of
    from mmcl.runs.calibrate import calibrate_run
    from mmcl.runs.course import learn_stream
    from mmcl.runs.tracking import Tracking
    from mmcl.seeding import seed_everything
    from mmcl.strategies.accuracy_matrix import AccuracyMatrix
    from mmcl.strategies.rationale_distillation import RationaleDistillation

    seed_everything(seed)
    exercises = benchmark.train_stream[0].source.exercises
    student = config.student.build(exercises)
    model = TextClassifier(student, Discriminator(student) if added == "qcrd" else None)
    taught = []
    if added != "none":
        given = {"weights": config.weights.build(), **config.model_dump(include={"sample_length", "pretraining"})}
        taught.append(RationaleDistillation(lessons_of(exercises), added, seed=seed, **given))
    accuracy, tracking = AccuracyMatrix(), Tracking(run, name, seed, progress, config.experiences * config.epochs)
    memory = {"memory_size": config.memory_size, "by_superclass": config.by_superclass} if base == "replay" else {}
    strategy = getattr(strategies, base)(
        model,
        config.optimizer.build(model, student),
        **memory,
        **config.model_dump(include={"epochs", "batch_size", "columns", "device"}),
        scheduler=config.optimizer.scheduler(),
        clip_norm=config.optimizer.clip_norm,
        plugins=[*taught, accuracy, tracking],
    )

    def keep(trained: Any) -> None:
        save_classifier(trained, run.folder / "models" / tracking.unit, benchmark.train_stream[0].source.classes)
        calibrate_run(run, tracking.unit, valid, trained)

    learn_stream(run, strategy, benchmark, tracking, accuracy, saved=saved, keep=keep)
