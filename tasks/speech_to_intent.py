"""Zero-shot transfer from speech to intent: recognize intents never seen in training by their names.

Two towers are trained on speech and text by each objective, or loaded from an earlier run. A recording is assigned to
the nearest text embedding of a class. Evaluated are the first prompt template, the ensemble of all, and a linear probe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from mmcl.sections import task_checks
from mmcl.sections.evaluation import EvaluationSection
from mmcl.sections.towers import PretrainingSection

if TYPE_CHECKING:
    from torch import Tensor

    from mmcl.config.checks import Checks
    from mmcl.models.two_tower import TwoTower
    from mmcl.runs.run import Run


class Config(PretrainingSection):  # has further settings
    model: str | None = Field(None, description="folder of a run or model to evaluate without training")
    evaluations: tuple[EvaluationSection, ...] = Field((EvaluationSection(name="fsdd"),), min_length=1)


def check(config: Config, checks: Checks) -> None:
    """Check settings against data and weights, for `mmcl validate`."""
    task_checks.speech_to_intent(config, checks, candidates)


def main(config: Config, run: Run) -> None:
    """Train and evaluate every objective with every seed; a resumed run skips finished ones."""
    import torch

    from mmcl import distributed
    from mmcl.metrics.similarity_structure import similarity_structure
    from mmcl.models.two_tower import TwoTower, embed_rows
    from mmcl.progress import progress_display
    from mmcl.sections.contrastive import pretrain
    from mmcl.sections.towers import model_folders, paired

    torch.set_num_threads(config.threads)
    done = {(row["strategy"], row["seed"]) for row in run.metrics("result")}
    if config.model is not None:
        for name, folder in model_folders(config.model).items():
            evaluate(config, run, {"strategy": name, "seed": 0}, TwoTower.load(folder))
        return
    opened = [config.pairs.build(split) for split in ("train", "valid")]
    config = config.following(opened[0])
    towers = config.build(config.seeds[0])
    with distributed.main_first():
        train, valid = (paired(split, towers, config) for split in opened)
    with progress_display() as progress:
        for seed in config.seeds:
            for name in config.objective:
                model = pretrain(config, name, seed, train, run, progress)
                if (name, seed) not in done:
                    unit = {"strategy": name, "seed": seed}
                    rows = valid.first_of_each_text()[:500]
                    sides = zip((model.first, model.second), (valid.first, valid.second), strict=True)
                    first, second = (embed_rows(tower, data, rows, device=config.device) for tower, data in sides)
                    run.log("similarity", **unit, **similarity_structure(first, second))
                    evaluate(config, run, unit, model)


def evaluate(config: Config, run: Run, unit: dict[str, Any], model: TwoTower) -> None:
    """Evaluate one model on all data sets, and log the results."""
    import torch

    from mmcl.data import open_dataset
    from mmcl.metrics.linear_probe import linear_probe
    from mmcl.metrics.zero_shot import zero_shot, zero_shot_scores
    from mmcl.models.two_tower import class_vectors, embed_rows
    from mmcl.sections.towers import encoded

    def embedded(dataset: Any, modality: str = model.beside_text.modality) -> Tensor:
        return embed_rows(model.tower(modality), encoded(dataset, model, modality, config), device=config.device)

    measures: dict[str, float] = {}
    for each in config.evaluations:
        data = open_dataset(each.name, each.split, each.root, **each.options)
        samples, texts = embedded(data), embedded(data, "text") if each.ceiling else None
        rows, labels, classes, prompts = candidates(each, data)
        title = each.title or (each.name if each.by == "class" else f"{each.name} by {each.by}")
        kinds = {"one template": 1, "ensemble": None} if max(map(len, prompts)) > 1 else {"": None}
        for kind, count in kinds.items():
            vectors = class_vectors(model, [wordings[:count] for wordings in prompts], device=config.device)
            result = zero_shot(zero_shot_scores(samples[rows], vectors), labels)
            name = f"{title}, {kind}" if kind else title
            measures[name] = result.top1
            corrected = zero_shot(zero_shot_scores(samples[rows], vectors, hubness=10), labels).top1
            figures = {"top1": result.top1, "top5": result.top5, "top1_hubness_corrected": corrected}
            details = {"classes": classes, "per_class": result.per_class, "confusion": result.confusion}
            run.log("zero_shot", **unit, data=name, **figures, **(details if each.by != "text" else {}))
            if texts is not None:
                measures[f"{name}, from text"] = zero_shot(zero_shot_scores(texts[rows], vectors), labels).top1
        if each.probe:
            sets = [open_dataset(each.name, split, each.root, **each.options) for split in each.probe]
            labelled = torch.cat([embedded(one) for one in sets]), [label for one in sets for label in one.labels]
            measures[f"{title}, linear probe"] = linear_probe(*labelled, samples, data.labels)
    run.log("result", **unit, measures=measures)


def candidates(each: EvaluationSection, data: Any) -> tuple[Tensor, Tensor, list[str], list[list[str]]]:
    """Return the rows to evaluate, their labels, and name and prompts of each candidate."""
    import torch

    from mmcl.data.base import superclass_labels
    from mmcl.errors import ConfigError
    from mmcl.metrics.zero_shot import check_prompts, prompts
    from mmcl.predict import read_intents
    from mmcl.text.suggest import nearest

    labels, classes = torch.tensor(data.labels), list(data.classes)
    if each.by == "text":
        texts = list(dict.fromkeys(data.texts))[: each.candidates]
        index = {text: number for number, text in enumerate(texts)}
        rows = torch.tensor([row for row, text in enumerate(data.texts) if text in index])
        return rows, torch.tensor([index[data.texts[row]] for row in rows]), texts, [[text] for text in texts]
    if each.by == "superclass":
        if not getattr(data, "superclasses", ()):
            raise ConfigError(f"data set {each.name} has no superclasses: set by to class or text")
        labels = torch.tensor(superclass_labels(data.superclasses))[labels]
        classes = sorted(set(data.superclasses))
    wordings = prompts(classes, each.templates) if each.prompts is None else read_intents(each.prompts)
    check_prompts(wordings, classes)
    if unknown := [name for name in each.classes if name not in classes]:
        raise ConfigError(f"{each.name} has no {each.by} '{unknown[0]}'{nearest(unknown[0], classes)}")
    kept = [name for name in classes if name in each.classes or not each.classes]
    targets = torch.tensor([kept.index(name) if name in kept else -1 for name in classes])[labels]
    return (targets >= 0).nonzero().flatten(), targets[targets >= 0], kept, [wordings[name] for name in kept]
