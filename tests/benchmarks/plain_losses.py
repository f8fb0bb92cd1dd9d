"""Losses of the papers in plain torch with a matrix of all pairs, as peers where no library has the objective."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from losses import TEMPERATURE, Loss, numbers_of
from torch import Tensor
from torch.nn.functional import normalize, softplus


def plain(name: str) -> Loss:
    """Return a loss as a function of two sides and labels."""
    return _LOSSES[name]


def _cosines(a: Tensor, b: Tensor) -> Tensor:
    return normalize(a, dim=1) @ normalize(b, dim=1).T


def _itself(rows: Tensor) -> Tensor:
    return torch.eye(len(rows), dtype=torch.bool, device=rows.device)


def _simple_contrastive(a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
    sims = _cosines(a, b) / TEMPERATURE
    negatives = sims.masked_fill(_itself(a), 0).sum(1) / (len(a) - 1)
    return (negatives - sims.diagonal()).mean()


def _hard_contrastive(a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
    sims = _cosines(a, b) / TEMPERATURE
    negatives = sims.masked_fill(_itself(a), -torch.inf)
    hardest = negatives.topk(max(1, math.ceil(0.0819 * (len(a) - 1))), dim=1).values
    return (torch.cat([sims.diagonal()[:, None], hardest], 1).logsumexp(1) - sims.diagonal()).mean()


def _mw(a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
    sims = _cosines(a, b) / TEMPERATURE
    negatives = sims.masked_fill(_itself(a), -torch.inf).flatten()
    return softplus(negatives - sims.diagonal()[:, None]).sum() / len(a)


def _mv_info_nce(a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
    views = torch.cat([a, b])
    sums = (_cosines(views, views) / TEMPERATURE).masked_fill(_itself(views), -torch.inf).logsumexp(1)
    positives = (normalize(a, dim=1) * normalize(b, dim=1)).sum(1) / TEMPERATURE
    return (torch.logaddexp(sums[: len(a)], sums[len(a) :]) - positives).mean() - torch.log(torch.tensor(2.0))


def _mv_dhel(a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
    positives = (normalize(a, dim=1) * normalize(b, dim=1)).sum(1) / TEMPERATURE
    sums = [(_cosines(each, each) / TEMPERATURE).masked_fill(_itself(each), -torch.inf).logsumexp(1) for each in (a, b)]
    return (sums[0] + sums[1] - positives).mean()


def _core_tuning(a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
    same = (labels[:, None] == labels) & ~_itself(a)
    logs = (_cosines(a, a) / TEMPERATURE).masked_fill(_itself(a), -torch.inf).log_softmax(1)
    terms = -((1 - logs.exp()) * logs.masked_fill(~same, 0) * same).sum(1)
    counts = same.sum(1)
    return (terms / counts.clamp(min=1)).sum() / (counts > 0).sum()


def _conr(a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
    targets, predictions = numbers_of(labels)
    apart, itself = (targets[:, None] - targets).abs(), _itself(a)
    positives = (apart <= 1) & ~itself
    negatives = (apart > 1) & ((predictions[:, None] - predictions).abs() <= 1)
    sims = _cosines(a, a) / TEMPERATURE
    pushed = (sims + 0.01 * apart).masked_fill(~negatives, -torch.inf)
    sums = torch.cat([sims.masked_fill(~positives, -torch.inf), pushed], 1).logsumexp(1)
    counted = positives.any(1) & negatives.any(1)
    logs = ((sums[:, None] - sims) * positives).sum(1) / positives.sum(1).clamp(min=1)
    return logs.where(counted, 0).mean()


def _sep_clr(a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
    """SepCLR with the sides as views of the common encoder, and their first half as salient embeddings."""
    target = labels % 2 == 0
    common = [normalize(each, dim=1) for each in (a, b)]
    salient = [each[:, : each.shape[1] // 2] for each in (a, b)]
    masked = [each * target[:, None] for each in salient]

    def kernel(rows: Tensor) -> Tensor:
        return -(rows[:, None] - rows).square().sum(2) if len(rows) < 64 else -torch.cdist(rows, rows).square()

    def uniformity(rows: Tensor) -> Tensor:
        apart = -torch.pdist(rows).square()
        return apart.logsumexp(0) - torch.log(torch.tensor(float(len(apart))))

    def alignment(one: Tensor, other: Tensor) -> Tensor:
        return (one - other).square().sum(1).mean()

    loss = alignment(*common) + sum(map(uniformity, common))
    loss = loss + 1000 * (alignment(masked[0][target], masked[1][target]) + sum(map(uniformity, masked)))
    loss = loss + 1000 * sum(each[~target].square().sum(1).mean() for each in salient) / 2
    log_count = torch.log(torch.tensor(float(len(a))))
    joints = [(kernel(c) + kernel(s)).logsumexp(1).mean() - log_count for c, s in zip(common, masked, strict=True)]
    return loss + 10 * sum(joints) / 2


_LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "simple_contrastive": _simple_contrastive,
    "hard_contrastive": _hard_contrastive,
    "mw": _mw,
    "mv_info_nce": _mv_info_nce,
    "mv_dhel": _mv_dhel,
    "core_tuning": _core_tuning,
    "conr": _conr,
    "sep_clr": _sep_clr,
}
