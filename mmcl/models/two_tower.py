"""TwoTower: two encoders whose samples meet in one space, to be trained by a contrastive objective."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmcl.batch import Batch
from mmcl.config.described import checked_settings
from mmcl.data.base import Dataset
from mmcl.data.paired import batch_of
from mmcl.encoders.base import Encoded, Encoder
from mmcl.encoders.bounded import Sizes, bounded
from mmcl.encoders.gate import wrap_errors
from mmcl.encoders.saved import describe_encoder, rebuild_encoder
from mmcl.errors import CheckpointError, ConfigError
from mmcl.files.digests import check_content
from mmcl.freeze import trainable_state
from mmcl.metrics.zero_shot import class_embeddings
from mmcl.models.files import put_state, read_model, write_model
from mmcl.models.heads import Head, HeadOptions

_FORMAT = 1


class Embedded(NamedTuple):
    """Paired embeddings ``(batch, dim)``, not normalised."""

    first: Tensor
    second: Tensor


class Tower(nn.Module):
    """An encoder and its head: a batch of one modality -> embeddings ``(batch, dim)``, not normalised.

    A batch has ``features`` (of :func:`~mmcl.encoders.cached_features`) or else the encoder's own modality.
    """

    def __init__(self, encoder: Encoder, head: Head) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    @property
    def modality(self) -> str:
        """That of the encoder."""
        return self.encoder.modality

    @property
    def keep(self) -> str:
        """What of the encoder can be cached, as :func:`~mmcl.encoders.cached_features` names it."""
        return "sequence" if self.head.options.reads_steps or not self.encoder.frozen else "pooled"

    def forward(self, batch: Batch) -> Tensor:
        return self.head(self._encode(batch))

    def _encode(self, batch: Batch) -> Encoded:
        if "features" not in batch:
            return self.encoder(batch[self.modality], batch.get(f"{self.modality}_lengths"))
        features = batch["features"]
        if "features_lengths" in batch:
            return self.encoder.from_features(features, batch["features_lengths"])
        return Encoded(features[:, None], features.new_ones(len(features), dtype=torch.long), features)


class TwoTower(nn.Module):
    """Embed two modalities in one space.

    A tower is locked by a frozen encoder and the head ``none`` (LiT, Zhai et al. 2022, arXiv 2111.07991); its encoder
    is tuned from some layer on by ``build_encoder(tune_from=...)``. Any objective of :mod:`mmcl.objectives` that takes
    paired rows trains it::

        loss = CWCLLoss(0.07)(*model(speech, text))     # trained side first, frozen side second

    Args:
        first: encoder of the first modality; CWCL's trained one.
        second: encoder of the other; CWCL's frozen one.
        first_head, second_head: names of heads, or :class:`~mmcl.models.heads.HeadOptions`.
        dim: dimension of the shared space; None for that of a side whose head is ``none``, or else 512.

    Raises:
        ConfigError: two encoders of one modality, or dimensions that differ where nothing projects.

    >>> from mmcl.encoders import build_encoder
    >>> model = TwoTower(build_encoder("audio", "cnn"), build_encoder("text", "words", dim=64), second_head="none")
    >>> batch = Batch(audio=torch.zeros(2, 16000), audio_lengths=torch.tensor([16000, 8000]), text=["on", "lights off"])
    >>> [side.shape for side in model(batch, batch)]
    [torch.Size([2, 64]), torch.Size([2, 64])]
    """

    def __init__(
        self,
        first: Encoder,
        second: Encoder,
        *,
        first_head: str | HeadOptions = "mlp",
        second_head: str | HeadOptions = "linear",
        dim: int | None = None,
    ) -> None:
        super().__init__()
        if first.modality == second.modality:
            raise ConfigError(f"both encoders are of {first.modality}, expected two modalities")
        options = [HeadOptions(head) if isinstance(head, str) else head for head in (first_head, second_head)]
        given = [e.pooled_dim for e, o in zip((first, second), options, strict=True) if o.name == "none"]
        self.dim = dim if dim is not None else given[0] if given else 512
        if self.dim < 1:
            raise ConfigError(f"dim of the shared space is {self.dim}, expected at least 1")
        self.first, self.second = (
            Tower(encoder, head.build(encoder, self.dim))
            for encoder, head in zip((first, second), options, strict=True)
        )

    def tower(self, modality: str) -> Tower:
        """Return the tower of a modality; raises ConfigError if there is none."""
        for tower in (self.first, self.second):
            if tower.modality == modality:
                return tower
        raise ConfigError(f"there is no tower of {modality}: expected {self.first.modality} or {self.second.modality}")

    @property
    def beside_text(self) -> Tower:
        """The tower whose samples can be named in words; raises ConfigError if no tower is of text."""
        return self.second if self.tower("text") is self.first else self.first

    def forward(self, first: Batch, second: Batch) -> Embedded:
        return Embedded(self.first(first), self.second(second))

    def save(self, folder: str | Path) -> None:
        """Write the model into a folder: ``model.json``, how it was built, and ``model.safetensors``, its weights.

        What is frozen and can be had again from where it came, such as a pretrained encoder, is not written: its
        fingerprint is.

        Raises:
            CheckpointError: it cannot be written, or an encoder was not made by ``build_encoder``.
        """
        folder = Path(folder)
        description: dict[str, Any] = {"mmcl_two_tower": _FORMAT, "dim": self.dim}
        state = trainable_state(self)
        for side, tower in (("first", self.first), ("second", self.second)):
            description[side] = {**describe_encoder(tower.encoder), "head": vars(tower.head.options)}
            if description[side]["fingerprint"] is None:
                state |= tower.state_dict(prefix=f"{side}.")
        write_model(folder, "model.json", description, state)

    @classmethod
    def load(cls, folder: str | Path, *, download: bool = False, encoders: Sequence[Encoder] = ()) -> TwoTower:
        """Build the model that :meth:`save` wrote, or one that was exported, with ``config.json`` for ``model.json``.

        Args:
            folder: where it was written.
            download: fetch pretrained encoders that are not on this machine.
            encoders: built by the caller, each in place of the one of its modality that the file describes.

        Raises:
            CheckpointError: a file is missing, damaged or changed, names a place outside the folder, or a pretrained
                encoder is not the one that was there.
            MissingDataError: a pretrained encoder is not on this machine.
        """
        folder = Path(folder)
        path = next((path for path in description_files(folder) if path.is_file()), folder / "model.json")
        with wrap_errors(f"the model in {folder}", error=CheckpointError):
            described, state = read_model(folder, path.name)
            if described.get("mmcl_two_tower") != _FORMAT or isinstance(described["mmcl_two_tower"], bool):
                raise CheckpointError(
                    f"there is no model in {folder} that can be read (format {described.get('mmcl_two_tower')!r:.60}, "
                    f"expected {_FORMAT}): expected what TwoTower.save wrote"
                )
            sizes, sides = Sizes.of(state.values()), [described.get(side) for side in ("first", "second")]
            parts = [side if isinstance(side, dict) else {} for side in sides]
            heads = [
                HeadOptions(**checked_settings(HeadOptions, side.get("head"), f"head of {name} in {path}"))
                for name, side in zip(("first", "second"), parts, strict=True)
            ]
            dim = checked_settings(_shared_space, {"dim": described.get("dim")}, str(path))["dim"]
            first, second = (
                rebuild_encoder(side, folder, download=download, encoders=encoders, sizes=sizes) for side in sides
            )
            with bounded(sizes, path, error=CheckpointError):
                model = cls(first, second, first_head=heads[0], second_head=heads[1], dim=dim)
            whole = tuple(
                f"{name}." for name, side in zip(("first", "second"), parts, strict=True) if side["fingerprint"] is None
            )
            wanted = trainable_state(model).keys() | {name for name in model.state_dict() if name.startswith(whole)}
            put_state(model, state, {name: model.state_dict()[name] for name in wanted}, path)
            check_content(described, path)
            return model.eval()


def _shared_space(dim: int) -> None:
    """What the file says of the space, beside the sides."""


def description_files(folder: Path) -> tuple[Path, Path]:
    """Return where the description of a model may lie, that of :meth:`TwoTower.save` first."""
    return folder / "model.json", folder / "config.json"


@torch.no_grad()
def embed_rows(
    tower: Tower, data: Dataset, rows: Tensor | None = None, *, batch_size: int = 256, device: str = "cpu"
) -> Tensor:
    """Return the tower's embeddings of samples, in evaluation mode, ``(rows, dim)``.

    Args:
        tower: one of a :class:`TwoTower`.
        data: samples, or their cached features.
        rows: which samples; None for all.
    """
    rows = torch.arange(len(data)) if rows is None else rows
    was_training = tower.training
    tower.to(device).eval()
    found = [tower(batch_of(data, part).to(device)).cpu() for part in rows.split(batch_size)]
    tower.train(was_training)
    return torch.cat(found)


@torch.no_grad()
def class_vectors(model: TwoTower, prompts: Sequence[Sequence[str]], *, device: str = "cpu") -> Tensor:
    """Return one unit vector for each class, of the texts that it is called by, ``(classes, dim)``."""
    embedded = embed_texts(model, [text for called in prompts for text in called], device=device)
    return class_embeddings(embedded, [len(called) for called in prompts])


@torch.no_grad()
def embed_texts(model: TwoTower, texts: Sequence[str], *, device: str = "cpu") -> Tensor:
    """Return the embeddings of one or more texts, in evaluation mode, not normalised, ``(texts, dim)``."""
    tower = model.tower("text").to(device).eval()
    parts = [tower(Batch(text=list(texts[start : start + 256]))).cpu() for start in range(0, len(texts), 256)]
    return torch.cat(parts)
