"""Linear probe: accuracy of a linear classifier on frozen embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from mmcl.arguments import takes_tensors
from mmcl.config.whole_numbers import whole_numbers
from mmcl.errors import LabelError, ShapeError
from mmcl.objectives.kernel.inputs import check_features, precise, require_finite
from mmcl.objectives.kernel.unit import directions
from mmcl.objectives.temperature import positive

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@takes_tensors
def linear_probe(
    train: Tensor, train_labels: Sequence[int], test: Tensor, test_labels: Sequence[int], *, strength: float = 100.0
) -> float:
    """Return the accuracy of a logistic regression on unit-length embeddings.

    Args:
        train, test: embeddings ``(samples, dim)``.
        train_labels, test_labels: label of each embedding.
        strength: C of scikit-learn; higher values regularize less.

    Raises:
        ShapeError: there are no embeddings, dimensions differ, or the numbers of embeddings and labels differ.
        InputError: embeddings are not finite, or ``strength`` is not positive.
        LabelError: there are fewer than two training classes, or labels are not integers.

    >>> import torch
    >>> linear_probe(torch.eye(4), [0, 0, 1, 1], torch.eye(4), [0, 0, 1, 0])
    0.75
    """
    from sklearn.linear_model import LogisticRegression

    positive("strength", strength)
    known, told, asked, wanted = unit_sides(train, train_labels, test, test_labels)
    fitted = LogisticRegression(C=strength, max_iter=1000).fit(known, told)
    return float(fitted.score(asked, wanted))


def unit_sides(
    train: Tensor, train_labels: Sequence[int], test: Tensor, test_labels: Sequence[int]
) -> tuple[NDArray[np.floating], list[int], NDArray[np.floating], list[int]]:
    """Return unit-length embeddings as arrays, each side with its labels, after checking them.

    Raises:
        ShapeError: there are no embeddings, dimensions differ, or the numbers of embeddings and labels differ.
        InputError: embeddings are not finite.
        LabelError: there are fewer than two training classes, or labels are not integers.
    """
    check_features(train=train, test=test)
    require_finite(train=train, test=test)
    told, wanted = (
        whole_numbers(labels, name, error=LabelError)
        for name, labels in (("train_labels", train_labels), ("test_labels", test_labels))
    )
    for name, rows, labels in (("train", train, told), ("test", test, wanted)):
        if not len(rows) or len(rows) != len(labels):
            raise ShapeError(
                f"{name} has {len(rows)} embeddings and {len(labels)} labels, expected equal numbers of at least 1"
            )
    if len(set(told)) < 2:
        raise LabelError(f"train has {len(set(told))} class, expected 2 or more")
    known, asked = (directions(side.detach()).cpu().numpy() for side in precise(train, test))
    return known, told, asked, wanted
