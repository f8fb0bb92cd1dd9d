"""The losses that the benchmarks of objectives measure: mmcl's, and the same ones of other libraries."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

LABELS, TEMPERATURE = 100, 0.07
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def ours(name: str) -> Loss:
    """Return an objective of mmcl as a function of two sides and labels."""
    from mmcl import objectives

    if name == "sup_con":
        sup_con = objectives.SupConLoss(TEMPERATURE)
        return lambda a, b, labels: sup_con(a, labels)
    if name == "m3co":
        m3co = objectives.M3CoLoss(TEMPERATURE)
        return lambda a, b, labels: m3co.from_mixed(a, b, *_mixture(len(a), a.device))
    kinds = {"clip": "CLIPLoss", "siglip": "SigLIPLoss", "nt_xent": "NTXentLoss", "dcl": "DCLLoss", "cwcl": "CWCLLoss"}
    loss = getattr(objectives, kinds[name])(TEMPERATURE)
    return lambda a, b, labels: loss(a, b)


@cache
def _mixture(rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return a permutation and coefficients of mixup."""
    generator = torch.Generator().manual_seed(0)
    lam = torch.rand(rows, generator=generator)
    return torch.randperm(rows, generator=generator).to(device), lam.to(device)


def peer(name: str, side: str, device: str = "cpu") -> Loss:
    """Return the same loss of another library.

    Raises:
        ImportError: The library is not installed.
    """
    scale, bias = (torch.tensor(value, device=device) for value in (1 / TEMPERATURE, -10.0))
    if side.startswith("open_clip"):
        from open_clip.loss import ClipLoss, SigLipLoss

        if name == "siglip":
            return lambda a, b, labels: SigLipLoss()(a, b, scale.to(a.dtype), bias.to(a.dtype))
        clip = _compiled_clip() if side.endswith("compiled") else ClipLoss()
        return lambda a, b, labels: clip(a, b, scale.to(a.dtype))
    if side == "inf_cl":
        from inf_cl import cal_flash_loss

        def both(a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
            losses = [cal_flash_loss(one, other, scale=1 / TEMPERATURE).mean() for one, other in ((a, b), (b, a))]
            return (losses[0] + losses[1]) / 2

        return both
    if side == "siglip_kernel":
        from siglip_kernel import fused_siglip_loss

        return lambda a, b, labels: fused_siglip_loss(a, b, scale.log(), bias)
    if side == "lightly":
        from lightly import loss as lightly

        kind = {"nt_xent": lightly.NTXentLoss, "dcl": lightly.DCLLoss}[name](temperature=TEMPERATURE)
        return lambda a, b, labels: kind(a, b)
    from pytorch_metric_learning.losses import SupConLoss

    sup_con = SupConLoss(temperature=TEMPERATURE)
    return lambda a, b, labels: sup_con(a, labels)


@cache
def _compiled_clip() -> Callable[..., Tensor]:
    from open_clip.loss import ClipLoss

    return torch.compile(ClipLoss())
