"""Rationale distillation: does a small model answer better when it also learns to say why?

For each method and seed a student learns exercises, and, but for finetuning, what large models wrote to explain the
answers. The epoch is chosen by accuracy on the validation split; how often the student is right on the test split is
logged beside what judging and sampling of rationales took.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from mmcl.sections.rationales import Methods, RationaleSection

if TYPE_CHECKING:
    from rich.progress import Progress

    from mmcl.data.texts.exercises import Exercises
    from mmcl.runs.run import Run


class Config(RationaleSection):  # its settings stand beside these
    method: Methods = Field(("finetune", "dss", "mi", "qcrd"), min_length=1, description="one or more")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="one or more: weights, order, samples")
    threads: int = Field(2, ge=1, description="CPU threads, which change results in their last digits")


def main(config: Config, run: Run) -> None:
    """Teach every method with every seed; what a resumed run has finished is not done again."""
    import torch

    from mmcl.progress import progress_display
    from mmcl.rationales.voting import vote_all

    torch.set_num_threads(config.threads)
    train, valid, test = (config.data.open(split) for split in ("train", "valid", config.data.test))
    if not run.metrics("rationales"):
        counts = vote_all(train, use_label=config.use_label)[1]._asdict()
        run.log("rationales", **counts, unparsed=train.unparsed, outside=train.outside)
    done = {(row["strategy"], row["seed"]) for row in run.metrics("result")}
    with progress_display() as progress:
        for seed in config.seeds:
            for method in config.method:
                if (method, seed) not in done:
                    teach(config, run, method, seed, (train, valid, test), progress)


def teach(
    config: Config, run: Run, method: Any, seed: int, data: tuple[Exercises, Exercises, Exercises], progress: Progress
) -> None:
    """Teach one student, and log how well it answers."""
    from mmcl.rationales.answering import accuracy
    from mmcl.rationales.distill import Distillation
    from mmcl.rationales.judging import separation
    from mmcl.rationales.lessons import lessons_of
    from mmcl.rationales.voting import vote_all
    from mmcl.runs.checkpoints import unit_name
    from mmcl.seeding import seed_everything

    def right_in(exercises: Exercises) -> float:
        return accuracy(student, exercises, method, config.answering, longest=config.answer_length)

    train, valid, test = data
    unit, named = unit_name(method, seed), {"strategy": method, "seed": seed}
    seed_everything(seed)
    student = config.student.build(train).to(config.device)
    questions, judge, measures = [each.question for each in train.exercises], None, {}
    saved = run.restore(unit)
    if method == "qcrd":
        section = config.discriminator if saved is None else config.discriminator.model_copy(update={"steps": 0})
        voted = vote_all(train, use_label=config.use_label)[0]
        judge = section.build(student, questions, voted, seed, config.device)
    lessons = lessons_of(train, use_label=config.use_label)
    trainer = Distillation(student, lessons, method, config.recipe(), discriminator=judge, seed=seed)
    best: dict[str, Any] = {"accuracy": -1.0, "epoch": 0, "student": None}
    if saved is not None:
        trainer.load_state_dict(saved["training"])
        best, measures = saved["best"], saved["measures"]
    elif judge is not None:
        measures = separation(judge, valid, share=config.discriminator.share, seed=seed)
    bar = progress.add_task(f"{method}, seed {seed}", total=config.epochs, completed=trainer.epoch)
    for losses in trainer:
        found = right_in(valid)
        if found > best["accuracy"]:
            state = {name: each.detach().clone() for name, each in student.state_dict().items()}
            best = {"accuracy": found, "epoch": trainer.epoch, "student": state}
        loss = losses.pop("loss")
        run.log("epoch", **named, epoch=trainer.epoch, loss=loss, losses=losses, valid_accuracy=found)
        run.checkpoint(unit, {"training": trainer.state_dict(), "best": best, "measures": measures})
        progress.update(bar, completed=trainer.epoch, description=f"{method}, seed {seed}: {100 * found:.1f} % right")
    student.load_state_dict(best["student"])
    right = {
        "accuracy": right_in(test),
        "valid accuracy": best["accuracy"],
    }
    spent = trainer.seconds
    if judge is not None:
        measures = {**measures, "sampling / training": spent["sampling"] / max(spent["training"], 1e-9)}
    run.log("result", **named, measures={**right, **measures}, epoch=best["epoch"], seconds=sum(spent.values()))
    student.save(run.folder / "models" / unit)
