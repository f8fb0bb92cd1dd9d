"""Contrastive pretraining of two towers, as a section of configs, and what trains it within a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from mmcl.config.model import OneOrMore, StrictModel
from mmcl.config.signature import SignatureModel, section_of
from mmcl.sections.objectives import OBJECTIVE_HELP, ObjectiveName, ObjectivesSection, make_objective
from mmcl.sections.slu import EncoderSection, OptimizerSection

if TYPE_CHECKING:
    from rich.progress import Progress

    from mmcl.data.paired import PairedDataset
    from mmcl.models.two_tower import TwoTower
    from mmcl.runs.run import Run


_OF_TRAINING = {"epochs", "batch_size", "micro_batch_size", "distinct_texts", "views", "precision"}
_OF_THE_TRAINER = ("model", "pairs", "objective", "optimizer", "scheduler", "clip_norm", "device")


class PairsSection(StrictModel):
    """Pairs to train on, and others to choose settings with."""

    name: str = Field(
        "sentences_tts", description="data set, as `mmcl data ls` lists them, or captions: your own files"
    )
    root: str | None = Field(None, description="its folder; none looks in MMCL_DATA and in the cache")
    train: OneOrMore[str] = Field(("train",), min_length=1, description="splits to train on, joined")
    valid: str = Field("valid", description="split to choose settings with")
    options: dict[str, Any] = Field({}, description="of the data set, such as {takes: 2}; of captions {train: a.csv}")
    valid_options: dict[str, Any] = Field({}, description="of the data set in that split, beside or in place of these")

    def build(self, split: Literal["train", "valid"]) -> Any:
        """Open the data of a split."""
        from mmcl.data import Captions, open_dataset
        from mmcl.data.fingerprint import opened
        from mmcl.errors import ConfigError

        options = self.options if split == "train" else {**self.options, **self.valid_options}
        if self.name == "captions":
            paths = {name: path for name, path in options.items() if name in ("train", "valid")}
            if split not in paths:
                raise ConfigError(
                    f"captions need options: {{train: ..., valid: ...}}, CSV files or folders; no {split}"
                )
            chosen = {name: value for name, value in options.items() if name not in paths}
            return opened(Captions(paths[split], **chosen), self.name, paths[split], **chosen)
        names = self.train if split == "train" else (self.valid,)
        first, *rest = (open_dataset(self.name, name, self.root, **options) for name in names)
        for part in rest:
            first = first + part
        return first


class TowerSection(EncoderSection):
    """An encoder of one modality and its projection head; see :class:`mmcl.models.TwoTower`."""

    head: Literal["none", "linear", "mlp", "attention"] = Field("linear", description="projection to the shared space")
    hidden: int = Field(512, ge=1, description="width of the heads mlp and attention")
    kernel: int = Field(3, ge=1, description="steps that the head attention reads together, an odd number")
    layers: int = Field(0, ge=0, description="transformer layers of the head attention")
    heads: int = Field(4, ge=1, description="learned queries of the head attention")
    dropout: float = Field(0.0, ge=0, lt=1, description="of the heads mlp and attention")

    def build(self) -> tuple[Any, Any]:
        """Build the encoder, and the options of its head."""
        from mmcl.models.heads import HeadOptions

        head = HeadOptions(self.head, self.hidden, self.kernel, self.layers, self.heads, self.dropout)
        return self.encoder(), head


@section_of("mmcl.distributed:launch", without=("timeout",))
@section_of("mmcl.training.contrastive:ContrastiveTrainer", without=_OF_THE_TRAINER)
class PretrainingSection(SignatureModel):
    """Two towers, what they are trained on, and how."""

    pairs: PairsSection = PairsSection()
    first: TowerSection = TowerSection()
    second: TowerSection | None = Field(
        TowerSection(modality="text", name="words"), description="the other tower; none: views of the first modality"
    )
    dim: int | None = Field(None, ge=1, description="of the shared space; none: of a tower whose head is none, or 512")
    temperature: float = Field(0.07, gt=0, le=1, description="of the objective, where it begins if it is learned")
    learn_temperature: bool = Field(False, description="train the temperature, as CLIP does")
    distinct_texts: bool = Field(True, description="train each epoch on one random sample of each text")
    optimizer: OptimizerSection = OptimizerSection(schedule="cosine")
    objective: OneOrMore[ObjectiveName] = Field(("clip", "cwcl"), min_length=1, description=OBJECTIVE_HELP)
    objectives: ObjectivesSection = ObjectivesSection()
    seeds: OneOrMore[int] = Field((0,), min_length=1, description="one or more: weights, order of pairs")
    threads: int = Field(2, ge=1, description="CPU threads, which change results in their last digits")
    tensorboard: bool = Field(False, description="write TensorBoard logs as well")

    @model_validator(mode="after")
    def _one_tower_needs_views(self) -> PretrainingSection:
        if self.second is None and self.views < 2:
            raise ValueError(f"views is {self.views}, expected 2 or more with one tower (second: null)")
        return self

    def build(self, seed: int | None = None) -> TwoTower:
        """Build the towers; with ``seed``, weights that are neither pretrained nor trained are the same each time."""
        from mmcl.models import TwoTower
        from mmcl.seeding import seed_everything

        if seed is not None:
            seed_everything(seed)
        first, first_head = self.first.build()
        if self.second is None:
            return TwoTower(first, first_head=first_head, dim=self.dim)
        second, second_head = self.second.build()
        return TwoTower(first, second, first_head=first_head, second_head=second_head, dim=self.dim)

    def make_objective(self, name: ObjectiveName) -> Any:
        """Make the objective of that name; its trained side is the first tower."""
        from mmcl import distributed

        learned, several = self.learn_temperature, distributed.world_size() > 1
        return make_objective(name, self.objectives, self.temperature, learn_temperature=learned, gather=several)


def encoded(dataset: Any, model: TwoTower, modality: str, settings: PretrainingSection) -> Any:
    """Return a data set with what its tower never changes computed once and cached; images are left as they are."""
    from mmcl.encoders import cached_features

    tower = model.tower(modality)
    if modality == "image" and not tower.encoder.frozen:
        return dataset
    return cached_features(
        dataset, tower.encoder, keep=tower.keep, device=settings.device, precision=settings.precision
    )


def paired(dataset: Any, model: TwoTower, settings: PretrainingSection) -> PairedDataset:
    """Return both sides of a data set, cached."""
    from mmcl.data import PairedDataset

    sides = [encoded(dataset, model, tower.modality, settings) for tower in model.towers]
    return PairedDataset(*sides)


def pretrain(
    settings: PretrainingSection,
    name: ObjectiveName,
    seed: int,
    pairs: PairedDataset,
    run: Run,
    progress: Progress,
) -> TwoTower:
    """Train two towers by an objective, log and checkpoint each epoch; what a resumed run has done is not done again.

    The model is saved in the run's ``models/<objective>-seed<seed>``.
    """
    from mmcl import distributed
    from mmcl.models import TwoTower
    from mmcl.runs.checkpoints import unit_name
    from mmcl.seeding import seed_everything
    from mmcl.training.contrastive import ContrastiveTrainer

    unit, folder = unit_name(name, seed), run.folder / "models" / unit_name(name, seed)
    saved = run.restore(unit)
    if saved is not None and saved["training"] is None:
        built = settings.build()  # by the config, which may name folders that the model's own file may not
        return TwoTower.load(folder, encoders=[tower.encoder for tower in built.towers])
    seed_everything(seed)
    model, objective = settings.build(), settings.make_objective(name)
    sides: tuple[Any, ...] = pairs.sides
    for tower, side in zip(model.towers, sides, strict=True):
        if tower.encoder.frozen:  # the features are what the head is given
            tower.head.standardize(side.vectors(range(len(side))))
    optimizer = settings.optimizer.build(model, model.first.encoder)
    if parameters := list(objective.parameters()):
        optimizer.add_param_group({"params": parameters, "weight_decay": 0.0})
    trainer = ContrastiveTrainer(
        model,
        pairs,
        objective,
        optimizer,
        **settings.model_dump(include=_OF_TRAINING),
        scheduler=settings.optimizer.scheduler(),
        clip_norm=settings.optimizer.clip_norm,
        device=settings.device,
    )
    seconds = 0.0
    if saved is not None:
        trainer.load_state_dict(saved["training"])
        seconds = saved["seconds"]
    bar = progress.add_task(f"{name}, seed {seed}", total=settings.epochs, completed=trainer.epoch)
    started = time.monotonic()
    for loss in trainer:
        now = seconds + time.monotonic() - started
        temperature = objective.temperature().item() if settings.learn_temperature else settings.temperature
        where = {"strategy": name, "seed": seed, "epoch": trainer.epoch}
        run.log("epoch", **where, loss=loss, temperature=temperature, seconds=round(now, 2))
        if trainer.epoch < settings.epochs:
            run.checkpoint(unit, {"training": trainer.state_dict(), "seconds": now})
        progress.update(bar, completed=trainer.epoch)
    model.eval()
    if distributed.is_main():
        model.save(folder)
    run.checkpoint(unit, {"training": None, "seconds": now})
    return model


def model_folders(folder: str | Path) -> dict[str, Path]:
    """Return the folders of the models of a run by name, or ``folder`` itself where it is one.

    Raises:
        CheckpointError: there is none.
        RunError: a run holds links, pipes or devices.
    """
    from mmcl.errors import CheckpointError
    from mmcl.files.plain_files import check_plain

    folder = Path(folder).expanduser()
    if (folder / "config.yaml").exists():  # a run; a folder from a hub may be links to a cache
        check_plain(folder)
    if any(path.is_file() for path in (folder / "model.json", folder / "config.json")):
        return {folder.name: folder}
    found = sorted(path.parent for path in folder.glob("models/*/model.json"))
    if not found:
        raise CheckpointError(
            f"{folder} has no model: expected a run of contrastive_pretraining or speech_to_intent that has finished "
            "one, or a folder that TwoTower.save or mmcl export wrote"
        )
    return {path.name: path for path in found}
