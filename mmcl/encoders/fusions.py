"""Fusions: networks that turn one vector per view into one vector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from mmcl.arguments import takes_tensors
from mmcl.errors import ConfigError
from mmcl.text.suggest import nearest

Fusion = Literal["concat", "gated", "attention"]
FUSIONS = get_args(Fusion)


class Concatenation(nn.Module):
    """Concatenation of the views."""

    def __init__(self, dims: Iterable[int]) -> None:
        super().__init__()
        self.dim = sum(dims)

    @takes_tensors
    def forward(self, views: list[Tensor], missing: Tensor | None) -> Tensor:
        """Return the fused vectors; missing views are zeros already."""
        return torch.cat(views, 1)


class GatedFusion(nn.Module):
    """Gate-weighted mean of one linear layer per view."""

    def __init__(self, views: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(views))
        self.gate = nn.Linear(dim * views, views)

    @takes_tensors
    def forward(self, views: list[Tensor], missing: Tensor | None) -> Tensor:
        """Return the fused vectors, ``(batch, dim)``, without the missing views ``(batch, views)``."""
        weights = self.gate(torch.cat(views, 1))
        if missing is not None:
            weights = weights.masked_fill(missing, float("-inf"))
        hidden = torch.stack([layer(vectors).tanh() for layer, vectors in zip(self.layers, views, strict=True)], 1)
        return (weights.softmax(1)[:, :, None] * hidden).sum(1)


class AttentionFusion(nn.Module):
    """Attention of a learned query to the views."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        heads = next(count for count in (4, 2, 1) if dim % count == 0)
        self.query = nn.Parameter(torch.randn(1, 1, dim) * dim**-0.5)
        self.norm = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)

    @takes_tensors
    def forward(self, views: list[Tensor], missing: Tensor | None) -> Tensor:
        """Return the fused vectors, ``(batch, dim)``, without the missing views ``(batch, views)``."""
        keys = self.norm(torch.stack(views, 1))
        query = self.query.expand(len(keys), -1, -1)
        return self.attention(query, keys, keys, key_padding_mask=missing, need_weights=False)[0][:, 0]


FusionModule: TypeAlias = Concatenation | GatedFusion | AttentionFusion


def check_fusion(fusion: str) -> None:
    """Raise ConfigError if there is no fusion of this name."""
    if fusion not in FUSIONS:
        raise ConfigError(f"fusion is '{fusion}'{nearest(fusion, FUSIONS)}, expected one of {', '.join(FUSIONS)}")


def build_fusion(fusion: str, dims: Mapping[str, int]) -> FusionModule:
    """Build a fusion.

    Args:
        fusion: one of :data:`FUSIONS`.
        dims: size of the vector of each view.

    Raises:
        ConfigError: the fusion is unknown, or the sizes differ where it needs equal ones.

    >>> build_fusion("concat", {"audio": 8, "image": 4}).dim
    12
    """
    check_fusion(fusion)
    if fusion == "concat":
        return Concatenation(dims.values())
    check_equal_sizes(f"fusion {fusion}", dims)
    size = next(iter(dims.values()))
    return GatedFusion(len(dims), size) if fusion == "gated" else AttentionFusion(size)


def check_equal_sizes(what: str, dims: Mapping[str, int]) -> None:
    """Check that the vectors of all views have one size.

    Args:
        what: feature that needs equal sizes, for the error.
        dims: size of the vector of each view.

    Raises:
        ConfigError: the sizes differ.
    """
    if len(set(dims.values())) > 1:
        sizes = ", ".join(f"{view} {size}" for view, size in dims.items())
        raise ConfigError(f"{what} needs encodings of equal size, got {sizes}: set dim to project them")
