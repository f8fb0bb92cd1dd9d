"""Classification of samples with several views, with and without contrastive losses such as M3CoL.

Every method trains the same model: one encoder per view, a fusion, one head per view and one for the fusion. The
reported epoch is selected on the validation split or by cross-validation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from mmcl.config.model import OneOrMore
from mmcl.sections import task_checks
from mmcl.sections.views import MultimodalSection

if TYPE_CHECKING:
    from rich.progress import Progress

    from mmcl.runs.run import Run


class Config(MultimodalSection):  # has further settings
    method: OneOrMore[Literal["single", "concat", "clip", "m3co", "soft_clip", "m3col"]] = Field(
        ("single", "concat", "m3col"),
        min_length=1,
        description="single: each view alone; concat: all views without contrast; others: all views with that contrast",
    )
    valid: str = Field("valid", description="split that selects the epoch if folds is 0")
    folds: int = Field(
        0, ge=0, description="number of folds of the cross-validation that selects the epoch; 0 for none"
    )
    cuts: int = Field(1, ge=1, description="number of repetitions of the cross-validation, each with a new split")
    seeds: OneOrMore[int] = Field(
        (0,), min_length=1, description="random seeds of weights, mixtures and sample order; one training per seed"
    )
    threads: int = Field(2, ge=1, description="number of CPU threads; changes results in the last digits")
    tensorboard: bool = Field(False, description="also write TensorBoard logs")

    @model_validator(mode="after")
    def _check_valid(self) -> Config:
        if not self.folds and self.valid in self.data.train:
            raise ValueError(f"valid is '{self.valid}', which is in data.train: choose another split, or set folds")
        return self


check = task_checks.multimodal_classification  # of `mmcl validate`


def main(config: Config, run: Run) -> None:
    """Train every method with every seed; a resumed run skips finished ones."""
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
    """Return the label in the result table, the views and the contrast of each training."""
    every = list(config.views)
    alone = [(f"{view} alone", [view], "none") for view in every] if "single" in config.method else []
    return alone + [(name, every, "none" if name == "concat" else name) for name in config.method if name != "single"]


def cross_validated(config: Config, run: Run, label: str, views: list[str], contrast: str, progress: Progress) -> int:
    """Return the epoch with the best mean score over the folds of repeated cross-validation."""
    from itertools import product
    from statistics import fmean

    from mmcl.runs.tracking import Tracking
    from mmcl.sections.views import fit

    seed, curves = config.seeds[0], []
    for repetition, fold in product(range(config.cuts), range(config.folds)):
        options = {"seed": repetition, "fold": fold, "folds": config.folds}
        data = {split: config.open([split], **options) for split in ("train", "valid")}
        title = f"{label}, repetition {repetition + 1}, fold {fold + 1}/{config.folds}"
        bar = Tracking(None, title, seed, progress, config.epochs)
        curves.append(fit(config, data, views, contrast, seed, on="valid", tracking=bar)[1].curves["valid"])
    means = [fmean(row[config.select] for row in rows) for rows in zip(*curves, strict=True)]
    epoch = int(curves[0][means.index(max(means))]["epoch"])
    run.log("chosen", strategy=label, seed=seed, epoch=epoch, score=config.select, curve=means)
    run.checkpoint(
        f"{label}-chosen", {"epoch": epoch}
    )  # metrics after the last checkpoint are dropped when a run resumes
    return epoch


def learn(
    config: Config, run: Run, label: str, views: list[str], contrast: str, seed: int, data: Any, on: Any, progress: Any
) -> None:
    """Train one method with one seed, and log its test scores."""
    import torch

    from mmcl.freeze import trainable_state
    from mmcl.metrics.classification import classification_scores
    from mmcl.metrics.embedding_map import embedding_map
    from mmcl.models.fusion import fuse_rows
    from mmcl.runs.tracking import Tracking
    from mmcl.sections.views import fit

    tracking = Tracking(run, label, seed, progress, config.epochs)
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
        without = {view: fuse_rows(model, data["test"], without=view, device=config.device).logits for view in views}
        accuracies = {
            kind: {view: classification_scores(logits, labels)["accuracy"] for view, logits in each.items()}
            for kind, each in {"alone": fused.view_logits, "missing": without}.items()
        }
        run.log("views", **unit, **accuracies)
    if seed == config.seeds[0]:
        run.log("map", **unit, classes=list(data["test"].classes), **embedding_map(fused.embedding, labels.tolist()))
    run.log("result", **unit, measures=measures, epoch=scores.chosen, seconds=tracking.seconds)
    weights = trainable_state(model) if seed == config.seeds[0] else {}  # one seed only, to save disk space
    run.checkpoint(tracking.unit, {"training": None, "model": weights})
