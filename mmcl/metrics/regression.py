"""Errors of a regression, also of frequent and rare targets, and a ridge regression on frozen embeddings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from mmcl.arguments import takes_tensors
from mmcl.config.numbers import Count
from mmcl.config.whole_numbers import whole_numbers
from mmcl.errors import LabelError, ShapeError
from mmcl.objectives.kernel.inputs import check_features, precise, require_finite

_STRENGTHS = [10.0**power for power in range(-3, 5)]  # of the ridge penalty


@takes_tensors
def regression_errors(
    predictions: Tensor,
    targets: Sequence[float],
    bins: Sequence[int] = (),
    train_bins: Sequence[int] = (),
    *,
    many: Count = 100,
    few: Count = 20,
) -> dict[str, float]:
    """Return the mean absolute error (MAE), also of frequent and rare targets, the root of the squared error, and R2.

    ``MAE, many-shot`` is that of test samples whose bin has more than ``many`` training samples, and ``MAE, few-shot``
    of those whose bin has fewer than ``few``; each is left out if there are none. These parts and their defaults are
    those of Yang et al. 2021 (arXiv 2102.09554, Deep Imbalanced Regression), with bins of one year.

    Args:
        predictions: predicted numbers, ``(samples,)``.
        targets: true numbers.
        bins: bin of each test sample; empty for no parts.
        train_bins: bin of each training sample.
        many: bins with more training samples are frequent.
        few: bins with fewer training samples are rare.

    Raises:
        ShapeError: there are no samples, or the numbers of predictions, targets and bins differ.
        InputError: predictions or targets are not finite.
        LabelError: targets are all equal, for which R2 is not defined.

    >>> found = regression_errors(torch.tensor([1.0, 2.0, 6.0]), [1.0, 3.0, 4.0], [0, 0, 1], [0] * 200 + [1] * 3)
    >>> {name: round(value, 3) for name, value in found.items()}
    {'MAE': 1.0, 'MAE, many-shot': 0.5, 'MAE, few-shot': 2.0, 'RMSE': 1.291, 'R2': -0.071}
    """
    wanted = torch.tensor(list(targets), dtype=torch.float64)
    if predictions.shape != wanted.shape or not len(wanted) or (len(bins) and len(bins) != len(wanted)):
        raise ShapeError(
            f"there are {tuple(predictions.shape)} predictions, {len(wanted)} targets and {len(bins)} bins, expected "
            "equal numbers of at least 1"
        )
    require_finite(predictions=predictions, targets=wanted)
    off = predictions.detach().cpu().double() - wanted
    sizes = Counter(whole_numbers(train_bins, "train_bins", error=LabelError))
    counts = torch.tensor([sizes[each] for each in whole_numbers(bins, "bins", error=LabelError)])
    errors = off.abs()
    found = {"MAE": errors.mean().item()}
    for name, chosen in (("MAE, many-shot", counts > many), ("MAE, few-shot", counts < few)):
        if bool(chosen.any()):
            found[name] = errors[chosen].mean().item()
    spread = (wanted - wanted.mean()).square().mean().item()
    if spread == 0:
        raise LabelError(f"all {len(wanted)} targets are {wanted[0].item():g}, expected targets that differ")
    found["RMSE"] = off.square().mean().sqrt().item()
    return {**found, "R2": 1 - off.square().mean().item() / spread}


@takes_tensors
def ridge_predictions(train: Tensor, targets: Sequence[float], test: Tensor) -> Tensor:
    """Return predictions of a ridge regression on standardized embeddings, ``(samples,)``.

    The penalty is one of 1e-3 to 1e4 by the leave-one-out error of the training samples.

    Args:
        train, test: embeddings ``(samples, dim)``.
        targets: number to predict of each training embedding.

    Raises:
        ShapeError: dimensions or the numbers of embeddings and targets differ, or there are fewer than two.
        InputError: embeddings or targets are not finite.

    >>> ridge_predictions(torch.arange(4.0)[:, None], [0.0, 2.0, 4.0, 6.0], torch.tensor([[5.0]])).round().tolist()
    [10.0]
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    check_features(train=train, test=test)
    known = torch.tensor(list(targets), dtype=torch.float64)
    if len(train) != len(known) or len(train) < 2:
        raise ShapeError(
            f"train has {len(train)} embeddings and {len(known)} targets, expected equal numbers, 2 or more"
        )
    require_finite(train=train, test=test, targets=known)
    told, asked = (side.detach().cpu().double().numpy() for side in precise(train, test))
    fitted = make_pipeline(StandardScaler(), RidgeCV(_STRENGTHS)).fit(told, known.numpy())
    return torch.from_numpy(fitted.predict(asked))
