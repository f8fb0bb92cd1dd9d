"""Classification of samples of several views: does M3CoL's contrast help, and what does each view alone tell?

Every method trains the same model: an encoder for each view, their fusion, and a head for each and for all. The epoch
that is reported is chosen on held-out samples, of the data's own validation split or by cross-validation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from mmcl.config.model import OneOrMore
from mmcl.sections.views import MultimodalSection

if TYPE_CHECKING:
    from mmcl.runs.run import Run


class Config(MultimodalSection):  # its settings stand beside these
    method: OneOrMore[Literal["single", "concat", "clip", "m3co", "soft_clip", "m3col"]] = Field(
        ("single", "concat", "m3col"),
        min_length=1,
        description="single (each view alone), concat (no contrast), or a contrast: clip, m3co, soft_clip, m3col",
    )
    valid: str = Field("valid", description="split that the epoch is chosen on, where folds is 0")
    folds: int = Field(0, ge=0, description="choose it by cross-validation of so many parts; 0: no")
    cuts: int = Field(1, ge=1, description="times that the data is cut anew into these parts")
    seeds: OneOrMore[int] = Field((0,), min_length=1, description="one or more: weights, mixtures, order of samples")
    threads: int = Field(2, ge=1, description="CPU threads, which change results in their last digits")
    tensorboard: bool = Field(False, description="write TensorBoard logs as well")

    @model_validator(mode="after")
    def _the_epoch_is_chosen_on_what_is_not_trained_on(self) -> Config:
        if not self.folds and self.valid in self.data.train:
            raise ValueError(f"'{self.valid}' is trained on: expected another valid, or folds for cross-validation")
        return self


def main(config: Config, run: Run) -> None:
    """Train every method with every seed; what a resumed run has finished is not done again."""
    import torch

    from mmcl.progress import progress_display

    torch.set_num_threads(config.threads)
    chosen = {row["strategy"]: row["epoch"] for row in run.metrics("chosen")}
    done = {(row["strategy"], row["seed"]) for row in run.metrics("result")}
    data = {"train": config.open(config.data.train), "test": config.open([config.data.test])}
    if not config.folds:
        data["valid"] = config.open([config.valid])
    with progress_display() as progress:
        for label, views, contrast in trained(config):
            if config.folds and label not in chosen:
                chosen[label] = cross_validated(config, run, label, views, contrast, progress)
        for seed in config.seeds:
            for label, views, contrast in trained(config):
                if (label, seed) not in done:
                    learn(config, run, label, views, contrast, seed, data, chosen.get(label, "valid"), progress)


def trained(config: Config) -> list[tuple[str, list[str], str]]:
    """What each method is called in the table, its views, and its contrast."""
    every = list(config.views)
    alone = [(f"{view} alone", [view], "none") for view in every] if "single" in config.method else []
    return alone + [(name, every, "none" if name == "concat" else name) for name in config.method if name != "single"]


def cross_validated(config: Config, run: Run, label: str, views: list[str], contrast: str, progress: Any) -> int:
    """Return the epoch that is best, on average, on parts of the training data that were left out in turn."""
    from itertools import product
    from statistics import fmean

    from mmcl.runs.tracking import Tracking
    from mmcl.sections.views import fit

    seed, curves = config.seeds[0], []
    for cut, fold in product(range(config.cuts), range(config.folds)):
        cutting = {"seed": cut, "fold": fold, "folds": config.folds}
        data = {part: config.open([part], **cutting) for part in ("train", "valid")}
        bar = Tracking(None, f"{label}, cut {cut + 1}, fold {fold + 1}/{config.folds}", seed, progress, config.epochs)
        curves.append(fit(config, data, views, contrast, seed, on="valid", tracking=bar)[1].curves["valid"])
    means = [fmean(row[config.select] for row in rows) for rows in zip(*curves, strict=True)]
    epoch = int(curves[0][means.index(max(means))]["epoch"])
    run.log("chosen", strategy=label, seed=seed, epoch=epoch, score=config.select, curve=means)
    run.checkpoint(f"{label}-chosen", {"epoch": epoch})  # or the row would not outlast an interruption
    return epoch


def learn(
    config: Config, run: Run, label: str, views: list[str], contrast: str, seed: int, data: Any, on: Any, progress: Any
) -> None:
    """Train one method with one seed, and log how it classifies what it is tested on."""
    import torch

    from mmcl.freeze import trainable_state
    from mmcl.metrics.classification import classification_scores
    from mmcl.metrics.embedding_map import embedding_map
    from mmcl.models.fusion import fuse_rows
    from mmcl.runs.tracking import Tracking
    from mmcl.sections.views import fit

    tracking = Tracking(run, label, seed, progress, config.epochs, pause=30.0)
    saved = run.restore(tracking.unit)
    model, scores = fit(config, data, views, contrast, seed, on=on, tracking=tracking, saved=saved)
    names, curve = {"accuracy": "accuracy", "f1": "F1", "auc": "AUC"}, scores.curves["test"]
    measures = {shown: scores.scores("test")[name] for name, shown in names.items()}
    for kind, rows in (("last epoch", curve[-1:]), ("best test epoch", curve)):
        measures |= {f"{shown}, {kind}": max(row[name] for row in rows) for name, shown in names.items()}
    unit = {"strategy": label, "seed": seed}
    run.log("curve", **unit, **scores.curves)
    scores.restore(model)
    labels, fused = torch.tensor(data["test"].labels), fuse_rows(model, data["test"], device=config.device)
    if len(views) > 1:
        lacking = {view: fuse_rows(model, data["test"], without=view, device=config.device).logits for view in views}
        accuracies = {
            kind: {view: classification_scores(logits, labels)["accuracy"] for view, logits in each.items()}
            for kind, each in {"alone": fused.view_logits, "missing": lacking}.items()
        }
        run.log("views", **unit, **accuracies)
    if seed == config.seeds[0]:
        run.log("map", **unit, classes=list(data["test"].classes), **embedding_map(fused.embedding, labels.tolist()))
    run.log("result", **unit, measures=measures, epoch=scores.chosen, seconds=tracking.seconds)
    kept = trainable_state(model) if seed == config.seeds[0] else {}  # of ten seeds, models would fill a disk
    run.checkpoint(tracking.unit, {"training": None, "model": kept})
