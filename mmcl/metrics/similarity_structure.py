"""Similarity structure across modalities compared with that within one modality."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmcl.arguments import takes_tensors
from mmcl.objectives.kernel.inputs import check_paired, require_finite
from mmcl.objectives.kernel.unit import directions

_LOW, _HIGH, _BINS = -0.35, 1.0, 45  # histogram; cosines of sentence embeddings are rarely lower


@takes_tensors
def similarity_structure(first: Tensor, second: Tensor) -> dict[str, Any]:
    """Compare ``cos(first_i, second_j)`` with ``cos(second_i, second_j)`` over all i != j.

    Contrastive learning with hard targets lowers the former for all pairs alike. CWCL should make them follow the
    latter, which shows as correlation.

    Args:
        first: embeddings of the trained side, ``(batch, dim)``.
        second: paired embeddings of the locked side, ``(batch, dim)``.

    Returns:
        ``correlation``: Pearson's, 0 if one side is constant. ``counts``: histogram with rows by the cosine within and
        columns by the cosine across, with bin ``edges``. ``means``: mean cosine across for bins of the cosine within
        that have at least 20 pairs, with bin ``centres``.

    Raises:
        ShapeError, InputError: sides are not paired, or not finite.

    >>> vectors = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    >>> round(similarity_structure(vectors, vectors)["correlation"], 4)
    1.0
    """
    check_paired(first=first, second=second)
    require_finite(first=first, second=second)
    one, other = directions(first.double()), directions(second.double())
    differ = ~torch.eye(len(one), dtype=torch.bool, device=one.device)
    across, within = (one @ other.T)[differ], (other @ other.T)[differ]
    edges = torch.linspace(_LOW, _HIGH, _BINS + 1, dtype=torch.double, device=one.device)
    cells = [
        (values.clamp(_LOW, _HIGH - 1e-9) - _LOW).div((_HIGH - _LOW) / _BINS).long() for values in (within, across)
    ]
    counts = torch.bincount(cells[0] * _BINS + cells[1], minlength=_BINS**2).view(_BINS, _BINS)
    sums = across.new_zeros(_BINS).index_add_(0, cells[0], across)
    enough = counts.sum(1) >= 20
    deviations = [values - values.mean() for values in (within, across)]
    # Cosines are of order 1: smaller deviations than this are rounding errors.
    vary = all(float(each.norm()) > 1e-14 * max(len(each), 1) ** 0.5 for each in deviations)
    spread = float(deviations[0].norm() * deviations[1].norm())
    return {
        "correlation": float(deviations[0] @ deviations[1]) / spread if vary else 0.0,
        "edges": [round(edge, 4) for edge in edges.tolist()],
        "counts": counts.tolist(),
        "centres": [round(centre, 4) for centre in ((edges[1:] + edges[:-1]) / 2)[enough].tolist()],
        "means": [round(mean, 4) for mean in (sums / counts.sum(1).clamp(min=1))[enough].tolist()],
    }
