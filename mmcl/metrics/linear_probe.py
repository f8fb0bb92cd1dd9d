"""A linear probe: what a linear classifier reads in embeddings once it is given labels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import normalize

from mmcl.errors import LabelError
from mmcl.objectives.inputs import check_features
from mmcl.whole_numbers import whole_numbers


def linear_probe(
    train: Tensor, train_labels: Sequence[int], test: Tensor, test_labels: Sequence[int], *, strength: float = 100.0
) -> float:
    """Return the accuracy of a logistic regression on unit-length embeddings.

    Args:
        train, test: embeddings ``(samples, dim)``.
        train_labels, test_labels: one for each.
        strength: C of scikit-learn's; higher is less regularized.

    Raises:
        ShapeError, InputError: no embeddings, or some that are not finite.
        LabelError: labels that are no whole numbers.

    >>> import torch
    >>> linear_probe(torch.eye(4), [0, 0, 1, 1], torch.eye(4), [0, 0, 1, 0])
    0.75
    """
    from sklearn.linear_model import LogisticRegression

    check_features(train=train)
    check_features(test=test)
    known, asked = (
        whole_numbers(labels, name, error=LabelError)
        for name, labels in (("train_labels", train_labels), ("test_labels", test_labels))
    )
    fitted = LogisticRegression(C=strength, max_iter=1000).fit(normalize(train, dim=1).numpy(), known)
    return float(fitted.score(normalize(test, dim=1).numpy(), asked))
