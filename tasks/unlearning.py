"""Unlearning: compare methods with a model retrained from scratch without the forgotten samples.

For each seed, a model is trained and then made to forget some of the data, a class, samples with wrong labels, or a
speaker. Each method is compared with Retrain, trained from scratch on the remaining samples: accuracies, two membership
attacks, distance to Retrain, and time. With a stream, the model has learned class by class; its rehearsal memory is
purged too, and a record of the removed samples is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from mmcl.config.model import OneOrMore
from mmcl.sections import task_checks
from mmcl.sections.unlearning import MethodName, UnlearningSection

if TYPE_CHECKING:
    from rich.progress import TaskID

    from mmcl.runs.run import Run
    from mmcl.sections.trial import Trial


class Config(UnlearningSection):  # has further settings
    method: OneOrMore[MethodName] = Field(
        ("fine_tune", "neg_grad", "laf", "laf+r"),
        min_length=1,
        description="methods to compare with retrain, which always runs",
    )
    settings: dict[MethodName, dict[str, Any]] = Field(
        {}, description="settings of each method, such as {laf: {epochs: 5}}; laf+r also takes those of laf"
    )
    seeds: OneOrMore[int] = Field(
        (0,), min_length=1, description="random seeds of forgotten samples, weights and batches; one training per seed"
    )
    threads: int = Field(2, ge=1, description="number of CPU threads; changes results in the last digits")

    @model_validator(mode="after")
    def _check_methods(self) -> Config:
        if "retrain" in self.settings:
            raise ValueError("settings: retrain is trained like the model: set epochs, learning_rate and so on instead")
        if self.stream is not None and "sisa" in self.method:
            raise ValueError("method: sisa cannot run in a stream: remove sisa or stream")
        return self

    def settings_of(self, name: MethodName) -> dict[str, Any]:
        """Return the settings of a method."""
        shared = self.settings.get("laf", {}) if name == "laf+r" else {}
        return {**shared, **self.settings.get(name, {})}


check = task_checks.unlearning  # of `mmcl validate`


def main(config: Config, run: Run) -> None:
    """Train and unlearn by every method with every seed; a resumed run skips finished ones."""
    import torch

    from mmcl.progress import progress_display
    from mmcl.runs.checkpoints import unit_name
    from mmcl.sections.trial import Trial
    from mmcl.unlearning.methods import check_settings

    for name, given in config.settings.items():
        check_settings(name, given)
    torch.set_num_threads(config.threads)
    done = {(row["strategy"], row["seed"]): row for row in run.metrics("result")}
    names = ["retrain", "original", *(name for name in config.method if name != "retrain")]
    train, test = config.open()
    with progress_display() as progress:
        for seed in config.seeds:
            pending = [name for name in names if (name, seed) not in done]
            bar = progress.add_task(f"seed {seed}", total=len(names), completed=len(names) - len(pending))
            if not pending:
                continue

            def show(phase: str, epoch: int, loss: float, bar: TaskID = bar, seed: int = seed) -> None:
                progress.update(bar, description=f"seed {seed}: {phase}, epoch {epoch}")

            saved = run.restore(unit_name("original", seed))
            trial = Trial(config, train, test, seed, on_epoch=show, saved=saved)
            if trial.saved is not None:
                run.checkpoint(unit_name("original", seed), trial.saved)
            config.keep(run, unit_name("original", seed), trial.model, train)
            for name in pending:
                done[name, seed] = evaluate(config, run, trial, name, done)
                progress.advance(bar)


def evaluate(config: Config, run: Run, trial: Trial, name: str, done: dict[tuple[str, int], Any]) -> dict[str, Any]:
    """Unlearn by one method, log its measures and the distance to Retrain, and return them."""
    from mmcl.metrics.unlearning import distance_to_retrain
    from mmcl.runs.checkpoints import unit_name
    from mmcl.strategies.stream_unlearning import write_record
    from mmcl.unlearning.measures import COMPARED

    unit, record = {"strategy": name, "seed": trial.seed}, None
    if name == "original":
        model, seconds = trial.model, trial.seconds
    else:
        model, seconds, record = trial.forget(name, **config.settings_of(name))  # type: ignore[arg-type]
    measures = trial.measure(model)
    if record is not None:
        before = done["original", trial.seed]["measures"]
        path = run.folder / "records" / f"{name}-seed{trial.seed}.json"
        path.parent.mkdir(exist_ok=True)
        write_record(path, record, seconds=seconds, before=before, after=measures)
    if name != "retrain":
        retrained = done["retrain", trial.seed]
        measures["distance to Retrain"] = distance_to_retrain(measures, retrained["measures"], COMPARED)
        measures["time / Retrain's"] = seconds / retrained["seconds"]
    run.log("result", **unit, measures=measures, seconds=round(seconds, 3))
    run.checkpoint(unit_name(f"{name}-done", trial.seed), {"seconds": seconds})  # keeps the row on resume
    return {"measures": measures, "seconds": seconds}
