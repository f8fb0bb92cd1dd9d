"""SuSana Distancia: losses of few-shot episodes, from prototypes and from the nearest neighbours of each sample."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.arguments import takes_tensors
from mmcl.config.numbers import Count, NonNegative
from mmcl.errors import ConfigError, InputError
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import check_features, checks_values, poisoned, precise, refuse_overflow
from mmcl.objectives.kernel.labels import flags_of, labels_of
from mmcl.objectives.kernel.pairs import SameLabel
from mmcl.objectives.kernel.row_blocks import own_columns
from mmcl.objectives.kernel.tiles import tile_size
from mmcl.objectives.memory import whole
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, temperature_of, weight_of

_CLOSE = 1e-6  # added to squared distances, as in the released code


class SuSanaLoss(Objective):
    """Classify queries of an episode by prototypes, and draw classes apart by distances.

    A prototype c_y is the mean of the support features of class y. With d(x, z) = sqrt(|x - z|^2 + 1e-6), the loss is
    the mean of the enabled terms::

        cross        = mean over queries of -log softmax_y(-|x - c_y|^2 / temperature) of the own class
        prototriplet = mean over queries of max(0, d(x, c_own) - min over other y of d(x, c_y) + margin)
        icnn         = -log icnn_score(all features)

    With ``cross`` alone, the loss is that of prototypical networks. Features are not scaled to unit length. In an
    episode of one class, all terms are 0.

    Mendez-Ruiz et al. 2023 (arXiv 2305.09062), with the terms of the authors' best recipe. Differs from the released
    code, which also has ICNN of the support set alone, and of queries against the support set; the latter leaves out a
    real neighbour of each query.

    Args:
        temperature: temperature of ``cross``, greater than 0.
        cross, prototriplet, icnn: whether the loss has these terms.
        margin: 0 or greater; 0.5 in the released code.
        neighbours: neighbours of each sample that :func:`icnn_score` rates, 1 or more.
        per_class: samples of each class in an episode, support and queries, as :func:`icnn_score` takes them; None for
            any number.
        block_size: rows whose neighbours are searched at a time; None for automatic.
        gather: the episode is distributed over the processes of ``torch.distributed``.

    Raises:
        ShapeError, LabelError, InputError, ConfigError: features, labels or flags that do not fit or are not finite; a
            query whose class has no support; no term is enabled; settings outside their range.

    >>> features = torch.tensor([[0.0], [3.0], [0.0], [3.0]])
    >>> labels, is_support = torch.tensor([0, 1, 0, 1]), torch.tensor([True, True, False, False])
    >>> loss = SuSanaLoss(prototriplet=False, icnn=False)(features, labels, is_support)
    >>> round(loss.item(), 6)  # log(1 + exp(-9))
    0.000123
    """

    takes = ("features", "labels", "is_support")

    def __init__(
        self,
        temperature: Temperature = 1.0,
        cross: bool = True,
        prototriplet: bool = True,
        icnn: bool = True,
        margin: NonNegative = 0.5,
        neighbours: Count = 4,
        per_class: Count | None = None,
        *,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)
        if not (cross or prototriplet or icnn):
            raise ConfigError("no term is enabled: set cross, prototriplet or icnn to true")
        weight_of("margin", margin)
        self.cross, self.prototriplet, self.icnn, self.margin = cross, prototriplet, icnn, margin
        self.neighbours = whole("neighbours", neighbours)
        self.per_class = None if per_class is None else whole("per_class", per_class)

    def forward(self, features: Tensor, labels: Tensor, is_support: Tensor) -> Tensor:
        """Return the loss of an episode.

        Args:
            features: features of support and queries, ``(batch, dim)``.
            labels: class of each row, ``(batch,)``.
            is_support: which rows are the support, boolean ``(batch,)``; the others are queries.
        """
        check_features(features=features)
        tile_size(features.device, self.block_size)
        temperature = temperature_of(self.temperature)
        labels = labels_of("labels", labels, len(features), features.device)
        support = flags_of("is_support", is_support, len(features), features.device)
        with torch.autocast(features.device.type, enabled=False):
            (rows,) = precise(features)
            share = 1
            if self.gather:
                processes = Processes.of(rows)
                rows, labels, support = (processes.gather(each) for each in (rows, labels, support))
                share = len(processes.sizes)
            if not len(rows):
                return 0 * rows.sum()
            queries = ~support
            squares, own, others = _to_prototypes(rows, labels, support, queries)
            terms = []
            if self.cross:
                logits = -squares / temperature
                terms.append(_cross_entropy(logits, own, others, queries))
            if self.prototriplet:
                terms.append(_prototriplet(squares, own, others, queries, self.margin))
            if self.icnn:
                score = icnn_score(
                    rows, labels, neighbours=self.neighbours, per_class=self.per_class, block_size=self.block_size
                )
                terms.append(-score.log())
            loss = sum(terms, 0 * rows.sum()) / len(terms) / share
            return refuse_overflow(loss, "features that are not normalized")


def _to_prototypes(rows: Tensor, labels: Tensor, support: Tensor, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return squared distances of rows to the prototype of each row's class, and which columns count.

    A class has one column that counts, that of its first support row.

    Returns:
        Squared distances, whether the column is of the row's own class, and whether it is of another class, all
        ``(batch, batch)``.
    """
    pairs, flags = SameLabel(labels, labels), support.to(rows.dtype)
    counts = pairs.matmul(flags[:, None])
    if checks_values(labels) and bool((queries & (counts[:, 0] == 0)).any()):
        label = labels[queries & (counts[:, 0] == 0)][0].item()
        raise InputError(f"class {label} has queries and no support: draw at least one support sample of each class")
    prototypes = pairs.matmul(rows * flags[:, None]) / counts.clamp(min=1)
    prototypes = poisoned(prototypes, ((counts[:, 0] > 0) | support).all() | ~queries.any())
    same = labels[:, None] == labels
    earlier = torch.ones_like(same).tril(-1)
    first = support & ~(same & earlier & support).any(1)
    center = rows.detach().mean(0)  # distances do not change, and their rounding errors are smaller
    rows, prototypes = rows - center, prototypes - center
    squares = rows.square().sum(1)[:, None] + prototypes.square().sum(1) - 2 * rows @ prototypes.T
    return squares.clamp(min=0), same & first, ~same & first


def _cross_entropy(logits: Tensor, own: Tensor, others: Tensor, queries: Tensor) -> Tensor:
    """Return the mean over queries of the cross-entropy; 0 without queries."""
    counted = own | others
    some = counted.any(1)
    sums = logits.masked_fill(~counted & some[:, None], -torch.inf).logsumexp(1)
    losses = torch.where(queries, sums - (logits * own).sum(1), 0)
    return losses.sum() / queries.sum().clamp(min=1)


def _prototriplet(squares: Tensor, own: Tensor, others: Tensor, queries: Tensor, margin: float) -> Tensor:
    """Return the mean over queries of the hinge of the nearest other prototype; 0 without queries."""
    distances = (squares + _CLOSE).sqrt()
    nearest = distances.masked_fill(~others, torch.inf).amin(1)
    counts = queries & others.any(1)
    hinges = (distances * own).sum(1) - torch.where(counts, nearest, 0) + margin
    return torch.where(counts, hinges.clamp(min=0), 0).sum() / queries.sum().clamp(min=1)


@takes_tensors
def icnn_score(
    features: Tensor,
    labels: Tensor,
    *,
    neighbours: int = 4,
    per_class: int | None = None,
    block_size: int | None = None,
) -> Tensor:
    """Return how far classes are apart and how close their samples are, in (0, 1]; higher is better.

    For sample i, let N_i be its nearest other samples, as many as ``per_class``, and K_i the nearest ``neighbours`` of
    these. With d_ij = sqrt(|x_i - x_j|^2 + 1e-6), and e_i the distance to the nearest sample of another class in N_i::

        r_ij     = d_ij / e_i, divided by max(1, max_j r_ij); 0 without another class in N_i
        lambda_s = 1 - mean_i of the mean of r_ij over K_i of i's class
        lambda_d = mean_i of the mean over K_i of other classes of d_ij / (largest such distance)
        gamma    = mean_i of the share of i's class in K_i
        score    = ((lambda_s + lambda_d) / 2 + gamma) / 2

    Means skip samples without such a neighbour. Without any neighbour of another class, lambda_d is 1; without any of
    the same class, lambda_s is 1 and gamma 0. gamma has no gradient, and is 1 if there are at most ``neighbours + 2``
    samples. Fewer than three samples have score 1. Mendez-Ruiz et al. 2023 (arXiv 2305.09062), as in the released code,
    where the variance term of the paper is disabled.

    Args:
        features: ``(batch, dim)``; not scaled to unit length.
        labels: class of each row, ``(batch,)``.
        neighbours: k of the paper, 1 or more; at most ``batch - 2`` are rated.
        per_class: size of N_i; None for all other samples.
        block_size: rows whose neighbours are searched at a time; None for automatic.

    Raises:
        ShapeError, LabelError, InputError: features or labels that do not fit or are not finite; an invalid number.

    >>> features = torch.tensor([[0.0], [0.1], [0.2], [9.0], [9.1], [9.2]])
    >>> mixed, apart = torch.tensor([0, 1, 0, 1, 0, 1]), torch.tensor([0, 0, 0, 1, 1, 1])
    >>> bool(icnn_score(features, apart, neighbours=2) > icnn_score(features, mixed, neighbours=2))
    True
    """
    check_features(features=features)
    labels, count = labels_of("labels", labels, len(features), features.device), len(features)
    rated = min(whole("neighbours", neighbours), count - 2)
    searched = count - 1 if per_class is None else min(max(whole("per_class", per_class), rated), count - 1)
    (rows,) = precise(features)
    if rated < 1:
        return 1 + 0 * rows.sum()
    nearest = _nearest(rows.detach(), searched, block_size)
    close = nearest[:, :rated]
    same = labels[close] == labels[:, None]
    differ = labels[nearest] != labels[:, None]
    first = nearest.gather(1, differ.int().argmax(1, keepdim=True))  # the nearest of another class, if there is one
    distances, edge = _distances(rows, close), _distances(rows, first)
    ratios = distances / edge
    ratios = torch.where(differ.any(1, keepdim=True), ratios / ratios.amax(1, keepdim=True).clamp(min=1), 0)
    within = 1 - _mean_of_means(ratios, same)
    farthest = distances.masked_fill(same, 0).amax()
    between = _mean_of_means(distances / torch.where(farthest > 0, farthest, 1), ~same)
    between = torch.where(same.all(), 1, between)
    share = same.to(rows.dtype).mean() if rated + 2 < count else 1
    return ((within + between) / 2 + share) / 2


def _nearest(rows: Tensor, count: int, block_size: int | None) -> Tensor:
    """Return the positions of each row's nearest other rows, the nearest first, ``(batch, count)``."""
    found = []
    for start in range(0, len(rows), size := tile_size(rows.device, block_size)):
        block = rows[start : start + size]
        # Exact for each pair, so that equal distances are equal in blocks of any size.
        distances = torch.cdist(block, rows, compute_mode="donot_use_mm_for_euclid_dist")
        distances = distances.scatter(1, own_columns(distances, start), torch.inf)
        found.append(distances.sort(dim=1, stable=True).indices[:, :count])
    return torch.cat(found)


def _distances(rows: Tensor, places: Tensor) -> Tensor:
    return ((rows[:, None] - rows[places]).square().sum(2) + _CLOSE).sqrt()


def _mean_of_means(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over rows of their means over a mask, of rows with at least one value."""
    counts = mask.sum(1)
    means = (values * mask).sum(1) / counts.clamp(min=1)
    return means.sum() / (counts > 0).sum().clamp(min=1)
