"""Every loss of ``mmcl.objectives`` with inputs, for tests of devices, compilers and invalid values."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

import mmcl.objectives as objectives
from mmcl.objectives import core_tuning, laf, qcrd, sep_clr
from mmcl.objectives.kernel.base import Pairs

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Loss:
    """A loss, given the entries of a batch in the order of ``takes``.

    Args:
        make: returns the callable; its keyword arguments are those of an objective's constructor.
        takes: entries of :func:`draw`.
        options: names of the keyword arguments that ``make`` allows.
        random: whether two calls differ.
    """

    make: Callable[..., Callable[..., Tensor]]
    takes: tuple[str, ...]
    options: tuple[str, ...] = field(default=("temperature", "block_size"), kw_only=True)
    random: bool = field(default=False, kw_only=True)

    def __call__(self, batch: Batch, **options: object) -> Tensor:
        return self.made(batch, **options)(*(batch[name] for name in self.takes))

    def made(self, batch: Batch, **options: object) -> Callable[..., Tensor]:
        """Return the loss on the device of a batch, with a state of its own."""
        loss = self.make(**options)
        owner = getattr(loss, "__self__", loss)
        device = batch[self.takes[0]].device
        if isinstance(owner, nn.Module) and any(
            each.device.type != device.type for each in (*owner.parameters(), *owner.buffers())
        ):
            owner.to(device)
        return loss


def draw(rows: int = 8, dim: int = 6, seed: int = 0, dtype: torch.dtype = torch.float64) -> Batch:
    """Return entries of all names that losses take."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64).to(dtype)

    labels = torch.randint(0, 3, (rows,), generator=generator)
    return {
        **{name: normal(rows, dim) for name in ("a", "b", "student", "teacher", "features", "mean", "log_variance")},
        "views": normal(3, rows, dim),
        "extra_keys": normal(rows, 2, dim),
        "logits": normal(rows, 3, 5),
        "other_logits": normal(rows, 4, 5),
        **{name: uniform(rows, 4).requires_grad_() for name in ("losses", "other_losses", "scores", "other_scores")},
        **{name: uniform(rows).requires_grad_() for name in ("errors", "other_errors")},
        "labels": labels,
        "tokens": torch.arange(rows * 3).view(rows, 3) % 5,
        "rows": torch.arange(rows),
        "is_support": ~((labels[:, None] == labels).tril(-1)).any(1),
        "is_rehearsal": torch.arange(rows) % 3 != 1,
        "is_target": torch.arange(rows) % 3 != 2,
        "mask": torch.arange(rows * 4).view(rows, 4) % 5 != 2,
        "other_mask": (torch.arange(rows * 4).view(rows, 4) % 3 != 1) & (torch.arange(rows) != 2)[:, None],
        "steps": torch.arange(rows * 3).view(rows, 3) % 3 != 1,
        "permutation": torch.randperm(rows, generator=generator),
        "lam": uniform(rows),
        "matrix": uniform(rows, rows),
        "allowed": labels[:, None] == labels,
        "counts": torch.randint(0, 3, (rows, rows), generator=generator),
        "listed": torch.randint(0, rows, (2, 3 * rows), generator=generator),
        "values": uniform(3 * rows),
        "salient": normal(2, rows, 4),
        "targets": 3 * uniform(rows),
        "predictions": (3 * uniform(rows)).requires_grad_(),
    }


# Weight matrices by name, from the entries that the tuple names.
PAIRS: dict[str, tuple[Callable[..., Pairs | Tensor], tuple[str, ...]]] = {
    "Identity": (lambda rows: objectives.Identity(len(rows)), ("rows",)),
    "Identity shifted": (lambda rows: objectives.Identity(len(rows), shift=2), ("rows",)),
    "Identity complement": (lambda rows: objectives.Identity(len(rows)).complement(), ("rows",)),
    "SameLabel": (objectives.SameLabel, ("labels",)),
    "SameLabel excluding itself": (lambda labels: objectives.SameLabel(labels, exclude_self=True), ("labels",)),
    "SameLabel complement": (lambda labels: objectives.SameLabel(labels).complement(), ("labels",)),
    "SameLabel differing": (
        lambda labels, flags: objectives.SameLabel(labels, differ=flags),
        ("labels", "is_rehearsal"),
    ),
    "SameLabel scaled": (lambda labels, lam: objectives.SameLabel(labels).scaled(lam), ("labels", "lam")),
    "Similarity": (lambda a, b: objectives.Similarity(a.detach(), b.detach()), ("a", "b")),
    "Mixed": (objectives.Mixed, ("permutation", "lam")),
    "Dense": (objectives.Dense, ("matrix",)),
    "Dense boolean": (objectives.Dense, ("allowed",)),
    "Dense integers": (objectives.Dense, ("counts",)),
    "Sparse": (lambda listed: objectives.Sparse(*listed, (listed.shape[1] // 3,) * 2), ("listed",)),
    "Sparse weighted": (
        lambda listed, values: objectives.Sparse(*listed, (listed.shape[1] // 3,) * 2, values),
        ("listed", "values"),
    ),
}

_CLASSES = {
    name: each
    for name, each in ((name, getattr(objectives, name)) for name in objectives.__all__)
    if inspect.isclass(each) and issubclass(each, objectives.Objective) and each is not objectives.Objective
}


def _kernel(function: Callable[..., Tensor], weights: Callable[..., Pairs | Tensor]) -> Callable[..., Callable]:
    """Return ``make`` of a function of the kernel, with weights made of the entries after both sides."""

    def make(**options: object) -> Callable[..., Tensor]:
        return lambda a, b, *given: function(a, b, weights(*given), **options)

    return make


def _both(a: Tensor, b: Tensor, pairs: Pairs, **options: object) -> Tensor:
    return torch.stack(objectives.two_way_info_nce(a, b, pairs, pairs, **options)).sum()


def _denominator(a: Tensor, b: Tensor, pairs: Pairs, **options: object) -> Tensor:
    return objectives.weighted_info_nce(a, b, objectives.Identity(len(a)), denominator=pairs, **options)


def _log_denominators(a: Tensor, b: Tensor, pairs: Pairs, **options: object) -> Tensor:
    sums = objectives.log_denominators(a, b, pairs, **options)
    return torch.where(sums == -torch.inf, 0, sums).sum()  # some rows have no compared keys


def _plain(function: Callable[..., Tensor], takes: str, **given: object) -> Loss:
    """Return the loss of a function without a temperature."""
    return Loss(lambda: lambda *entries: function(*entries, **given), tuple(takes.split()), options=())


def _with_temperature(function: Callable[..., Tensor], takes: str, **given: object) -> Loss:
    return Loss(
        lambda **options: lambda *entries: function(*entries, **given, **options),
        tuple(takes.split()),
        options=("temperature",),
    )


def _extra(a: Tensor, b: Tensor, extra: Tensor, coefficient: Tensor, **options: object) -> Tensor:
    pairs = objectives.Identity(len(a))
    return objectives.weighted_info_nce(a, b, pairs, extra_keys=extra, coefficient=coefficient, **options)


class _Gated(nn.Module):
    """SimLAP with gates for the dimension of the batch, equal ones at each call."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.options, self.objective = options, self._sized(6, **options)

    @staticmethod
    def _sized(dim: int, **options: object) -> objectives.SimLAPLoss:
        torch.manual_seed(0)
        return objectives.SimLAPLoss(classes=5, dim=dim, **options).eval()

    def forward(self, a: Tensor, *given: Tensor) -> Tensor:
        if a.shape[1] != self.objective.gate.dim:
            self.objective = self._sized(a.shape[1], **self.options).to(a.device)
        return self.objective.of_pairs(a, *given)


class _Predicted(nn.Module):
    """BECLR with small memories, for the dimension of the batch."""

    def __init__(self, dim: int = 6, **settings: object) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.settings, self.objective = settings, objectives.BECLRLoss(dim=dim, memory=1024, clusters=4, **settings)

    def forward(self, features: Tensor, teacher: Tensor) -> Tensor:
        if features.shape[1] != self.objective.dim:
            self.objective = _Predicted(features.shape[1], **self.settings).objective.to(features.device)
        return self.objective(features, teacher)


class _Queued(nn.Module):
    """MoCHi with keys in its queue."""

    def __init__(self, **settings: object) -> None:
        super().__init__()
        self.objective = objectives.MoCHiLoss(queue=1024, hardest=4, **settings)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        if not self.objective.queue.rows.shape[1]:
            dim = a.shape[1]
            self.objective.queue.push(torch.linspace(-1, 1, 10 * dim, device=a.device).sin().view(10, dim))
        return self.objective(a, b)


def _separated(**options: object) -> Callable[..., Tensor]:
    return lambda a, b, *given: objectives.SepCLRLoss(**options)([a, b], *given)


_QCRD = "losses other_losses scores other_scores mask other_mask"

#: Losses by name. The first word of each is the name in ``mmcl.objectives`` or the function in its module.
LOSSES: dict[str, Loss] = {
    **{name: Loss(each, each.takes, random=name in ("M3CoLoss", "SupReMixLoss")) for name, each in _CLASSES.items()},
    "BECLRLoss": Loss(partial(_Predicted, neighbours=2), ("features", "teacher")),
    "GroCoLoss of gradients": Loss(
        lambda **options: objectives.GroCoLoss(negatives=3, stop_gradient=False, **options), ("views",)
    ),
    "ISogCLRLoss": Loss(
        lambda **options: objectives.ISogCLRLoss(samples=1024, **options), ("a", "b", "rows"), options=("block_size",)
    ),
    "ISogCLRLoss of two modalities": Loss(
        lambda **options: objectives.ISogCLRLoss(samples=1024, bimodal=True, history="similarities", **options),
        ("a", "b", "rows"),
        options=("block_size",),
    ),
    "L1Loss": Loss(objectives.L1Loss, objectives.L1Loss.takes, options=("block_size",)),
    "RerankingLoss": Loss(objectives.RerankingLoss, ("scores", "other_scores")),
    "RerankingLoss of hybrids": Loss(
        lambda **options: objectives.RerankingLoss(weight="cl", direction="sft", **options), ("scores", "other_scores")
    ),
    "SimLAPLoss": Loss(
        lambda **options: objectives.SimLAPLoss(classes=5, dim=6, **options), ("a", "b", "labels"), random=True
    ),
    "SimLAPLoss of pairs": Loss(_Gated, ("a", "b", "labels", "labels")),
    "MoCHiLoss": Loss(partial(_Queued, mixed=3, mixed_queries=2), ("a", "b"), random=True),
    "MoCHiLoss without mixtures": Loss(partial(_Queued, mixed=0, mixed_queries=0), ("a", "b")),
    "SupReMixLoss of mixtures": Loss(
        lambda **options: objectives.SupReMixLoss(**options).of_mixtures, ("features", "targets", "lam")
    ),
    "SepCLRLoss": Loss(_separated, ("a", "b", "salient", "is_target")),
    "attribute_alignment": _plain(sep_clr.attribute_alignment, "features mean"),
    "mixtures_of": _plain(
        lambda *entries: core_tuning.mixtures_of(entries[0], entries[1], 5, *entries[2:]).features.square().sum(),
        "features labels permutation lam lam",
    ),
    "CACRLoss with a queue": Loss(lambda **options: objectives.CACRLoss(queue=1024, **options), ("views",)),
    "ConRLoss as released": Loss(
        lambda **options: objectives.ConRLoss(as_released=True, **options), objectives.ConRLoss.takes
    ),
    "DCLLoss weighted": Loss(lambda **options: objectives.DCLLoss(sigma=0.5, **options), ("a", "b")),
    "M3CoLoss from mixed": Loss(
        lambda **options: objectives.M3CoLoss(**options).from_mixed, ("a", "b", "permutation", "lam")
    ),
    "SimpleContrastiveLoss of the hardest": Loss(
        lambda **options: objectives.SimpleContrastiveLoss(share=0.4, **options), ("a", "b")
    ),
    "CoDiEmbRetrievalLoss with hard negatives": Loss(
        objectives.CoDiEmbRetrievalLoss, ("a", "extra_keys", "extra_keys")
    ),
    "MWLoss with hard negatives": Loss(objectives.MWLoss, ("a", "b", "extra_keys")),
    "MMLoss of anchors": Loss(objectives.MMLoss, ("a", "b", "labels", "is_rehearsal")),
    "NSPTLoss proper": Loss(
        lambda **options: objectives.NSPTLoss(denominator="proper", **options), objectives.NSPTLoss.takes
    ),
    "feature_distillation": _plain(objectives.feature_distillation, "student teacher"),
    "feature_distillation of directions": _plain(objectives.feature_distillation, "student teacher", normalize=True),
    "logit_distillation": _with_temperature(objectives.logit_distillation, "student teacher"),
    "relational_distillation": _plain(objectives.relational_distillation, "student teacher"),
    "length_normalized_dpo": _plain(objectives.length_normalized_dpo, "errors other_errors targets predictions"),
    "mean_log_probabilities": _plain(
        lambda *entries: objectives.mean_log_probabilities(*entries).sum(), "logits tokens steps"
    ),
    "vae_loss": _plain(laf.vae_loss, "a b mean log_variance"),
    "squared_errors": _plain(lambda a, b: laf.saturating(laf.squared_errors(a, b)).sum(), "a b"),
    "extractor_unlearning": _plain(laf.extractor_unlearning, "errors other_errors"),
    "extractor_unlearning without phi": _plain(laf.extractor_unlearning, "errors other_errors", phi=False),
    "representation_alignment": _with_temperature(laf.representation_alignment, "a b student teacher"),
    **{
        f"quality_contrast {scheme}": _plain(qcrd.quality_contrast, _QCRD, scheme=scheme)
        for scheme in ("min_max", "max_min", "mean", "weighted_mean")
    },
    "quality_contrast sampling": Loss(
        lambda: lambda *entries: qcrd.quality_contrast(*entries, scheme="sampling"),
        tuple(_QCRD.split()),
        options=(),
        random=True,
    ),
    "discriminator_loss": _plain(qcrd.discriminator_loss, "scores other_scores mask other_mask"),
    "mutual_information_loss": _plain(qcrd.mutual_information_loss, "logits other_logits steps"),
    "weighted_info_nce with extra keys": Loss(
        lambda **options: lambda *entries: _extra(*entries, **options), ("a", "b", "extra_keys", "lam")
    ),
    **{
        f"{function.__name__.strip('_')} of {name}": Loss(_kernel(function, weights), ("a", "b", *takes))
        for name, (weights, takes) in PAIRS.items()
        for function in (objectives.weighted_info_nce, _both, _denominator, _log_denominators)
    },
}


def value_and_gradients(
    loss: Loss, batch: Batch, compiled: Callable[..., Tensor] | None = None, **options: object
) -> list[Tensor]:
    """Return a loss, and its gradient for each entry that has one."""
    given = [batch[name] for name in loss.takes]
    value = compiled(*given) if compiled is not None else loss.made(batch, **options)(*given)
    sides = [each for each in given if each.requires_grad]
    found = torch.autograd.grad(value, sides, allow_unused=True)
    return [value, *(gradient for gradient in found if gradient is not None)]
