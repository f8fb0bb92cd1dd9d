"""Merging of models that were tuned from the same weights, each parameter by how far it moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmcl.errors import InputError, ShapeError


def deviation_weighted_merge(start: Mapping[str, Tensor], tuned: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return merged weights, in which each parameter follows the models that moved it most.

    With p_0 a parameter before tuning and p_m in model m, for each number on its own::

        d_m = |p_m - p_0|
        p   = p_0 + sum_m w_m (p_m - p_0)      w_m = d_m / sum_m d_m, equal where nothing moved

    Each model keeps what only it learned, where an average would divide it by the number of models. Models that moved a
    parameter in opposite directions still cancel.

    A reading of CoDiEmb's fusion by deviation from the pretrained weights, whose formula was not found. Entries that
    are not floating point, such as counters, are those of ``start``.

    Args:
        start: ``state_dict`` before tuning.
        tuned: ``state_dict`` of each tuned model, with the same names and shapes.

    Raises:
        InputError: no tuned model, another set of names, or a number that is not finite.
        ShapeError: a parameter of another shape.

    >>> start, one, other = ({"w": torch.tensor(values)} for values in ([0.0, 0.0], [3.0, 1.0], [0.0, 1.0]))
    >>> deviation_weighted_merge(start, [one, other])["w"]  # 3 / 3 * 3, and 1 / 2 + 1 / 2
    tensor([3., 1.])
    """
    if not tuned:
        raise InputError("there are 0 tuned models to merge, expected 1 or more")
    for number, weights in enumerate(tuned):
        if different := start.keys() ^ weights.keys():
            raise InputError(f"tuned model {number} and start differ in '{min(different)}', expected the same names")
        for name, each in weights.items():
            if each.shape != start[name].shape:
                shapes = f"{tuple(each.shape)} in tuned model {number} and {tuple(start[name].shape)} in start"
                raise ShapeError(f"'{name}' has shape {shapes}, expected equal shapes")
    return {name: _merged(name, each, [weights[name] for weights in tuned]) for name, each in start.items()}


@torch.no_grad()
def _merged(name: str, start: Tensor, tuned: Sequence[Tensor]) -> Tensor:
    if not start.is_floating_point():
        return start.clone()
    base = start.double()
    moves = torch.stack([each.to(base) - base for each in tuned])
    if not bool(moves.isfinite().all()):
        raise InputError(f"'{name}' is not finite in start or a tuned model; check how it was trained")
    sizes = moves.abs()
    total = sizes.sum(0)
    merged = base + (sizes / torch.where(total > 0, total, 1) * moves).sum(0)
    return merged.to(start)
