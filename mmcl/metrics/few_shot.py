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
    seed: int = 0,
) -> Tensor:
    """Return the accuracy in each of many episodes, ``(episodes,)``.

    An episode draws ``ways`` classes, and ``shots`` and ``queries`` other samples of each. A query has the class of the
    nearest mean of unit-length support embeddings (prototypical networks, Snell et al. 2017, arXiv 1703.05175).

    Args:
        embeddings: ``(samples, dim)``.
        labels: label of each embedding.
        ways: classes of an episode.
        shots: labelled samples of each class.
        queries: samples to classify of each class.
        episodes: number of episodes.
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
    return torch.stack([_episode(values, members, generator, **sizes) for _ in range(episodes)])


def _episode(
    values: Tensor, members: Sequence[Tensor], generator: torch.Generator, *, ways: int, shots: int, queries: int
) -> Tensor:
    """Draw an episode, and return its accuracy."""
    chosen = [members[each] for each in torch.randperm(len(members), generator=generator)[:ways].tolist()]
    drawn = torch.stack([own[torch.randperm(len(own), generator=generator)[: shots + queries]] for own in chosen])
    means = values[drawn[:, :shots]].mean(1)
    nearest = torch.cdist(values[drawn[:, shots:]].flatten(0, 1), means).argmin(1)
    return (nearest == torch.arange(ways).repeat_interleave(queries)).double().mean()
