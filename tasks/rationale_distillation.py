"""Rationale distillation: a small model learns answers and rationales of large language models.

A student is trained on exercises for each method and seed; all methods but finetune also train on rationales. The epoch
is selected by validation accuracy. Logged are the test accuracy, the scores of the discriminator and the time spent on
sampling rationales.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from mmcl.sections import task_checks
from mmcl.sections.rationales import Methods, RationaleSection

if TYPE_CHECKING:
    from rich.progress import Progress

    from mmcl.data.texts.exercises import Exercises
    from mmcl.rationales.terms import Method
    from mmcl.runs.run import Run


class Config(RationaleSection):  # has further settings
    method: Methods = Field(("finetune", "dss", "mi", "qcrd"), min_length=1, description="methods to compare")
    seeds: tuple[int, ...] = Field(
        (0,),
        min_length=1,
        description="random seeds of weights, sample order and sampled rationales; one training per seed",
    )
    threads: int = Field(2, ge=1, description="number of CPU threads; changes results in the last digits")


check = task_checks.rationale_distillation  # of `mmcl validate`


def main(config: Config, run: Run) -> None:
    """Train every method with every seed; a resumed run skips finished ones."""
    import torch

    from mmcl.progress import progress_display
    from mmcl.rationales.voting import vote_all

    torch.set_num_threads(config.threads)
    train, valid, test = (config.data.open(split) for split in ("train", "valid", config.data.test))
    config.data.check_rationales(train, [each for each in config.method if each != "finetune"], "method=finetune")
    if not run.metrics("rationales"):
        counts = vote_all(train, use_label=config.use_label)[1]._asdict()
        run.log("rationales", **counts, unparsed=train.unparsed, outside=train.outside)
    done = {(row["strategy"], row["seed"]) for row in run.metrics("result")}
    with progress_display() as progress:
        for seed in config.seeds:
            for method in config.method:
                if (method, seed) not in done:
                    learn(config, run, method, seed, (train, valid, test), progress)


def learn(
    config: Config,
    run: Run,
    method: Method,
    seed: int,
    data: tuple[Exercises, Exercises, Exercises],
    progress: Progress,
) -> None:
    """Train one student, and log its accuracy."""
    from mmcl.rationales.answering import accuracy
    from mmcl.rationales.distill import Distillation
    from mmcl.rationales.judging import separation
    from mmcl.rationales.lessons import lessons_of
    from mmcl.rationales.voting import vote_all
    from mmcl.runs.checkpoints import unit_name
    from mmcl.seeding import seed_everything

    def accuracy_on(exercises: Exercises) -> float:
        return accuracy(student, exercises, method, config.answering, longest=config.answer_length)

    train, valid, test = data
    unit, named = unit_name(method, seed), {"strategy": method, "seed": seed}
    seed_everything(seed)
    student = config.student.build(train).to(config.device)
    questions, discriminator, measures = [each.question for each in train.exercises], None, {}
    saved = run.restore(unit)
    if method == "qcrd":
        section = config.discriminator if saved is None else config.discriminator.model_copy(update={"steps": 0})
        voted = vote_all(train, use_label=config.use_label)[0]
        discriminator = section.build(student, questions, voted, seed, config.device)
    lessons = lessons_of(train, use_label=config.use_label)
    trainer = Distillation(student, lessons, method, config.recipe(), discriminator=discriminator, seed=seed)
    best: dict[str, Any] = {"accuracy": -1.0, "epoch": 0, "student": None}
    if saved is not None:
        trainer.load_state_dict(saved["training"])
        best, measures = saved["best"], saved["measures"]
    elif discriminator is not None:
        measures = separation(discriminator, valid, share=config.discriminator.share, seed=seed)
    bar = progress.add_task(f"{method}, seed {seed}", total=config.epochs, completed=trainer.epoch)
    for losses in trainer:
        found = accuracy_on(valid)
        if found > best["accuracy"]:
            state = {name: each.detach().clone() for name, each in student.state_dict().items()}
            best = {"accuracy": found, "epoch": trainer.epoch, "student": state}
        loss = losses.pop("loss")
        run.log("epoch", **named, epoch=trainer.epoch, loss=loss, losses=losses, valid_accuracy=found)
        run.checkpoint(unit, {"training": trainer.state_dict(), "best": best, "measures": measures})
        progress.update(bar, completed=trainer.epoch, note=f"accuracy {100 * found:.1f} %")
    student.load_state_dict(best["student"])
    accuracies = {"accuracy": accuracy_on(test), "valid accuracy": best["accuracy"]}
    spent = trainer.seconds
    if discriminator is not None:
        measures = {**measures, "sampling / training": spent["sampling"] / max(spent["training"], 1e-9)}
    run.log("result", **named, measures={**accuracies, **measures}, epoch=best["epoch"], seconds=sum(spent.values()))
    student.save(run.folder / "models" / unit)
