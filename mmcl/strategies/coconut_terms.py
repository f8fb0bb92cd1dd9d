"""The contrastive terms of COCONUT for small batches: all of them from one matrix of similarities.

In a small batch, the objectives cost more in calls of small operations than in products. One matrix saves most calls.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmcl.batch import moved
from mmcl.objectives.kernel.inputs import precise
from mmcl.objectives.kernel.unit import unit

_LARGEST = {"cpu": 64}  # samples of a small batch, where one matrix is as fast as separate products
_LARGEST_ELSEWHERE = 512


def is_small(embeddings: Tensor) -> bool:
    """Whether :func:`joint_terms` is the faster way for a batch of embeddings, ``(batch, dim)``."""
    return len(embeddings) <= _LARGEST.get(embeddings.device.type, _LARGEST_ELSEWHERE)


def joint_terms(
    audio: Tensor,
    text: Tensor,
    labels: Tensor,
    anchors: Sequence[int],
    rehearsed: Sequence[int] = (),
    teacher: Tensor | None = None,
    *,
    temperature: float,
    proper: bool = False,
) -> Tensor:
    """Return MM, and with a teacher NSPT of audio and NSPT of text, ``(1,)`` or ``(3,)``.

    The values are those of :class:`~mmcl.objectives.MMLoss` and :class:`~mmcl.objectives.NSPTLoss`, up to rounding.

    Args:
        audio: ``(batch, dim)``.
        text: ``(batch, dim)``.
        labels: integers, ``(batch,)``.
        anchors: positions of the anchors of MM, which may be none.
        rehearsed: positions of the samples from the memory, at least one if there is a teacher.
        teacher: the teacher's audio and text of the samples from the memory, ``(2, rehearsed, dim)``.
        temperature: temperature of all terms.
        proper: denominator of NSPT: ``"proper"`` instead of ``"literal"``.

    >>> eye, labels = torch.eye(2), torch.tensor([0, 1])
    >>> joint_terms(eye, eye, labels, [0, 1], temperature=1.0)  # 2 (log(e + 1) - 1)
    tensor([0.6265])
    """
    count, device, of_mm = len(audio), audio.device, len(anchors)
    past = [] if teacher is None else list(rehearsed)
    of_past = len(past)
    keys = unit(torch.cat(precise(audio, text, *([] if teacher is None else teacher))))
    # Groups of keys: 0 audio, 1 text, 2 and 3 the teacher's. A row has one group of positives, and one to compare with.
    groups = [0] * count + [1] * count + [2] * of_past + [3] * of_past
    samples = [*range(count), *range(count), *past, *past]
    rows = [start + place for places in (anchors, past) for start in (0, count) for place in places]
    positive = [1] * of_mm + [0] * of_mm + [2] * of_past + [3] * of_past
    compared = [1] * of_mm + [0] * of_mm + [0] * of_past + [1] * of_past
    group, sample = moved(torch.tensor([groups, samples]), device)
    row, positive_group, compared_group = moved(torch.tensor([rows, positive, compared]), device)

    key_labels = labels[sample]
    same = key_labels[row, None] == key_labels
    is_positive = same & (positive_group[:, None] == group)
    is_compared = compared_group[:, None] == group
    if proper:
        is_compared[2 * of_mm :] = ((is_compared & ~same) | is_positive)[2 * of_mm :]
    similarities = keys[row] @ keys.T / temperature
    weights = is_positive / is_positive.sum(1, keepdim=True)
    sums = similarities.masked_fill(~is_compared, -torch.inf).logsumexp(1)
    return _means(of_mm, of_past).to(keys) @ (sums - (weights * similarities).sum(1))


def _means(of_mm: int, of_past: int) -> Tensor:
    """Return the matrix that takes the mean of each term over its rows, ``(terms, rows)``."""
    shares = [1 / of_mm] * (2 * of_mm) if of_mm else []
    means = [shares + [0.0] * (2 * of_past)]
    if of_past:
        share, zero = [1 / of_past] * of_past, [0.0] * of_past
        means += [[0.0] * (2 * of_mm) + share + zero, [0.0] * (2 * of_mm) + zero + share]
    return torch.tensor(means)
