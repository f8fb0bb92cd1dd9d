"""MultimodalClassifier: an encoder for each view of a sample, a fusion of what they give, and heads that grow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmcl.batch import Batch
from mmcl.config.whole_numbers import whole_numbers
from mmcl.data.base import Dataset
from mmcl.data.paired import batch_of
from mmcl.encoders.base import Encoder
from mmcl.errors import ConfigError, LabelError, ShapeError
from mmcl.models.classifier import GrowingHead
from mmcl.text.suggest import nearest

FUSIONS = ("concat", "gated", "attention")


class Fused(NamedTuple):
    """What a classifier of several views makes of a batch.

    ``logits`` ``(batch, classes)`` of all views together and the ``embedding`` ``(batch, dim)`` they were read from,
    what each view was encoded as, ``(batch, dim)``, and what each alone is taken for, ``(batch, classes)``.
    """

    logits: Tensor
    embedding: Tensor
    views: dict[str, Tensor]
    view_logits: dict[str, Tensor]


class MultimodalClassifier(nn.Module):
    """Classify samples of several views: an encoder each -> fusion -> one hidden layer -> growing head.

    Each view has a head of its own as well, which is trained beside that of the fusion and not used to predict. With
    p_m the encoding of view m, the fusion is

    * ``concat``: [p_1, ..., p_M], as M3CoL fuses (Kumar et al., arXiv 2409.17777);
    * ``gated``: sum_m g_m tanh(W_m p_m), g = softmax over the views of a linear layer on all of them, after the gated
      multimodal unit (Arevalo et al., arXiv 1702.01992; differs from the paper: a softmax, which allows more than two);
    * ``attention``: a learned query attends to the views.

    In evaluation a view may be missing, from a whole batch or, where ``batch["<view>_missing"]`` ``(batch,)`` says so,
    from some samples: it counts as zeros in ``concat``, and takes no part in the other two.

    Args:
        encoders: by view, the name of its entry in a batch.
        fusion: one of the three.
        dim: of each view's encoding, by a linear projection; None for what the encoders give, which have to be alike
            for ``gated``, ``attention``, and a contrast between views.
        hidden: width of the heads' hidden layers.
        dropout: of these.
        view_dropout: chance that a view of a sample counts as missing in training, for data that will lack some; one
            view of each sample is always left.

    Raises:
        ConfigError: no encoder, an unknown fusion, sizes that cannot be, or encodings of different sizes where they
            have to be alike.
        ShapeError: (when called) in training, a view that is missing from a batch; in evaluation, every one.

    >>> from mmcl.encoders import build_encoder
    >>> views = {name: build_encoder("tabular", "mlp", features=5, dim=8) for name in ("mrna", "mirna")}
    >>> model = MultimodalClassifier(views, hidden=16)
    >>> model.grow([0, 1])
    >>> fused = model(Batch(mrna=torch.rand(4, 5), mirna=torch.rand(4, 5)))
    >>> fused.logits.shape, fused.views["mrna"].shape, fused.view_logits["mirna"].shape
    (torch.Size([4, 2]), torch.Size([4, 8]), torch.Size([4, 2]))
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        *,
        fusion: str = "concat",
        dim: int | None = None,
        hidden: int = 256,
        dropout: float = 0.0,
        view_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not encoders:
            raise ConfigError("there are 0 encoders, expected one for each view, such as {'audio': ..., 'image': ...}")
        if fusion not in FUSIONS:
            raise ConfigError(f"fusion is '{fusion}'{nearest(fusion, FUSIONS)}, expected one of {', '.join(FUSIONS)}")
        if hidden < 1 or (dim is not None and dim < 1) or not 0 <= dropout < 1 or not 0 <= view_dropout < 1:
            raise ConfigError(
                f"hidden={hidden}, dim={dim}, dropout={dropout}, view_dropout={view_dropout}: expected sizes of 1 or "
                "more, and shares of at least 0 and below 1"
            )
        self.encoders = nn.ModuleDict(encoders)
        self.views = tuple(encoders)
        self.view_dropout = view_dropout
        self.projections = nn.ModuleDict(
            {
                view: nn.Identity() if dim is None else nn.Linear(encoder.pooled_dim, dim)
                for view, encoder in encoders.items()
            }
        )
        self.dims = {view: dim or encoder.pooled_dim for view, encoder in encoders.items()}
        self.fusion = self._fusion(fusion)
        self.head = _Head(self.fusion.dim, hidden, dropout)
        self.view_heads = nn.ModuleDict({view: _Head(size, hidden, dropout) for view, size in self.dims.items()})

    def _fusion(self, fusion: str) -> _Concat | _Gated | _Attention:
        if fusion == "concat":
            return _Concat(self.dims.values())
        self.check_alike(f"fusion {fusion}")
        size = next(iter(self.dims.values()))
        return _Gated(len(self.views), size) if fusion == "gated" else _Attention(size)

    def check_alike(self, what: str) -> None:
        """Raise ConfigError unless all views are encoded in the same size, which ``what`` needs."""
        if len(set(self.dims.values())) > 1:
            sizes = ", ".join(f"{view} {size}" for view, size in self.dims.items())
            raise ConfigError(f"{what} needs encodings of one size, and they have {sizes}: set dim to project them")

    def grow(self, labels: Iterable[int]) -> None:
        """Open the heads' columns of ``labels``."""
        labels = whole_numbers(labels, "labels", error=LabelError)
        heads: list[Any] = [self.head, *self.view_heads.values()]
        for head in heads:
            head.output.grow(labels)

    def frozen_features(self, view: str, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return what training never changes of a view, ``(batch, time, features)``, and its lengths ``(batch,)``."""
        if f"{view}_features" in batch:
            return batch[f"{view}_features"], batch[f"{view}_features_lengths"]
        encoder: Any = self.encoders[view]
        features: tuple[Tensor, Tensor] = encoder.frozen_features(batch[view], batch.get(f"{view}_lengths"))
        return features

    def encode(self, view: str, features: Tensor, lengths: Tensor) -> Tensor:
        """Return the encoding of what :meth:`frozen_features` gave, ``(batch, dim)``."""
        encoder: Any = self.encoders[view]
        encoding: Tensor = self.projections[view](encoder.from_features(features, lengths).pooled)
        return encoding

    def forward(self, batch: Batch) -> Fused:
        there = [view for view in self.views if view in batch or f"{view}_features" in batch]
        if not there or (self.training and len(there) < len(self.views)):
            absent = ", ".join(view for view in self.views if view not in there)
            raise ShapeError(
                f"the batch has entries {', '.join(batch)}, and no {absent}: expected "
                + ("all views in training, in which view_dropout leaves some out" if self.training else "a view")
            )
        views = {view: self.encode(view, *self.frozen_features(view, batch)) for view in there}
        some = next(iter(views.values()))
        parts = [views[view] if view in views else some.new_zeros(len(some), size) for view, size in self.dims.items()]
        missing = self._missing(batch, views, len(some))
        if missing is not None:
            parts = [vectors.masked_fill(lacks[:, None], 0.0) for vectors, lacks in zip(parts, missing.T, strict=True)]
        embedding = self.head.embed(self.fusion(parts, missing))
        view_logits = {view: self.view_heads[view](vectors) for view, vectors in views.items()}
        return Fused(self.head.output(embedding), embedding, views, view_logits)

    def _missing(self, batch: Batch, views: Mapping[str, Tensor], size: int) -> Tensor | None:
        """Which views each sample lacks, ``(batch, views)``, None where all have all."""
        dropping = self.training and self.view_dropout > 0
        if len(views) == len(self.views) and not dropping and not any(f"{view}_missing" in batch for view in views):
            return None
        missing = torch.tensor([view not in views for view in self.views]).repeat(size, 1)
        for number, view in enumerate(self.views):
            if f"{view}_missing" in batch:
                missing[:, number] |= batch[f"{view}_missing"].cpu()
        if bool(missing.all(1).any()):
            row = int(missing.all(1).nonzero()[0])
            raise ShapeError(f"sample {row} of the batch lacks every view, expected one of {', '.join(self.views)}")
        if dropping:
            chance = torch.rand(missing.shape).masked_fill(missing, -1.0)
            dropped = chance < self.view_dropout
            dropped[torch.arange(size), chance.argmax(1)] = False
            missing |= dropped
        return missing.to(next(iter(views.values())).device)


@torch.no_grad()
def fuse_rows(
    model: MultimodalClassifier,
    data: Dataset,
    *,
    without: str | None = None,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
) -> Fused:
    """Return what the model makes of all samples, in evaluation mode.

    Args:
        model: as it is, on ``device`` from then on.
        data: samples, or :class:`~mmcl.encoders.views.CachedViews` of them.
        without: a view that all samples are to lack.
    """
    was_training = model.training
    model.to(device).eval()
    parts = []
    for rows in torch.arange(len(data)).split(batch_size):
        batch = batch_of(data, rows).to(device)
        for name in () if without is None else (without, f"{without}_features"):
            batch.pop(name, None)
        parts.append(model(batch))
    model.train(was_training)
    logits, embedding = (torch.cat([getattr(part, name).cpu() for part in parts]) for name in ("logits", "embedding"))
    views, view_logits = (
        {view: torch.cat([getattr(part, name)[view].cpu() for part in parts]) for view in getattr(parts[0], name)}
        for name in ("views", "view_logits")
    )
    return Fused(logits, embedding, views, view_logits)


class _Head(nn.Module):
    """A hidden layer and a growing output."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.output = GrowingHead(hidden)

    def embed(self, vectors: Tensor) -> Tensor:
        hidden: Tensor = self.trunk(vectors)
        return hidden

    def forward(self, vectors: Tensor) -> Tensor:
        logits: Tensor = self.output(self.embed(vectors))
        return logits


class _Concat(nn.Module):
    """One view after the other."""

    def __init__(self, dims: Iterable[int]) -> None:
        super().__init__()
        self.dim = sum(dims)

    def forward(self, views: list[Tensor], missing: Tensor | None) -> Tensor:
        return torch.cat(views, 1)


class _Gated(nn.Module):
    """A mean of the views, each through a layer of its own, weighted by a gate that sees all of them."""

    def __init__(self, views: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(views))
        self.gate = nn.Linear(dim * views, views)

    def forward(self, views: list[Tensor], missing: Tensor | None) -> Tensor:
        weights = self.gate(torch.cat(views, 1))
        if missing is not None:
            weights = weights.masked_fill(missing, float("-inf"))
        hidden = torch.stack([layer(vectors).tanh() for layer, vectors in zip(self.layers, views, strict=True)], 1)
        return (weights.softmax(1)[:, :, None] * hidden).sum(1)


class _Attention(nn.Module):
    """A learned query that attends to the views."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        heads = next(count for count in (4, 2, 1) if dim % count == 0)
        self.query = nn.Parameter(torch.randn(1, 1, dim) * dim**-0.5)
        self.norm = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, views: list[Tensor], missing: Tensor | None) -> Tensor:
        there = self.norm(torch.stack(views, 1))
        query = self.query.expand(len(there), -1, -1)
        attended: Tensor = self.attention(query, there, there, key_padding_mask=missing, need_weights=False)[0]
        return attended[:, 0]
