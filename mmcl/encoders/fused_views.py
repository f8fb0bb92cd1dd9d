"""FusedViews: one encoder per view and a fusion, which together take the place of an encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from mmcl.arguments import require_batch
from mmcl.batch import Batch
from mmcl.config.numbers import Count
from mmcl.config.whole_numbers import whole_numbers
from mmcl.encoders.base import Encoded, Encoder
from mmcl.encoders.fusions import Fusion, build_fusion
from mmcl.encoders.standardize import standardization
from mmcl.encoders.tabular import TabularEncoder
from mmcl.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    from mmcl.encoders.views import CachedViews

SEVERAL_VIEWS = "views"  #: modality of samples with several views
_ROWS = 256  # samples per step when features are scaled


class FusedViews(nn.Module):
    """Encode samples with several views: one encoder per view, and a fusion of their vectors.

    A model such as :class:`~mmcl.models.SLUClassifier` takes it in place of an encoder. The fusions are those of
    :class:`~mmcl.models.MultimodalClassifier`.

    Args:
        encoders: encoder of each view, by the name of the view's entry in a batch.
        fusion: how the vectors of the views become one.
        dim: dimension of each view's vector after a linear projection. None for no projection; ``gated`` and
            ``attention`` then need encoders of equal size.

    Attributes:
        pooled_dim: size of the fused vector.
        frozen: True if nothing is trained: all encoders are frozen, and concatenated without projection.

    Raises:
        ConfigError: no encoder, a name with a dot, unknown fusion, or vectors of unequal size where equal size is
            needed.

    >>> from mmcl.encoders import build_encoder
    >>> fused = FusedViews({"image": build_encoder("image", "cnn"), "age": build_encoder("tabular", "mlp", features=2)})
    >>> batch = Batch(image=torch.rand(3, 1, 8, 8), age=torch.rand(3, 2))
    >>> fused.encode_batch(batch).pooled.shape
    torch.Size([3, 256])
    """

    modality = SEVERAL_VIEWS

    def __init__(self, encoders: Mapping[str, Encoder], *, fusion: Fusion = "concat", dim: Count | None = None) -> None:
        super().__init__()
        if not encoders or any("." in view for view in encoders):
            raise ConfigError(f"views are {', '.join(encoders) or 'none'}: expected one or more, without dots")
        self.settings: dict[str, object] = {"fusion": fusion, "dim": dim}
        self.encoders = nn.ModuleDict(encoders)
        self.projections = nn.ModuleDict({view: _Projection(each.pooled_dim, dim) for view, each in encoders.items()})
        self.fusion = build_fusion(fusion, {view: dim or each.pooled_dim for view, each in encoders.items()})
        self.pooled_dim = self.fusion.dim
        self.frozen = fusion == "concat" and dim is None and all(each.frozen for each in encoders.values())

    def views(self) -> Iterator[tuple[str, Encoder]]:
        """Iterate over the views and their encoders."""
        return ((view, cast(Encoder, encoder)) for view, encoder in self.encoders.items())

    def fingerprint(self) -> str:
        """Identify the computation that training never changes, see :meth:`~mmcl.encoders.base.Encoder.fingerprint`."""
        return "; ".join(f"{view}: {encoder.fingerprint()}" for view, encoder in self.views())

    def fit_scaling(self, data: CachedViews, rows: Sequence[int]) -> None:
        """Fit the scaling of numbers and of frozen features to mean 0 and standard deviation 1.

        Args:
            data: training data.
            rows: samples to fit to. Pass those of the first experience: later ones are not known yet.
        """
        chosen = torch.tensor(whole_numbers(rows, "rows"))
        for view, encoder in self.views():
            if isinstance(encoder, TabularEncoder):
                encoder.scale(data.vectors(view)[chosen], "deviation")
            if encoder.frozen:
                with torch.no_grad():
                    parts = [_pooled(encoder, view, data.batch(part)) for part in chosen.split(_ROWS)]
                self._projection(view).standardize(torch.cat(parts))

    def encode_batch(self, batch: Batch) -> Encoded:
        """Encode a batch with an entry ``<view>``, or the cached ``<view>_features``, for each view.

        The sequence of a sample is its fused vector alone.

        Raises:
            ShapeError: a view is missing.
        """
        require_batch(batch)
        if absent := [view for view in self.encoders if view not in batch and f"{view}_features" not in batch]:
            raise ShapeError(f"batch with entries {', '.join(batch)} lacks {', '.join(absent)}: expected all views")
        vectors = [self._projection(view)(_pooled(encoder, view, batch)) for view, encoder in self.views()]
        pooled: Tensor = self.fusion(vectors, None)
        return Encoded(pooled[:, None], pooled.new_ones(len(pooled), dtype=torch.long), pooled)

    def _projection(self, view: str) -> _Projection:
        return cast(_Projection, self.projections[view])


class _Projection(nn.Module):
    """Scaling and linear projection of a view's vectors."""

    gain: Tensor
    offset: Tensor

    def __init__(self, size: int, dim: int | None) -> None:
        super().__init__()
        self.register_buffer("gain", torch.ones(size))
        self.register_buffer("offset", torch.zeros(size))
        self.linear = nn.Identity() if dim is None else nn.Linear(size, dim)

    def standardize(self, vectors: Tensor) -> None:
        scaling = standardization(vectors, len(self.gain))
        self.gain, self.offset = scaling.gain.to(self.gain), scaling.offset.to(self.gain)

    def forward(self, vectors: Tensor) -> Tensor:
        return self.linear(torch.addcmul(self.offset, vectors, self.gain))


def _pooled(encoder: Encoder, view: str, batch: Batch) -> Tensor:
    """Return the vectors of a view, ``(batch, pooled_dim)``, which are cached if the encoder is frozen."""
    if f"{view}_features" in batch and f"{view}_features_lengths" not in batch:
        return batch[f"{view}_features"]
    return encoder.from_features(*encoder.view_features(batch, view)).pooled
