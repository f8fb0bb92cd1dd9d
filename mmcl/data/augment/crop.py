"""Independent crops of padded sequences, with deleted steps, and the check of their range."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.batch import length_mask
from mmcl.errors import ConfigError


def check_crop(smallest: float, largest: float) -> None:
    """Check the smallest and the largest share that a crop keeps.

    Raises:
        ConfigError: they are not ``0 < smallest <= largest <= 1``.

    >>> check_crop(0.5, 1.0)
    """
    if not 0 < smallest <= largest <= 1:
        raise ConfigError(f"smallest is {smallest} and largest {largest}, expected 0 < smallest <= largest <= 1")


def independent_crop(
    sequences: Tensor, lengths: Tensor, smallest: float, largest: float, dropped: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return a random span of each sequence, without some of its steps, and the new lengths.

    The span has the share ``smallest`` to ``largest`` of the steps, uniformly, and any start. Each of its steps is then
    deleted with probability ``dropped``. A step is always kept. Two calls give two independent crops, which are
    positives of each other in Contriever (Izacard et al. 2022, arXiv 2112.09118): 0.05 to 0.5, and 0.1 deleted.

    Args:
        sequences: token ids, samples of waveforms or frames, ``(batch, steps)`` or ``(batch, steps, dim)``.
        lengths: steps of each sequence, ``(batch,)``; the rest is padding and becomes 0.
        smallest, largest: range of the share, with ``0 < smallest <= largest <= 1``.
        dropped: probability of deleting a step, at least 0 and below 1.

    Raises:
        ConfigError: a share or probability is out of range.

    >>> _ = torch.manual_seed(0)
    >>> independent_crop(torch.arange(1, 11)[None], torch.tensor([10]), 0.5, 0.5)
    (tensor([[5, 6, 7, 8, 9, 0, 0, 0, 0, 0]]), tensor([5]))
    """
    check_crop(smallest, largest)
    if not 0 <= dropped < 1:
        raise ConfigError(f"dropped is {dropped}, expected 0 or more and less than 1")
    if smallest < 1:
        sequences, lengths = _spans(sequences, lengths, smallest, largest)
    return _thinned(sequences, lengths, dropped) if dropped else (sequences, lengths)


def _spans(sequences: Tensor, lengths: Tensor, smallest: float, largest: float) -> tuple[Tensor, Tensor]:
    share = smallest + (largest - smallest) * torch.rand(len(lengths), device=lengths.device)
    kept = (share * lengths).floor().long().clamp(min=1)
    start = (torch.rand(len(lengths), device=lengths.device) * (lengths - kept + 1)).floor().long()
    places = start[:, None] + torch.arange(sequences.shape[1], device=sequences.device)
    return _taken(sequences, places.clamp(max=sequences.shape[1] - 1), kept)


def _thinned(sequences: Tensor, lengths: Tensor, dropped: float) -> tuple[Tensor, Tensor]:
    inside = length_mask(lengths, sequences.shape[1])
    drawn = torch.rand(inside.shape, device=lengths.device).masked_fill(~inside, -1)
    # The step with the highest number is kept in any case.
    kept = inside & ((drawn >= dropped) | (drawn == drawn.amax(1, keepdim=True)))
    return _taken(sequences, (~kept).byte().argsort(dim=1, stable=True), kept.sum(1))


def _taken(sequences: Tensor, places: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the steps at some places, ``(batch, steps)``, 0 beyond the lengths."""
    inside = length_mask(lengths, sequences.shape[1])
    if sequences.dim() == 3:
        places, inside = places[:, :, None].expand_as(sequences), inside[:, :, None]
    return sequences.gather(1, places) * inside, lengths
