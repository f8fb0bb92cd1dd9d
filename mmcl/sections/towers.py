"""Config sections of contrastive training: pairs, and one or two towers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mmcl.config.model import OneOrMore, StrictModel
from mmcl.config.signature import section_of
from mmcl.sections.contrastive import ContrastiveSection
from mmcl.sections.encoders import EncoderSection

if TYPE_CHECKING:
    from mmcl.data.base import Dataset
    from mmcl.data.paired import PairedDataset
    from mmcl.encoders.base import Encoder
    from mmcl.models.heads import HeadOptions
    from mmcl.models.two_tower import TwoTower


class PairsSection(StrictModel):
    """Pairs for training and validation."""

    options_of_name: ClassVar[tuple[str, ...]] = ("options", "valid_options")

    name: str = Field(
        "sentences_tts",
        description="name of the data set, as listed by `mmcl data ls`, or table or captions for files of your own",
    )
    root: str | None = Field(
        None, description="folder of the data set, or file for table; none: search MMCL_DATA and the cache"
    )
    train: OneOrMore[str] = Field(("train",), min_length=1, description="splits to train on")
    valid: str = Field("valid", description="split to validate on")
    options: dict[str, Any] = Field(
        {}, description="options of the data set, such as {takes: 2}; for captions {train: a.csv, valid: b.csv}"
    )
    valid_options: dict[str, Any] = Field(
        {}, description="options of the validation split; they override pairs.options"
    )

    def build(self, split: Literal["train", "valid"]) -> Dataset:
        """Open a split.

        Raises:
            ConfigError: ``captions`` has no path for the split, or ``table`` has no root.
        """
        from mmcl.data import Captions, open_dataset
        from mmcl.data.fingerprint import opened
        from mmcl.errors import ConfigError

        options = self.options if split == "train" else {**self.options, **self.valid_options}
        if self.name == "captions":
            paths = {name: path for name, path in options.items() if name in ("train", "valid")}
            if split not in paths:
                raise ConfigError(
                    f"captions need options: {{train: PATH, valid: PATH}} with CSV files or folders, but there is no "
                    f"{split}: add it"
                )
            others = {name: value for name, value in options.items() if name not in paths}
            return opened(Captions(paths[split], **others), self.name, paths[split], **others)
        if self.name == "table":  # pairs need no label
            options = {"labelled": False, **options}
            if self.root is None:
                raise ConfigError("pairs.root is none, expected a file or folder of your own: set pairs.root=FILE")
        names = self.train if split == "train" else (self.valid,)
        first, *rest = (open_dataset(self.name, name, self.root, **options) for name in names)
        for part in rest:
            first = first + part
        return first


@section_of("mmcl.models.heads.projection:HeadOptions", without=("name",))
class TowerSection(EncoderSection):
    """An encoder of one modality and its projection head; see :class:`mmcl.models.TwoTower`."""

    head: Literal["none", "linear", "mlp", "attention", "reweighting", "residual"] = Field(
        "linear", description="projection head to the shared space"
    )

    def build(self) -> tuple[Encoder, HeadOptions]:
        """Build the encoder, and the options of its head."""
        from mmcl.models.heads import HeadOptions

        sizes = self.model_dump(include={"hidden", "kernel", "layers", "heads", "dropout", "kappa", "batch_norm"})
        head = HeadOptions(self.head, **sizes)
        return self.encoder(), head


class OneTowerSection(ContrastiveSection):
    """One tower and its contrastive training."""

    encoder: TowerSection = TowerSection()
    dim: int | None = Field(None, ge=1, description="output dimension of the projection head; none: 512")

    def build(self, seed: int | None = None) -> TwoTower:
        """Build the encoder and its head; ``seed`` fixes weights that are not pretrained."""
        from mmcl.models import TwoTower
        from mmcl.seeding import seed_everything

        if seed is not None:
            seed_everything(seed)
        encoder, head = self.encoder.build()
        return TwoTower(encoder, first_head=head, dim=encoder.pooled_dim if head.keeps_dim else self.dim)


class PretrainingSection(ContrastiveSection):
    """Pairs, one or two towers, and their contrastive training."""

    pairs: PairsSection = PairsSection()
    first: TowerSection = TowerSection()
    second: TowerSection | None = Field(
        TowerSection(modality="text", name="words"), description="second tower; none: views of the first modality"
    )
    dim: int | None = Field(
        None, ge=1, description="dimension of the shared space; none: that of a tower without a head, or else 512"
    )

    @model_validator(mode="after")
    def _check_views(self) -> PretrainingSection:
        if self.second is None and self.views < 2:
            raise ValueError(f"views is {self.views}, expected 2 or more with one tower (second: null)")
        return self

    def build(self, seed: int | None = None) -> TwoTower:
        """Build the towers; ``seed`` fixes weights that are not pretrained."""
        from mmcl.models import TwoTower
        from mmcl.seeding import seed_everything

        if seed is not None:
            seed_everything(seed)
        first, first_head = self.first.build()
        if self.second is None:
            return TwoTower(first, first_head=first_head, dim=self.dim)
        second, second_head = self.second.build()
        return TwoTower(first, second, first_head=first_head, second_head=second_head, dim=self.dim)

    def following(self, data: Any) -> PretrainingSection:
        """Return these settings with image encoders that take channels and size from a data set."""
        second = None if self.second is None else self.second.following(data)
        return self.model_copy(update={"first": self.first.following(data), "second": second})


def encoded(dataset: Dataset, model: TwoTower, modality: str, settings: ContrastiveSection) -> Dataset:
    """Return a data set with the features of frozen encoder layers cached; images of a trained encoder stay images."""
    from mmcl.encoders import cached_features
    from mmcl.sections.tower_checks import check_tower

    check_tower(dataset, modality)
    tower = model.tower(modality)
    if modality == "image" and not tower.encoder.frozen:
        return dataset
    return cached_features(
        dataset, tower.encoder, keep=tower.keep, device=settings.device, precision=settings.precision
    )


def paired(dataset: Dataset, model: TwoTower, settings: PretrainingSection) -> PairedDataset:
    """Return the sides of a data set, with the features of frozen encoder layers cached."""
    from mmcl.data import PairedDataset

    sides = [encoded(dataset, model, tower.modality, settings) for tower in model.towers]
    return PairedDataset(*sides)


def model_folders(folder: str | Path) -> dict[str, Path]:
    """Return the model folders of a run by name, or ``folder`` itself if it is a model.

    Raises:
        CheckpointError: there is no model.
        RunError: a run holds links, pipes or devices.
    """
    from mmcl.errors import CheckpointError
    from mmcl.files.plain_files import check_plain

    folder = Path(folder).expanduser()
    if (folder / "config.yaml").exists():  # a run; folders from a hub are not checked, they may link to a cache
        check_plain(folder)
    if any(path.is_file() for path in (folder / "model.json", folder / "config.json")):
        return {folder.name: folder}
    found = sorted(path.parent for path in folder.glob("models/*/model.json"))
    if not found:
        raise CheckpointError(
            f"{folder} has no model: expected a run of contrastive_pretraining or speech_to_intent with a finished "
            "model, or a folder written by TwoTower.save or mmcl export"
        )
    return {path.name: path for path in found}
