"""The losses that the benchmarks of objectives measure: mmcl's, and the same ones of other libraries."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

LABELS, TEMPERATURE = 100, 0.07
QUEUE = 16384  # keys of MoCo and MoCHi
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
    if name == "moco":
        moco = objectives.MoCHiLoss(TEMPERATURE, queue=QUEUE, mixed=0, mixed_queries=0)
        fill(moco.queue)
        return lambda a, b, labels: moco(a, b)
    kinds = {"clip": "CLIPLoss", "siglip": "SigLIPLoss", "nt_xent": "NTXentLoss", "dcl": "DCLLoss", "cwcl": "CWCLLoss"}
    kinds |= {"simple_contrastive": "SimpleContrastiveLoss", "hard_contrastive": "HardContrastiveLoss", "mw": "MWLoss"}
    if name in kinds:
        loss = getattr(objectives, kinds[name])(TEMPERATURE)
        return lambda a, b, labels: loss(a, b)
    return _of_one_modality(name)


def _of_one_modality(name: str) -> Loss:
    """Return an objective on views, labels, numbers or episodes."""
    from mmcl import objectives

    if name == "sep_clr":
        sep_clr = objectives.SepCLRLoss()
        return lambda a, b, labels: sep_clr(
            torch.stack([a, b]), torch.stack([each[:, : each.shape[1] // 2] for each in (a, b)]), labels % 2 == 0
        )
    if name == "isogclr":
        isogclr = objectives.ISogCLRLoss(samples=65536)
        return lambda a, b, labels: isogclr(a, b, torch.arange(len(a), device=a.device))
    if name == "mochi":
        mochi = objectives.MoCHiLoss(TEMPERATURE, queue=QUEUE)
        fill(mochi.queue)
        return lambda a, b, labels: mochi(a, b)
    if name == "simlap":
        simlap = objectives.SimLAPLoss(TEMPERATURE, classes=LABELS, dim=256)
        return lambda a, b, labels: simlap(a, b, labels)
    views = {"mv_info_nce": "MVInfoNCELoss", "mv_dhel": "MVDHELLoss", "cacr": "CACRLoss", "groco": "GroCoLoss"}
    if name in views:
        of_views = getattr(objectives, views[name])(TEMPERATURE)
        return lambda a, b, labels: of_views(torch.stack([a, b]))
    if name == "core_tuning":
        core_tuning = objectives.CoreTuningLoss(TEMPERATURE)
        return lambda a, b, labels: core_tuning(a, labels)
    if name == "supremix":
        supremix = objectives.SupReMixLoss(TEMPERATURE)
        return lambda a, b, labels: supremix(a, numbers_of(labels)[0])
    if name == "conr":
        conr = objectives.ConRLoss(TEMPERATURE)
        return lambda a, b, labels: conr(a, *numbers_of(labels))
    susana = objectives.SuSanaLoss()
    return lambda a, b, labels: susana(
        a, torch.arange(len(a), device=a.device) // 2 % LABELS, torch.arange(len(a), device=a.device) % 2 == 0
    )


def numbers_of(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return targets and predictions of a regression, made from labels."""
    return labels.float(), (labels * 7 % LABELS).float()


def fill(queue: Any) -> None:
    """Fill a queue with the same keys as the peer's."""
    queue.push(keys_before(), None)


@cache
def keys_before() -> Tensor:
    """Return the keys that a queue holds before the first step."""
    return torch.nn.functional.normalize(torch.randn(QUEUE, 256, generator=torch.Generator().manual_seed(1)), dim=1)


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
    if side == "plain torch":
        from plain_losses import plain

        return plain(name)
    if side == "diffsort":
        from diffsort import DiffSortNet
        from plain_losses import groco

        sorted_by = DiffSortNet("odd_even", 11, steepness=1, distribution="cauchy")  # 10 negatives and a positive
        return lambda a, b, labels: groco(a, b, lambda values: sorted_by(values)[1])
    if side == "lightly":
        from lightly import loss as lightly

        if name == "moco":
            moco = lightly.NTXentLoss(temperature=TEMPERATURE, memory_bank_size=(QUEUE, 256))
            moco.memory_bank.bank = keys_before().clone()
            return lambda a, b, labels: moco(a, b.detach())
        kind = {"nt_xent": lightly.NTXentLoss, "dcl": lightly.DCLLoss}[name](temperature=TEMPERATURE)
        return lambda a, b, labels: kind(a, b)
    from pytorch_metric_learning.losses import SupConLoss

    sup_con = SupConLoss(temperature=TEMPERATURE)
    return lambda a, b, labels: sup_con(a, labels)


@cache
def _compiled_clip() -> Callable[..., Tensor]:
    from open_clip.loss import ClipLoss

    return torch.compile(ClipLoss())
