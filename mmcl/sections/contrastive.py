"""Config section of contrastive training, and the function that trains towers within a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from mmcl.config.model import OneOrMore
from mmcl.config.numbers import NonNegative
from mmcl.config.signature import SignatureModel, section_of
from mmcl.sections.objectives import (
    OBJECTIVE_HELP,
    ObjectiveName,
    ObjectivesSection,
    make_objective,
    name_and_temperature,
)
from mmcl.sections.optimizer import OptimizerSection

if TYPE_CHECKING:
    from typing import Any

    from rich.progress import Progress

    from mmcl.data.paired import PairedDataset
    from mmcl.models.two_tower import TwoTower
    from mmcl.objectives.objective import Objective
    from mmcl.objectives.objective_sum import ObjectiveSum
    from mmcl.runs.run import Run
    from mmcl.training.contrastive import Augmentation, ContrastiveTrainer


_OF_TRAINING = {"epochs", "batch_size", "micro_batch_size", "distinct_texts", "views", "momentum", "precision"}
_NO_SETTINGS = ("model", "pairs", "objective", "optimizer", "augment", "scheduler", "clip_norm", "device")


@section_of("mmcl.distributed:launch", without=("timeout",))
@section_of("mmcl.training.contrastive:ContrastiveTrainer", without=_NO_SETTINGS)
class ContrastiveSection(SignatureModel):
    """Objectives, and the contrastive training of one or two towers with each of them."""

    temperature: float = Field(
        0.07, gt=0, le=1, description="temperature of the objective; initial value if it is learned"
    )
    weights: dict[ObjectiveName, NonNegative] = Field(
        {}, description="weights of objectives in a sum, such as {conr: 4.0}; 1 for all others"
    )
    learn_temperature: bool = Field(False, description="train the temperature, as in CLIP")
    distinct_texts: bool = Field(True, description="train each epoch on one random sample of each text")
    optimizer: OptimizerSection = OptimizerSection(schedule="cosine")
    objective: OneOrMore[ObjectiveName] = Field(("clip", "cwcl"), min_length=1, description=OBJECTIVE_HELP)
    objectives: ObjectivesSection = ObjectivesSection()
    seeds: OneOrMore[int] = Field(
        (0,), min_length=1, description="random seeds of weights and order of pairs; one training per seed"
    )
    threads: int = Field(2, ge=1, description="number of CPU threads; changes results in the last digits")
    tensorboard: bool = Field(False, description="also write TensorBoard logs")

    def build(self, seed: int | None = None) -> TwoTower:
        """Build the towers; ``seed`` fixes weights that are not pretrained."""
        raise NotImplementedError

    def augmentations(self) -> list[Augmentation] | None:
        """Build the augmentation of each view; None for views that differ by dropout alone."""
        return None

    def make_objective(self, name: ObjectiveName) -> Objective | ObjectiveSum:
        """Build an objective, or a sum of several joined by ``+``; its trained side is the first tower."""
        from mmcl import distributed
        from mmcl.objectives import ObjectiveSum

        terms = [
            make_objective(
                each,
                self.objectives,
                self.temperature,
                learn_temperature=self.learn_temperature,
                gather=distributed.world_size() > 1,
            )
            for each in name.split("+")
        ]
        weights = [self.weights.get(each.partition("@")[0], 1.0) for each in name.split("+")]
        return terms[0] if len(terms) == 1 else ObjectiveSum(terms, weights)


def pretrain(
    settings: ContrastiveSection,
    name: ObjectiveName,
    seed: int,
    pairs: PairedDataset,
    run: Run,
    progress: Progress,
    after_epoch: Callable[[TwoTower, int, Objective | ObjectiveSum], None] = lambda model, epoch, objective: None,
) -> TwoTower:
    """Train towers with an objective, and log and checkpoint each epoch; a resumed run continues or skips the training.

    The model is saved in the run's ``models/<objective>-seed<seed>``. ``after_epoch`` is called with the model, the
    number of epochs so far, first 0, and the objective. It is called before each checkpoint.
    """
    from mmcl import distributed
    from mmcl.models import TwoTower
    from mmcl.objectives import LearnableTemperature
    from mmcl.runs.checkpoints import unit_name
    from mmcl.seeding import seed_everything
    from mmcl.training.salient import with_salient

    unit, folder = unit_name(name, seed), run.folder / "models" / unit_name(name, seed)
    saved = run.restore(unit)
    if saved is not None and saved["training"] is None:
        # the config may name local encoder folders, which a model's file may not
        built, _ = with_salient(settings.build(), settings.build, pairs, settings.make_objective(name))
        return TwoTower.load(folder, encoders=[tower.encoder for tower in built.towers])
    seed_everything(seed)
    model, objective = settings.build(), settings.make_objective(name)
    model, pairs = with_salient(model, settings.build, pairs, objective)
    _add_regressor(model, pairs, name, objective.takes)
    trainer = _make_trainer(settings, model, pairs, objective)
    seconds = 0.0
    if saved is not None:
        trainer.load_state_dict(saved["training"])
        seconds = saved["seconds"]
    else:
        after_epoch(model, 0, objective)
    fixed = (None if "+" in name else name_and_temperature(name)[1]) or settings.temperature
    bar = progress.add_task(f"{name}, seed {seed}", total=settings.epochs, completed=trainer.epoch)
    started = time.monotonic()
    for loss in trainer:
        now = seconds + time.monotonic() - started
        learned = getattr(objective, "temperature", None)
        temperature = learned().item() if isinstance(learned, LearnableTemperature) else fixed
        place = {"strategy": name, "seed": seed, "epoch": trainer.epoch}
        run.log("epoch", **place, loss=loss, temperature=temperature, seconds=round(now, 2))
        after_epoch(model, trainer.epoch, objective)
        if trainer.epoch < settings.epochs:
            run.checkpoint(unit, {"training": trainer.state_dict(), "seconds": now})
        progress.update(bar, completed=trainer.epoch, note=f"loss {loss:.3f}")
    model.eval()
    if distributed.is_main():
        model.save(folder)
    run.checkpoint(unit, {"training": None, "seconds": now})
    return model


def _add_regressor(model: TwoTower, pairs: PairedDataset, name: str, takes: Sequence[str]) -> None:
    """Add a head that predicts targets, if the objective takes predictions.

    Raises:
        ConfigError: the objective takes targets, and the data has none.
    """
    from mmcl.errors import ConfigError

    if "targets" in takes and pairs.targets is None:
        raise ConfigError(
            f"{name} needs 'targets', numbers to predict, which the data lacks: use data such as rotated_mnist, or "
            "name a column of your own table by data.options={target: NAME}"
        )
    if "predictions" in takes and pairs.targets is not None:
        model.add_regressor(pairs.targets)


def standardize_heads(model: TwoTower, pairs: PairedDataset) -> None:
    """Standardize the input of the heads on frozen encoders with cached features, which are known before training."""
    sides: tuple[Any, ...] = pairs.sides
    for tower, side in zip(model.towers, sides, strict=True):
        if tower.encoder.frozen and hasattr(side, "vectors"):
            tower.head.standardize(side.vectors(range(len(side))))


def _make_trainer(
    settings: ContrastiveSection, model: TwoTower, pairs: PairedDataset, objective: Objective | ObjectiveSum
) -> ContrastiveTrainer:
    from mmcl.training.contrastive import ContrastiveTrainer

    standardize_heads(model, pairs)
    optimizer = settings.optimizer.build(model, model.first.encoder)
    if parameters := list(objective.parameters()):
        optimizer.add_param_group({"params": parameters, "weight_decay": 0.0})
    return ContrastiveTrainer(
        model,
        pairs,
        objective,
        optimizer,
        **settings.model_dump(include=_OF_TRAINING),
        augment=settings.augmentations(),
        scheduler=settings.optimizer.scheduler(),
        clip_norm=settings.optimizer.clip_norm,
        device=settings.device,
    )
