"""Few-shot episodes: accuracy of the nearest class mean with a few labelled samples of each class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmcl.arguments import takes_tensors
from mmcl.config.numbers import AtLeastTwo, Count
from mmcl.config.whole_numbers import whole_numbers
from mmcl.errors import ConfigError, DataError, LabelError
from mmcl.objectives.kernel.inputs import check_features, precise, require_finite
from mmcl.objectives.kernel.transport import transport_plan
from mmcl.objectives.kernel.unit import directions


@takes_tensors
def few_shot(
    embeddings: Tensor,
    labels: Sequence[int],
    *,
    ways: AtLeastTwo = 5,
    shots: Count = 1,
    queries: Count = 15,
    episodes: Count = 600,
    transport: bool = False,
    seed: int = 0,
) -> Tensor:
    """Return the accuracy in each of many episodes, ``(episodes,)``.

    An episode draws ``ways`` classes, and ``shots`` and ``queries`` other samples of each. A query has the class of the
    nearest mean of unit-length support embeddings (prototypical networks, Snell et al. 2017, arXiv 1703.05175). With
    ``transport``, the means are first moved by :func:`aligned_prototypes`, which sees all queries of an episode at
    once.

    Args:
        embeddings: ``(samples, dim)``.
        labels: label of each embedding.
        ways: classes of an episode.
        shots: labelled samples of each class.
        queries: samples to classify of each class.
        episodes: number of episodes.
        transport: move the means by optimal transport, OpTA of BECLR.
        seed: seed of the draws.

    Raises:
        ConfigError: a number is too small.
        DataError: there are fewer than ``ways`` classes with ``shots + queries`` samples.
        ShapeError, InputError, LabelError: embeddings and labels do not match, or are not finite.

    >>> few_shot(torch.eye(4).repeat(6, 1), list(range(4)) * 6, ways=3, queries=2, episodes=5).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    if ways < 2 or min(shots, queries, episodes) < 1:
        raise ConfigError(
            f"ways is {ways}, shots {shots}, queries {queries}, episodes {episodes}: expected 2 or more ways, and 1 or "
            "more of the others"
        )
    check_features(embeddings=embeddings)
    require_finite(embeddings=embeddings)
    told = torch.tensor(whole_numbers(labels, "labels", error=LabelError))
    if len(told) != len(embeddings):
        raise LabelError(f"there are {len(told)} labels for {len(embeddings)} embeddings, expected equal numbers")
    values = directions(precise(embeddings.detach())[0])
    members = [rows for label in told.unique() if len(rows := (told == label).nonzero()[:, 0]) >= shots + queries]
    if len(members) < ways:
        raise DataError(
            f"{len(members)} classes have {shots + queries} samples or more, expected {ways}: lower ways, shots or "
            "queries"
        )
    generator = torch.Generator().manual_seed(seed)
    sizes = {"ways": ways, "shots": shots, "queries": queries}
    drawn = torch.stack([_episode(members, generator, **sizes) for _ in range(episodes)])
    parts = drawn.split(64)  # episodes that are in memory at a time
    return torch.cat([_accuracies(values[rows], shots, transport) for rows in parts])


def _episode(members: Sequence[Tensor], generator: torch.Generator, *, ways: int, shots: int, queries: int) -> Tensor:
    """Draw the rows of an episode, ``(ways, shots + queries)``."""
    chosen = [members[each] for each in torch.randperm(len(members), generator=generator)[:ways].tolist()]
    return torch.stack([own[torch.randperm(len(own), generator=generator)[: shots + queries]] for own in chosen])


def _accuracies(values: Tensor, shots: int, transport: bool) -> Tensor:
    """Return the accuracy in each episode, given embeddings ``(episodes, ways, shots + queries, dim)``."""
    means, queries = values[:, :, :shots].mean(2), values[:, :, shots:].flatten(1, 2)
    if transport:
        means = aligned_prototypes(means, queries, shots=shots)
    labels = torch.arange(values.shape[1]).repeat_interleave(values.shape[2] - shots)
    return (torch.cdist(queries, means).argmin(2) == labels).double().mean(1)


@takes_tensors
def aligned_prototypes(prototypes: Tensor, queries: Tensor, *, shots: Count = 1) -> Tensor:
    """Move prototypes into the distribution of the queries by optimal transport, OpTA of BECLR.

    ::

        plan      = transport plan of cost |c_y - q_j|^2 / max cost, with epsilon 0.05
        moved c_y = sum_j plan_yj q_j / sum_j plan_yj

    With one shot, this is done five times. With more, it is done once, and the result is 0.7 moved + 0.3 c_y. Each
    class gets an equal share of the queries, which is right if they are balanced. No label of a query is used.

    Poulakakis-Daktylidis and Jamali-Rad 2024 (ICLR, BECLR), as in the released code. Differs from it: no 1e-8 in the
    logarithm of the shares. :func:`few_shot` then takes the nearest prototype of unit-length embeddings, where the code
    fits a logistic regression to standardized ones.

    Args:
        prototypes: one for each class, ``(episodes, ways, dim)``.
        queries: ``(episodes, queries, dim)``.
        shots: samples behind each prototype.

    >>> prototypes = torch.tensor([[[0.0, 0.0], [0.2, 0.0]]])  # both near the queries of the first class
    >>> queries = torch.tensor([[[0.0, 0.1], [0.0, -0.1], [3.0, 0.1], [3.0, -0.1]]])
    >>> (aligned_prototypes(prototypes, queries) + 0.0).round()
    tensor([[[0., 0.],
             [3., 0.]]])
    """
    moved = prototypes
    for _ in range(5 if shots == 1 else 1):
        cost = (moved[:, :, None] - queries[:, None]).square().sum(3)
        largest = cost.amax((1, 2), keepdim=True).clamp(min=torch.finfo(cost.dtype).tiny)
        plan = transport_plan(cost / largest, epsilon=0.05, tolerance=1e-4)
        moved = plan @ queries / plan.sum(2, keepdim=True)
    return moved if shots == 1 else 0.7 * moved + 0.3 * prototypes
