"""Unlearning: which method comes near to a model that never saw what is to be forgotten?

For each seed a model is trained; some of the data, a class, wrong labels or a speaker are to be forgotten; each method
does it, and is compared with Retrain, which is trained from scratch without them: accuracies, two attacks that ask who
was in the training data, distance to Retrain, time. With a stream, the model is one that learnt class by class; its
rehearsal memory forgets as well, and a record of what was removed is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from mmcl.config.model import OneOrMore
from mmcl.sections.unlearning import MethodName, UnlearningSection

if TYPE_CHECKING:
    from mmcl.runs.run import Run


class Config(UnlearningSection):  # its settings stand beside these
    method: OneOrMore[MethodName] = Field(
        ("fine_tune", "neg_grad", "laf", "laf+r"), min_length=1, description="one or more, beside retrain"
    )
    settings: dict[MethodName, dict[str, Any]] = Field(
        {}, description="of methods, such as {laf: {epochs: 5}}; laf+r has those of laf as well"
    )
    seeds: OneOrMore[int] = Field((0,), min_length=1, description="one or more: what is forgotten, weights, batches")
    threads: int = Field(2, ge=1, description="CPU threads, which change results in their last digits")

    @model_validator(mode="after")
    def _methods_can_be_run(self) -> Config:
        if "retrain" in self.settings:
            raise ValueError("settings: retrain is trained as the model is, expected epochs, learning_rate and so on")
        if self.stream is not None and "sisa" in self.method:
            raise ValueError("method: sisa trains at once in shards, expected others for a stream")
        return self

    def settings_of(self, name: MethodName) -> dict[str, Any]:
        """Settings of a method."""
        shared = self.settings.get("laf", {}) if name == "laf+r" else {}
        return {**shared, **self.settings.get(name, {})}


def main(config: Config, run: Run) -> None:
    """Train, and forget by every method with every seed; what a resumed run has finished is not done again."""
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
            left = [name for name in names if (name, seed) not in done]
            bar = progress.add_task(f"seed {seed}", total=len(names), completed=len(names) - len(left))
            if not left:
                continue

            def note(phase: str, epoch: int, loss: float, bar: Any = bar, seed: int = seed) -> None:
                progress.update(bar, description=f"seed {seed}: {phase}, epoch {epoch}")

            saved = run.restore(unit_name("original", seed))
            trial = Trial(config, train, test, seed, on_epoch=note, saved=saved)
            if trial.saved is not None:
                run.checkpoint(unit_name("original", seed), trial.saved)
            for name in left:
                done[name, seed] = judge(config, run, trial, name, done)
                progress.advance(bar)


def judge(config: Config, run: Run, trial: Any, name: str, done: dict[tuple[str, int], Any]) -> dict[str, Any]:
    """Make a model forget by one method, and log how near it comes to Retrain; return the row."""
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
    run.checkpoint(unit_name(f"{name}-done", trial.seed), {"seconds": seconds})  # or an interruption would lose the row
    return {"measures": measures, "seconds": seconds}
