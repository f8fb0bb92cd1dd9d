"""Representations of one modality, learnt from views of samples, their labels or targets, and measured from all sides.

For each objective and seed, an encoder and its projection head are trained on augmented views. The encoder's features
are then measured without further training: by nearest neighbours, a linear probe and few-shot episodes, and by their
geometry. If the data has numbers to predict, errors of a regression are measured instead. Features of frozen encoder
layers are computed once and cached. Trained models are in the run's `models/`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from mmcl.config.model import OneOrMore
from mmcl.config.signature import section_of
from mmcl.sections import task_checks
from mmcl.sections.augment import AugmentSection
from mmcl.sections.objectives import OBJECTIVE_HELP, ObjectiveName
from mmcl.sections.samples import SamplesSection
from mmcl.sections.towers import OneTowerSection, TowerSection

if TYPE_CHECKING:
    from mmcl.models.two_tower import TwoTower
    from mmcl.runs.run import Run
    from mmcl.training.contrastive import Augmentation


_MEASURES = {"neighbours", "shots", "ways", "queries", "episodes", "transport", "many", "few", "device"}
_NO_SETTINGS = ("model", "train", "test", "augment", "seed", "device")


@section_of("mmcl.models.measures:representation_measures", without=_NO_SETTINGS)
class Config(OneTowerSection):
    data: SamplesSection = SamplesSection()
    encoder: TowerSection = TowerSection(head="mlp")
    dim: int | None = Field(128, ge=1, description="output dimension of the projection head; none: that of the encoder")
    augment: AugmentSection = AugmentSection()
    objective: OneOrMore[ObjectiveName] = Field(("nt_xent",), min_length=1, description=OBJECTIVE_HELP)
    views: int = Field(2, ge=2, description="augmented views of each sample, with those of small crops")
    temperature: float = Field(0.2, gt=0, le=1, description="temperature of the objective")
    distinct_texts: bool = Field(False, description="train each epoch on one random sample of each text")
    evaluate_every: int = Field(5, ge=1, description="epochs between evaluations; the last epoch is always evaluated")

    @model_validator(mode="after")
    def _check_crops(self) -> Config:
        if self.augment.small >= self.views:
            raise ValueError(f"augment.small is {self.augment.small}, expected fewer than views, which is {self.views}")
        return self

    def augmentations(self) -> list[Augmentation]:
        """Build the augmentation of each view."""
        return self.augment.build(self.encoder.modality, self.views)

    def following(self, data: Any) -> Config:
        """Return these settings with options of the encoder that the data determines."""
        from mmcl.data.attributes import attributes_of

        followed = self.encoder.following(data)
        sizes = attributes_of(data).features
        if self.encoder.modality == "tabular" and sizes:
            followed = followed.model_copy(update={"options": {"features": sum(sizes.values()), **followed.options}})
        return self.model_copy(update={"encoder": followed})


check = task_checks.representation_learning  # of `mmcl validate`


def main(config: Config, run: Run) -> None:
    """Train and measure every objective with every seed; a resumed run skips finished ones."""
    import torch

    from mmcl import distributed
    from mmcl.data.attributes import attributes_of
    from mmcl.metrics.embedding_map import embedding_map
    from mmcl.models.measures import class_temperatures, representation_measures
    from mmcl.models.two_tower import PooledFeatures, embed_rows
    from mmcl.progress import progress_display
    from mmcl.sections.contrastive import pretrain

    torch.set_num_threads(config.threads)
    opened = config.data.open(config.encoder.modality)
    config = config.following(opened[0])
    with distributed.main_first():
        train, test = (features_of(split, config) for split in opened)
    done = {(row["strategy"], row["seed"]) for row in run.metrics("result")}

    def evaluate(place: Any, data: Any, measure: Any, model: TwoTower, epoch: int, objective: Any) -> None:
        if epoch % config.evaluate_every == 0 or epoch == config.epochs:
            measures = measure(model) | class_temperatures(objective, data.labels)
            run.log("representation", **place, epoch=epoch, measures=measures)

    with progress_display() as progress:
        for seed in config.seeds:
            chosen = config.data.select(train, seed)
            (view, *_) = config.augmentations()
            settings = {"train": chosen, "test": test, "seed": seed, **config.model_dump(include=_MEASURES)}
            measure = partial(representation_measures, augment=view, **settings)
            for name in config.objective:
                if (name, seed) in done:
                    continue
                evaluated = partial(evaluate, {"strategy": name, "seed": seed}, chosen, measure)
                model = pretrain(config, name, seed, config.data.pairs(chosen), run, progress, evaluated)
                if seed == config.seeds[0]:
                    embedded = embed_rows(PooledFeatures(model.first.encoder), test, device=config.device)
                    points = embedding_map(embedded, list(test.labels))
                    ordered = {} if attributes_of(test).targets is None else {"ordered": True}
                    run.log("map", strategy=name, seed=seed, classes=list(test.classes), **points, **ordered)
                logged = [
                    row for row in run.metrics("representation") if (row["strategy"], row["seed"]) == (name, seed)
                ]
                run.log("result", strategy=name, seed=seed, measures=logged[-1]["measures"])


def features_of(data: Any, config: Config) -> Any:
    """Return a data set with the features of frozen encoder layers cached, unless augmentations need its inputs."""
    from mmcl.sections.towers import encoded

    model = config.build(config.seeds[0])
    (augment, *_) = config.augmentations()
    if config.encoder.modality == "text" or getattr(augment, "needs_inputs", False):
        return data
    return encoded(data, model, config.encoder.modality, config)
