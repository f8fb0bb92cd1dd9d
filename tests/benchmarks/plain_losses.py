"""Losses of the papers in plain torch with a matrix of all pairs, as peers where no library has the objective."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from losses import LABELS, TEMPERATURE, Loss, keys_before, numbers_of
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, softplus


def plain(name: str) -> Loss:
    """Return a loss as a function of two sides and labels."""
    return _STATEFUL[name]() if name in _STATEFUL else _LOSSES[name]


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


def _cacr(a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
    costs = 2 - 2 * _cosines(a, b)
    weights = (-costs / TEMPERATURE).masked_fill(_itself(a), -torch.inf).softmax(1)
    return costs.diagonal().mean() - (weights * costs).sum(1).mean()


def groco(a: Tensor, b: Tensor, permutation: Callable[[Tensor], Tensor]) -> Tensor:
    """GroCo with the permutation matrices of a sorting network, ``(batch, values, ranks)``."""
    views = [normalize(each, dim=1) for each in (a, b)]
    total = torch.zeros(())
    for view, other in (views, views[::-1]):
        sims = (view @ view.detach().T / TEMPERATURE).masked_fill(_itself(a), -torch.inf)
        hardest = sims.topk(10, dim=1).values.flip(1)
        positive = (view * other.detach()).sum(1, keepdim=True) / TEMPERATURE
        places = permutation(torch.cat([hardest, positive], 1))
        shares = places[:, :, :10].sum(2)  # of each value, among the ranks of negatives
        right = torch.cat([shares[:, :10], 1 - shares[:, 10:]], 1).clamp(min=torch.finfo(shares.dtype).tiny)
        total = total - right.log().sum(1).mean() / right.shape[1]
    return total / 2


def _permutation(values: Tensor) -> Tensor:
    """Return the relaxed permutation matrices of an odd-even network, ``(batch, values, ranks)``."""
    count = values.shape[1]
    whole = torch.eye(count).expand(len(values), count, count)
    for layer in range(count):
        first = torch.arange(layer % 2, count - 1, 2)
        alpha = (values[:, first + 1] - values[:, first]).atan() / math.pi + 0.5
        step = torch.eye(count).repeat(len(values), 1, 1)
        step[:, first, first] = step[:, first + 1, first + 1] = alpha
        step[:, first, first + 1] = step[:, first + 1, first] = 1 - alpha
        values = (values[:, None] @ step)[:, 0]
        whole = whole @ step
    return whole


def _supremix(a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
    """SupReMix by a loop over anchors, which selects the keys of each anchor's mixed positives."""
    targets, rows = labels.float(), normalize(a, dim=1)
    lam = torch.distributions.Beta(2.0, 8.0).sample((len(a),))
    losses = []
    for anchor, target, share in zip(range(len(a)), targets, lam, strict=True):
        fixed, apart = rows.detach() @ rows[anchor] / TEMPERATURE, target - targets
        others = torch.arange(len(a)) != anchor
        real = (rows @ rows[anchor] / TEMPERATURE)[others]
        mixed = (share * fixed[anchor] + (1 - share) * fixed)[apart != 0]
        below, above = (apart > 0) & (apart < 5), (apart < 0) & (apart > -5)
        part = -apart[above] / (apart[below][:, None] - apart[above])
        between = (part * fixed[below][:, None] + (1 - part) * fixed[above]).flatten()
        weighed = [real + apart[others].abs().log1p(), mixed + ((1 - share) * apart[apart != 0]).abs().log1p(), between]
        positives = torch.cat([real[apart[others] == 0], between])
        if len(positives):
            losses.append(torch.cat(weighed).logsumexp(0) - positives.mean())
    return torch.stack(losses).mean()


def _susana(a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
    """SuSana Distancia of an episode with one support sample for each query, whose classes are those of `losses`."""
    places = torch.arange(len(a))
    classes, support = places // 2 % LABELS, places % 2 == 0
    prototypes = torch.stack([a[support & (classes == each)].mean(0) for each in range(int(classes.max()) + 1)])
    queries, own = a[~support], classes[~support]
    squares = (queries[:, None] - prototypes).square().sum(2)
    distances = (squares + 1e-6).sqrt()
    nearest = distances.scatter(1, own[:, None], torch.inf).amin(1)
    triplet = (distances.gather(1, own[:, None])[:, 0] - nearest + 0.5).clamp(min=0).mean()
    return (cross_entropy(-squares, own) + triplet - _icnn(a, classes).log()) / 3


def _icnn(rows: Tensor, classes: Tensor) -> Tensor:
    apart = torch.cdist(rows.detach(), rows.detach(), compute_mode="donot_use_mm_for_euclid_dist")
    order = apart.fill_diagonal_(torch.inf).sort(dim=1, stable=True).indices[:, :-1]
    close, differ = order[:, :4], classes[order] != classes[:, None]
    first = order.gather(1, differ.int().argmax(1, keepdim=True))
    distances, edge = (((rows[:, None] - rows[each]).square().sum(2) + 1e-6).sqrt() for each in (close, first))
    same = classes[close] == classes[:, None]
    ratios = distances / edge
    ratios = ratios / ratios.amax(1, keepdim=True).clamp(min=1)
    within = torch.stack([row[mask].mean() for row, mask in zip(ratios, same, strict=True) if mask.any()]).mean()
    distances = distances / distances[~same].max()
    between = torch.stack([row[~mask].mean() for row, mask in zip(distances, same, strict=True) if not mask.all()])
    return ((1 - within + between.mean()) / 2 + same.float().mean()) / 2


def _simlap() -> Loss:
    from mmcl.objectives.simlap import ClassPairGate

    gate = ClassPairGate(LABELS, 256)

    def loss(a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
        pairs = labels[torch.randperm(len(labels))]
        sims = gate(labels, pairs).square() * normalize(a, dim=1) @ normalize(b, dim=1).T / TEMPERATURE
        paired = pairs[:, None] == labels
        negatives = sims.masked_fill(paired | (labels[:, None] == labels), -torch.inf).logsumexp(1, keepdim=True)
        losses = torch.logaddexp(negatives - sims, torch.zeros_like(sims)) * paired
        return (losses.sum(1) / paired.sum(1)).mean()

    return loss


def _isogclr() -> Loss:
    temperatures, averages, momenta = torch.full((65536,), 0.1), torch.zeros(65536), torch.zeros(65536)

    def loss(a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
        count, rows = len(a), normalize(torch.cat([a, b]), dim=1)
        sample = torch.arange(count).repeat(2)
        tau = temperatures[:count].repeat(2)
        logits = (rows @ rows.T - (rows[:count] * rows[count:]).sum(1).repeat(2)[:, None]) / tau[:, None]
        terms = logits.exp() * (sample[:, None] != sample)
        means = terms.sum(1) / (2 * count - 2)
        with torch.no_grad():
            old = averages[:count].repeat(2)
            average = torch.where(old == 0, means, 0.1 * old + 0.9 * means)
            slope = average.log() + 0.3 - (terms * logits).sum(1) / (2 * count - 2) / average
            momenta[:count] = 0.1 * momenta[:count] + 0.9 * slope.view(2, -1).mean(0)
            temperatures[:count] = (temperatures[:count] - 0.01 * momenta[:count]).clamp(0.05, 0.7)
            averages[:count] = average.view(2, -1).mean(0)
            value = tau * (average.log() + 0.3)
        surrogate = tau * means / average
        return (value + surrogate - surrogate.detach()).mean()

    return loss


def _mochi() -> Loss:
    held, place = keys_before(), 0

    def loss(a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
        nonlocal held, place
        queue = held
        rows, keys = normalize(a, dim=1), normalize(b.detach(), dim=1)
        sims = rows @ queue.T
        hardest = sims.topk(1024, dim=1).indices
        chosen = hardest.gather(1, (torch.rand(len(a), 2176) * 1024).long().clamp(max=1023))
        first, second, alone = (queue[part] for part in chosen.split([1024, 1024, 128], 1))
        shares = torch.rand(len(a), 1152)[:, :, None]
        pairs, own = shares[:, :1024], shares[:, 1024:] / 2
        mixed = [pairs * first + (1 - pairs) * second, own * rows.detach()[:, None] + (1 - own) * alone]
        mixed_sims = torch.einsum("bd,bmd->bm", rows, normalize(torch.cat(mixed, 1), dim=2))
        logits = torch.cat([(rows * keys).sum(1, keepdim=True), sims, mixed_sims], 1) / TEMPERATURE
        places = (place + torch.arange(len(a))) % len(queue)
        held, place = queue.index_copy(0, places, keys), (place + len(a)) % len(queue)
        return cross_entropy(logits, torch.zeros(len(a), dtype=torch.long))

    return loss


_LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "simple_contrastive": _simple_contrastive,
    "hard_contrastive": _hard_contrastive,
    "mw": _mw,
    "mv_info_nce": _mv_info_nce,
    "mv_dhel": _mv_dhel,
    "core_tuning": _core_tuning,
    "conr": _conr,
    "sep_clr": _sep_clr,
    "cacr": _cacr,
    "groco": lambda a, b, labels: groco(a, b, _permutation),
    "supremix": _supremix,
    "susana": _susana,
}
_STATEFUL: dict[str, Callable[[], Loss]] = {"simlap": _simlap, "isogclr": _isogclr, "mochi": _mochi}
