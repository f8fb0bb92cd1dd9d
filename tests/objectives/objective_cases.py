"""Every objective with a batch, for the tests of all objectives, which other processes import as well."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from interpreted import interpret
from torch import Tensor
from waits import elsewhere

from mmcl.objectives import (
    BECLRLoss,
    CACRLoss,
    CLIPLoss,
    CoDiEmbRetrievalLoss,
    CoDiEmbSimilarityLoss,
    ConRLoss,
    CoreTuningLoss,
    CWCLLoss,
    DCLLoss,
    GroCoLoss,
    HardContrastiveLoss,
    ISogCLRLoss,
    M3CoLoss,
    MMLoss,
    MoCHiLoss,
    MVDHELLoss,
    MVInfoNCELoss,
    MWLoss,
    NSPTLoss,
    NTXentLoss,
    RerankingLoss,
    SameLabel,
    SepCLRLoss,
    SigLIPLoss,
    SimLAPLoss,
    SimpleContrastiveLoss,
    SoftClipLoss,
    SupConLoss,
    SupReMixLoss,
    SuSanaLoss,
    weighted_info_nce,
)
from mmcl.objectives.kernel.inputs import check_paired

DIM = 6


class Case(NamedTuple):
    """An objective, and the entries of the batch that it takes, in order."""

    make: Callable
    takes: str

    def __call__(self, batch: dict[str, Tensor], **options) -> Tensor:
        return self.make(**options)(*(batch[name] for name in self.takes.split()))


def weighted(**options):
    """The kernel with weighted rows and a denominator of labels."""

    def loss(a, b, labels, lam):
        pairs, others = SameLabel(labels).scaled(lam), SameLabel(labels).complement()
        return weighted_info_nce(a, b, pairs, denominator=others, normalize_rows=False, **options)

    return loss


def mixed(**options):
    return M3CoLoss(**options).from_mixed


def gated(**settings) -> Callable:
    """Return the maker of SimLAP with equal gates at each call, which batch normalization does not change."""

    def make(**options):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            objective = SimLAPLoss(classes=40, dim=DIM, **settings, **options).eval()
            objective.gate.double()
        return lambda a, b, labels, rows: _sized(objective, a)(a, b, labels, rows % 3)

    return make


def _sized(objective: SimLAPLoss, a: Tensor) -> Callable[..., Tensor]:
    if a.dim() == 2 and a.shape[1] != DIM:  # some tests draw no or one dimension
        objective.gate.dim, last = a.shape[1], objective.gate.mlp[-1]
        last.weight, last.bias = (torch.nn.Parameter(each[: a.shape[1]]) for each in (last.weight, last.bias))
    return objective.of_pairs


def remixed(**options):
    return SupReMixLoss(window=2.5, **options).of_mixtures


def queued(**options):
    """Return MoCHi with keys in its queue and without random mixtures."""
    objective = MoCHiLoss(queue=128, mixed=0, mixed_queries=0, **options)
    objective.queue.double().push(torch.linspace(-1, 1, 20 * DIM).sin().view(20, DIM))
    return objective


def enhanced(**settings) -> Callable:
    """Return the maker of BECLR with full memories, whose views are both sides, also those of the teacher."""

    def make(**options):
        loss = BECLRLoss(dim=DIM, memory=128, clusters=4, neighbours=2, **settings, **options).double()
        for number, memory in enumerate(loss.memories.values(), start=1):
            memory.push(
                torch.nn.functional.normalize(torch.linspace(-1, number, 128 * DIM).sin().view(128, DIM).double())
            )
        loss.eval()
        return lambda a, b: _of_both(loss, a, b)

    return make


def _of_both(objective: BECLRLoss, a: Tensor, b: Tensor) -> Tensor:
    check_paired(a=a, b=b)
    return objective.of_views(torch.stack([a, b]), torch.stack([b, a]), torch.stack([a, b]))


def episode(**options):
    """Return a loss of episodes with one support sample and one query of each class."""
    return lambda a, rows: SuSanaLoss(**options)(a, rows // 2, rows % 2 == 0)


def separated(**options):
    """Return SepCLR with half of the dimensions as its salient embeddings."""
    loss = SepCLRLoss(salient_weight=0.5, background_weight=0.5, joint_weight=0.5, **options)
    return lambda a, b, flags: loss([a, b], [a[..., : DIM // 2], b[..., : DIM // 2]], flags)


def of_views(kind: Callable, **settings) -> Callable:
    """Return the maker of an objective of three views: both sides, and the first again."""
    return lambda **options: lambda a, b: kind(**settings, **options)([a, b, a])


#: Cases that take an initial temperature, which gets no gradient.
INITIAL_TEMPERATURE = {"isogclr", "isogclr_bimodal"}

#: Cases whose b gets no gradient: a teacher, keys, or the features of weights.
CONSTANT_B = {"cwcl", "mochi", "nspt_literal", "nspt_proper"}

#: Cases that do not scale rows to unit length.
UNSCALED = {"reranking", "reranking_cl", "sep_clr", "susana"}

#: Cases that take a side twice, so that its gradients add up in the side's precision.
REPEATED = {"beclr", "cacr", "cacr_debiased", "groco", "mv_dhel", "mv_info_nce", "mv_info_nce_other_views"}

#: Cases whose state has a fixed dimension.
FIXED_DIM = {"beclr", "mochi"}

#: Cases with constants that depend on the features, so that finite differences differ from gradients.
CONSTANTS = {"beclr", "dclw", "reranking_cl", "supremix"}

#: Cases whose blocks hold whole rows of similarities; they have second derivatives also if blockwise.
ROW_BLOCKS = {
    "cacr",
    "cacr_debiased",
    "codiemb_similarity",
    "conr",
    "core_tuning",
    "groco",
    "hard_contrastive",
    "hard_simple",
    "reranking",
    "reranking_cl",
    "simlap",
    "simlap_after",
    "simple_contrastive",
    "supremix",
    "susana",
}

CASES = {
    "beclr": Case(enhanced(), "a b"),
    "cacr": Case(of_views(CACRLoss), "a b"),
    "cacr_debiased": Case(of_views(CACRLoss, debias=0.1, attraction_scale=2.0), "a b"),
    "clip": Case(CLIPLoss, "a b"),
    "codiemb": Case(CoDiEmbRetrievalLoss, "a b"),
    "codiemb_similarity": Case(CoDiEmbSimilarityLoss, "a b targets"),
    "conr": Case(ConRLoss, "a targets predictions"),
    "core_tuning": Case(CoreTuningLoss, "a labels"),
    "cwcl": Case(CWCLLoss, "a b"),
    "dcl": Case(DCLLoss, "a b"),
    "dclw": Case(lambda **options: DCLLoss(sigma=0.5, **options), "a b"),
    "groco": Case(of_views(GroCoLoss, negatives=3, stop_gradient=False), "a b"),
    "hard_contrastive": Case(lambda **options: HardContrastiveLoss(share=0.4, **options), "a b"),
    "isogclr": Case(lambda **options: ISogCLRLoss(samples=80, **options), "a b rows"),
    "isogclr_bimodal": Case(lambda **options: ISogCLRLoss(samples=80, bimodal=True, **options), "a b rows"),
    "kernel": Case(weighted, "a b labels lam"),
    "m3co": Case(mixed, "a b permutation lam"),
    "mm": Case(MMLoss, "a b labels is_rehearsal"),
    "mochi": Case(queued, "a b"),
    "mv_dhel": Case(of_views(MVDHELLoss), "a b"),
    "mv_info_nce": Case(of_views(MVInfoNCELoss), "a b"),
    "mv_info_nce_other_views": Case(of_views(MVInfoNCELoss, same_view=False), "a b"),
    "mw": Case(MWLoss, "a b"),
    "mw_mean": Case(lambda **options: MWLoss(reduction="mean", **options), "a b"),
    "nspt_literal": Case(NSPTLoss, "a b labels is_rehearsal"),
    "nspt_proper": Case(lambda **options: NSPTLoss(denominator="proper", **options), "a b labels is_rehearsal"),
    "nt_xent": Case(NTXentLoss, "a b"),
    "reranking": Case(RerankingLoss, "a b"),
    "reranking_cl": Case(lambda **options: RerankingLoss(weight="cl", direction="sft", **options), "a b"),
    "sep_clr": Case(separated, "a b is_rehearsal"),
    "siglip": Case(SigLIPLoss, "a b"),
    "simlap": Case(gated(), "a b labels rows"),
    "simlap_after": Case(gated(normalized="after", average="pairs"), "a b labels rows"),
    "simple_contrastive": Case(SimpleContrastiveLoss, "a b"),
    "hard_simple": Case(lambda **options: SimpleContrastiveLoss(share=0.4, **options), "a b"),
    "soft_clip": Case(SoftClipLoss, "a b"),
    "sup_con": Case(SupConLoss, "a labels"),
    "supremix": Case(remixed, "a targets lam"),
    "susana": Case(episode, "a rows"),
}


def draw(sizes: list[int], seed: int = 0, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Return a batch of parts of the given sizes; partners of mixtures are in the same part."""
    generator, count = torch.Generator().manual_seed(seed), sum(sizes)
    partners, start = [], 0
    for size in sizes:
        partners.append(start + torch.randperm(size, generator=generator))
        start += size
    return {
        "a": torch.randn(count, DIM, generator=generator, dtype=dtype).requires_grad_(),
        "b": torch.randn(count, DIM, generator=generator, dtype=dtype).requires_grad_(),
        "labels": torch.randint(0, 3, (count,), generator=generator),
        "rows": torch.arange(count),
        "is_rehearsal": torch.rand(count, generator=generator) < 0.5,
        "permutation": torch.cat(partners) if partners else torch.zeros(0, dtype=torch.long),
        "lam": torch.rand(count, generator=generator, dtype=dtype),
        "targets": torch.randint(0, 5, (count,), generator=generator).to(dtype),
        "predictions": 4 * torch.rand(count, generator=generator, dtype=dtype),
    }


def run(rank: int, batches: list[tuple[list[int], int | None, bool]], meeting: str, output: str) -> None:
    """Compute all objectives on this process's part of each batch, and save losses and gradients to a file."""
    # Imported later, both would hold the group, whose threads sometimes crash at exit.
    import torch.distributed.nn.functional
    import torch.distributed.optim

    (world_size,) = {len(sizes) for sizes, *_ in batches}
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world_size)
    dtype = torch.float64
    if "TRITON_INTERPRET" in os.environ:
        interpret(pytest.MonkeyPatch())
        dtype = torch.bfloat16
    Path(output).write_text(json.dumps([_results(rank, *batch, dtype) for batch in batches]))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def _results(
    rank: int, sizes: list[int], block_size: int | None, read: bool, dtype: torch.dtype
) -> dict[str, dict[str, object]]:
    own = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
    found = {}
    for name, case in CASES.items():
        batch = {key: value.detach()[own] for key, value in draw(sizes).items()}
        batch |= {side: batch[side].to(dtype).requires_grad_() for side in ("a", "b")}
        batch["permutation"] = batch["permutation"] - own.start
        temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        with nullcontext() if read else elsewhere():
            loss = case(batch, temperature=temperature, gather=True, block_size=block_size)
        loss.backward()
        gradients = {key: batch[key].grad for key in ("a", "b") if batch[key].grad is not None}
        found[name] = {
            "loss": loss.item(),
            "temperature": 0.0 if temperature.grad is None else temperature.grad.item(),
            **{key: value.tolist() for key, value in gradients.items()},
        }
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    given_rank, given_batches, *given_paths = sys.argv[1:]
    run(int(given_rank), json.loads(given_batches), *given_paths)
