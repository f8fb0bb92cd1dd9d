"""MultimodalClassifier: one encoder per view, a fusion of their encodings, and growing heads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from mmcl.arguments import takes_tensors
from mmcl.batch import Batch, moved
from mmcl.config.numbers import Count, Probability
from mmcl.config.whole_numbers import whole_numbers
from mmcl.data.base import Dataset
from mmcl.data.paired import batch_of
from mmcl.encoders.base import Encoder
from mmcl.encoders.fusions import FUSIONS as FUSIONS
from mmcl.encoders.fusions import Fusion, build_fusion, check_equal_sizes, check_fusion
from mmcl.errors import ConfigError, LabelError, ShapeError
from mmcl.models.heads.growing import GrowingHead


class Fused(NamedTuple):
    """Output of a multimodal classifier.

    Attributes:
        logits: logits of the fused views, ``(batch, classes)``.
        embedding: input of the fused classifier layer, ``(batch, dim)``.
        views: encoding of each view, ``(batch, dim)``.
        view_logits: logits of each view's own head, ``(batch, classes)``.
    """

    logits: Tensor
    embedding: Tensor
    views: dict[str, Tensor]
    view_logits: dict[str, Tensor]


class MultimodalClassifier(nn.Module):
    """Classify samples with several views: encoders -> fusion -> one hidden layer -> growing head.

    Each view also has its own head, which is trained together with the fused head and not used to predict. With p_m the
    encoding of view m, the fusion is

    * ``concat``: [p_1, ..., p_M], as in M3CoL (Kumar et al., arXiv 2409.17777);
    * ``gated``: sum_m g_m tanh(W_m p_m), where g is the softmax over views of a linear layer on all encodings. This
      follows the gated multimodal unit (Arevalo et al., arXiv 1702.01992). Differs from the paper: a softmax gate,
      which allows more than two views;
    * ``attention``: a learned query attends to the views.

    In evaluation a view may be missing, either from a whole batch or from the samples where
    ``batch["<view>_missing"]`` ``(batch,)`` is True. ``concat`` replaces a missing view with zeros; the other fusions
    mask it.

    Args:
        encoders: encoder of each view, by the name of the view's entry in a batch.
        fusion: how the encodings of the views become one.
        dim: dimension of each view's encoding after a linear projection. None for no projection; ``gated``,
            ``attention`` and contrast between views then need encoders of equal size.
        hidden: width of the heads' hidden layers.
        dropout: dropout rate of the heads' hidden layers.
        view_dropout: probability of dropping a view of a sample in training, for data with missing views. At least one
            view of each sample is kept.

    Raises:
        ConfigError: no encoder, unknown fusion, invalid sizes, or encodings of unequal size where equal size is needed.
        ShapeError: (when called) a view is missing in training, or all views are missing in evaluation.

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
        fusion: Fusion = "concat",
        dim: Count | None = None,
        hidden: Count = 256,
        dropout: Probability = 0.0,
        view_dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        if not encoders:
            raise ConfigError("got 0 encoders, expected one for each view, such as {'audio': ..., 'image': ...}")
        check_fusion(fusion)
        if hidden < 1 or (dim is not None and dim < 1) or not 0 <= dropout < 1 or not 0 <= view_dropout < 1:
            raise ConfigError(
                f"hidden={hidden}, dim={dim}, dropout={dropout}, view_dropout={view_dropout}: expected sizes of 1 "
                "or more, and rates of 0 or more and less than 1"
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
        self.fusion = build_fusion(fusion, self.dims)
        self.head = _Head(self.fusion.dim, hidden, dropout)
        self.view_heads = nn.ModuleDict({view: _Head(size, hidden, dropout) for view, size in self.dims.items()})

    def check_alike(self, what: str) -> None:
        """Check that the encodings of all views have one size.

        Args:
            what: feature that needs equal sizes, for the error.

        Raises:
            ConfigError: the sizes differ.
        """
        check_equal_sizes(what, self.dims)

    def grow(self, labels: Iterable[int]) -> None:
        """Add the columns of ``labels`` to all heads."""
        labels = whole_numbers(labels, "labels", error=LabelError)
        self.head.output.grow(labels)
        for view in self.views:
            self._view_head(view).output.grow(labels)

    def frozen_features(self, view: str, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the features of a view before its trained layers, ``(batch, time, features)``, and their lengths.

        They are read from the batch if cached there, see :meth:`~mmcl.encoders.base.Encoder.view_features`.
        """
        return self._encoder(view).view_features(batch, view)

    def encode(self, view: str, features: Tensor, lengths: Tensor) -> Tensor:
        """Return the encoding of a view, ``(batch, dim)``, given its :meth:`frozen_features`."""
        return self.projections[view](self._encoder(view).from_features(features, lengths).pooled)

    @takes_tensors
    def forward(self, batch: Batch) -> Fused:
        """Return the logits of the fused views and of each view, ``(batch, classes)``."""
        present = [view for view in self.views if view in batch or f"{view}_features" in batch]
        if not present or (self.training and len(present) < len(self.views)):
            absent = ", ".join(view for view in self.views if view not in present)
            needed = "all views in training; view_dropout drops some" if self.training else "at least one view"
            raise ShapeError(f"batch with entries {', '.join(batch)} lacks {absent}: expected {needed}")
        views = {view: self.encode(view, *self.frozen_features(view, batch)) for view in present}
        some = next(iter(views.values()))
        parts = [views[view] if view in views else some.new_zeros(len(some), size) for view, size in self.dims.items()]
        missing = self._missing(batch, views, len(some))
        if missing is not None:
            parts = [vectors.masked_fill(lacks[:, None], 0.0) for vectors, lacks in zip(parts, missing.T, strict=True)]
        embedding = self.head.embed(self.fusion(parts, missing))
        view_logits = {view: self._view_head(view)(vectors) for view, vectors in views.items()}
        return Fused(self.head.output(embedding), embedding, views, view_logits)

    def _encoder(self, view: str) -> Encoder:
        return cast(Encoder, self.encoders[view])

    def _view_head(self, view: str) -> _Head:
        return cast(_Head, self.view_heads[view])

    def _missing(self, batch: Batch, views: Mapping[str, Tensor], size: int) -> Tensor | None:
        """Return the mask of missing views, ``(batch, views)``, or None if no view is missing."""
        dropping = self.training and self.view_dropout > 0
        if len(views) == len(self.views) and not dropping and not any(f"{view}_missing" in batch for view in views):
            return None
        missing = torch.tensor([view not in views for view in self.views]).repeat(size, 1)
        for number, view in enumerate(self.views):
            if f"{view}_missing" in batch:
                missing[:, number] |= batch[f"{view}_missing"].cpu()
        if bool(missing.all(1).any()):
            row = int(missing.all(1).nonzero()[0])
            raise ShapeError(f"sample {row} of the batch has no view, expected at least one of {', '.join(self.views)}")
        if dropping:
            chance = torch.rand(missing.shape).masked_fill(missing, -1.0)
            dropped = chance < self.view_dropout
            dropped[torch.arange(size), chance.argmax(1)] = False
            missing |= dropped
        return moved(missing, next(iter(views.values())).device)


@torch.no_grad()
def fuse_rows(
    model: MultimodalClassifier,
    data: Dataset,
    *,
    without: str | None = None,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
) -> Fused:
    """Return the model's output for all samples of a data set, computed in evaluation mode.

    Args:
        model: moved to ``device``.
        data: samples, or :class:`~mmcl.encoders.views.CachedViews` of them.
        without: view to leave out of all samples.
        batch_size: samples per forward pass.
        device: device of the computation; the result is on the CPU.
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
    """Hidden layer and growing classifier."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.output = GrowingHead(hidden)

    def embed(self, vectors: Tensor) -> Tensor:
        return self.trunk(vectors)

    @takes_tensors
    def forward(self, vectors: Tensor) -> Tensor:
        return self.output(self.embed(vectors))
