"""TwoTower: two encoders with a shared embedding space, trained with a contrastive objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmcl.arguments import takes_tensors
from mmcl.batch import Batch
from mmcl.config.described import checked_settings
from mmcl.data.base import Dataset
from mmcl.data.paired import batch_of
from mmcl.encoders.base import Encoder
from mmcl.encoders.bounded import Sizes, bounded
from mmcl.encoders.saved import describe_encoder, rebuild_encoder
from mmcl.errors import CheckpointError, ConfigError
from mmcl.metrics.zero_shot import class_embeddings
from mmcl.models.heads.projection import Head, HeadOptions
from mmcl.models.heads.regression import Regressor
from mmcl.models.saved import Description, load_model, stored_state, write_model

_FORMAT = 1
_SIDES = ("first", "second")


class Embedded(NamedTuple):
    """Paired embeddings ``(batch, dim)``, not normalized."""

    first: Tensor
    second: Tensor


class Tower(nn.Module):
    """An encoder and its projection head.

    A batch holds ``features`` of :func:`~mmcl.encoders.cached_features`, or inputs of the encoder's modality.

    Args:
        encoder: encoder of one modality.
        head: its projection head.

    Attributes:
        regressor: head that predicts a number from the encoder's pooled vector; None without a regression.
    """

    def __init__(self, encoder: Encoder, head: Head) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.regressor: Regressor | None = None

    @property
    def modality(self) -> str:
        """Modality of the encoder."""
        return self.encoder.modality

    @property
    def keep(self) -> str:
        """Output of the encoder that can be cached; the argument ``keep`` of :func:`~mmcl.encoders.cached_features`."""
        return "sequence" if self.head.options.reads_steps or not self.encoder.frozen else "pooled"

    @takes_tensors
    def forward(self, batch: Batch) -> Tensor:
        """Return embeddings ``(batch, dim)``, not normalized."""
        return self.head(self.encoder.encode_batch(batch))


class PooledFeatures(nn.Module):
    """Map a batch to the pooled vectors of an encoder, before any projection head, ``(batch, pooled_dim)``."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, batch: Batch) -> Tensor:
        """Return the vectors."""
        return self.encoder.encode_batch(batch).pooled


class TwoTower(nn.Module):
    """Embed two modalities, or views of one, in one space.

    A frozen encoder with the head ``none`` makes a locked tower (LiT, Zhai et al. 2022, arXiv 2111.07991). To fine-tune
    an encoder from one layer on, use ``build_encoder(tune_from=...)``. Any objective of :mod:`mmcl.objectives` on
    paired rows can train the model::

        loss = CWCLLoss(0.07)(*model(speech, text))     # trained side first, frozen side second

    Without a second encoder, both sides share one tower. They are then two views of the same samples, which differ by
    dropout, SpecAugment or augmentation (SimCLR, Chen et al. 2020, arXiv 2002.05709).

    Args:
        first: encoder of the first modality; for CWCL, the trained one.
        second: encoder of the second modality; for CWCL, the frozen one. None to share the first tower.
        first_head, second_head: names of heads, or :class:`~mmcl.models.heads.HeadOptions`.
        dim: dimension of the shared space. None for that of a side with a head without parameters, or else 512.

    Raises:
        ConfigError: dimensions differ where no head projects.

    >>> from mmcl.encoders import build_encoder
    >>> model = TwoTower(build_encoder("audio", "cnn"), build_encoder("text", "words", dim=64), second_head="none")
    >>> batch = Batch(audio=torch.zeros(2, 16000), audio_lengths=torch.tensor([16000, 8000]), text=["on", "lights off"])
    >>> [side.shape for side in model(batch, batch)]
    [torch.Size([2, 64]), torch.Size([2, 64])]
    """

    def __init__(
        self,
        first: Encoder,
        second: Encoder | None = None,
        *,
        first_head: str | HeadOptions = "mlp",
        second_head: str | HeadOptions = "linear",
        dim: int | None = None,
    ) -> None:
        super().__init__()
        encoders = (first,) if second is None else (first, second)
        options = [HeadOptions(head) if isinstance(head, str) else head for head in (first_head, second_head)]
        given = [e.pooled_dim for e, o in zip(encoders, options, strict=False) if o.keeps_dim]
        self.dim = dim if dim is not None else given[0] if given else 512
        if self.dim < 1:
            raise ConfigError(f"dim of the shared space is {self.dim}, expected at least 1")
        towers = [Tower(e, head.build(e, self.dim)) for e, head in zip(encoders, options, strict=False)]
        self.first = towers[0]
        self.second = towers[1] if second is not None else None

    @property
    def towers(self) -> tuple[Tower, ...]:
        """The towers: two, or one if both sides share it."""
        return (self.first,) if self.second is None else (self.first, self.second)

    def tower(self, modality: str) -> Tower:
        """Return the tower of a modality.

        Raises:
            ConfigError: no tower has this modality.
        """
        for tower in self.towers:
            if tower.modality == modality:
                return tower
        known = " or ".join(tower.modality for tower in self.towers)
        raise ConfigError(f"no tower of modality {modality}: expected {known}")

    @property
    def beside_text(self) -> Tower:
        """The tower opposite to the text tower, the one to classify with texts.

        Raises:
            ConfigError: there is no text tower, or it is the only one.
        """
        text = self.tower("text")
        others = [tower for tower in self.towers if tower is not text]
        if not others:
            raise ConfigError("the model has a text tower only, expected another tower to classify with texts")
        return others[0]

    def add_regressor(self, targets: Tensor | None = None) -> None:
        """Add a head to the first tower that predicts a number from the encoder's pooled vector.

        Args:
            targets: training targets ``(samples,)``, whose mean and deviation scale predictions; None for no scaling.
        """
        self.first.regressor = Regressor(self.first.encoder.pooled_dim)
        if targets is not None:
            self.first.regressor.standardize(targets)

    @takes_tensors
    def forward(self, first: Batch, second: Batch) -> Embedded:
        """Return the embeddings of both sides, ``(batch, dim)`` each, not normalized."""
        return Embedded(self.towers[0](first), self.towers[-1](second))

    def save(self, folder: str | Path) -> None:
        """Write the description ``model.json`` and the weights ``model.safetensors`` to a folder.

        Pretrained frozen weights are not stored, only their fingerprint.

        Raises:
            CheckpointError: a file cannot be written, or an encoder was not made by ``build_encoder``.
        """
        description: Description = {"mmcl_two_tower": _FORMAT, "dim": self.dim}
        for side, tower in zip(_SIDES, self.towers, strict=False):
            description[side] = {**describe_encoder(tower.encoder), "head": vars(tower.head.options)}
        if self.first.regressor is not None:
            description["regressor"] = True
        write_model(Path(folder), "model.json", description, _stored(self, description))

    @classmethod
    def load(cls, folder: str | Path, *, download: bool = False, encoders: Sequence[Encoder] = ()) -> TwoTower:
        """Load a model that :meth:`save` wrote, or an exported one, in evaluation mode.

        The description of an exported model is ``config.json`` instead of ``model.json``.

        Args:
            folder: folder of the model.
            download: fetch pretrained encoders that are not on this machine.
            encoders: encoders to use in place of the described ones, matched by modality; each is used once.

        Raises:
            CheckpointError: a file is missing, damaged or changed, or names a place outside the folder; or a pretrained
                encoder is not the one that the model was saved with.
            MissingDataError: a pretrained encoder is not on this machine.
        """
        folder = Path(folder)
        path = next((path for path in description_files(folder) if path.is_file()), folder / "model.json")

        def build(described: Description, sizes: Sizes) -> tuple[TwoTower, Mapping[str, Tensor]]:
            version = described.get("mmcl_two_tower")
            if version != _FORMAT or isinstance(version, bool):
                raise CheckpointError(
                    f"no model in {folder}: format {version!r:.60}, expected {_FORMAT} as TwoTower.save writes it"
                )
            sides = _SIDES if "second" in described else _SIDES[:1]
            heads = [_head_options(described.get(side), f"head of {side} in {path}") for side in sides]
            dim = checked_settings(_shared_space, {"dim": described.get("dim")}, str(path))["dim"]
            rebuilt: list[Encoder] = []
            for side in sides:
                unused = [each for each in encoders if all(each is not other for other in rebuilt)]
                rebuilt.append(
                    rebuild_encoder(described.get(side), folder, download=download, encoders=unused, sizes=sizes)
                )
            with bounded(sizes, path, error=CheckpointError):
                model = cls(*rebuilt, first_head=heads[0], second_head=heads[-1], dim=dim)
            if described.get("regressor") is True:
                model.add_regressor()
            return model, _stored(model, described)

        return load_model(folder, path.name, build)


def _stored(model: TwoTower, description: Description) -> dict[str, Tensor]:
    return stored_state(model, {f"{side}.": description[side] for side in _SIDES if side in description})


def _head_options(side: object, where: str) -> HeadOptions:
    settings = side.get("head") if isinstance(side, dict) else None
    return HeadOptions(**checked_settings(HeadOptions, settings, where))


def _shared_space(dim: int) -> None:
    """State the type of ``dim`` for :func:`checked_settings`."""


def description_files(folder: Path) -> tuple[Path, Path]:
    """Return the possible description files of a model, that of :meth:`TwoTower.save` first."""
    return folder / "model.json", folder / "config.json"


@torch.no_grad()
def embed_rows(
    tower: nn.Module,
    data: Dataset,
    rows: Tensor | None = None,
    *,
    augment: Callable[[Batch], Batch] | None = None,
    batch_size: int = 256,
    device: str = "cpu",
) -> Tensor:
    """Return a tower's embeddings of samples, computed in evaluation mode, ``(rows, dim)``.

    Args:
        tower: tower of a :class:`TwoTower`, or any module that maps a batch to vectors.
        data: samples or their cached features.
        rows: indices of the samples; None for all.
        augment: function from a batch to a random view of it, drawn on the CPU; None to embed the samples themselves.
        batch_size: samples per forward pass.
        device: device to move the tower to.
    """
    rows = torch.arange(len(data)) if rows is None else rows
    was_training = tower.training
    tower.to(device).eval()
    batches = (batch_of(data, part) for part in rows.split(batch_size))
    views = batches if augment is None else map(augment, batches)
    embeddings = [tower(view.to(device)).cpu() for view in views]
    tower.train(was_training)
    return torch.cat(embeddings)


@torch.no_grad()
def class_vectors(model: TwoTower, prompts: Sequence[Sequence[str]], *, device: str = "cpu") -> Tensor:
    """Return one unit-length vector per class, computed from the class's texts, ``(classes, dim)``.

    Args:
        model: model with a text tower.
        prompts: texts of each class.
        device: device to move the text tower to.
    """
    embeddings = embed_texts(model, [text for texts in prompts for text in texts], device=device)
    return class_embeddings(embeddings, [len(texts) for texts in prompts])


@torch.no_grad()
def embed_texts(model: TwoTower, texts: Sequence[str], *, device: str = "cpu") -> Tensor:
    """Return embeddings of one or more texts, computed in evaluation mode, ``(texts, dim)``, not normalized."""
    tower = model.tower("text").to(device).eval()
    embeddings = [tower(Batch(text=list(texts[start : start + 256]))).cpu() for start in range(0, len(texts), 256)]
    return torch.cat(embeddings)
