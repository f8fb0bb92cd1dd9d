"""Classification metrics: accuracy, three kinds of F1, and area under the ROC curve."""

from __future__ import annotations

from torch import Tensor

from mmcl.arguments import takes_tensors
from mmcl.config.whole_numbers import whole_numbers
from mmcl.errors import InputError, LabelError, ShapeError


@takes_tensors
def classification_scores(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return ``accuracy``, ``f1``, ``weighted_f1``, ``macro_f1`` and ``auc`` of logits, each within [0, 1].

    ``f1`` is that of class 1 for two classes, else the weighted F1. ``auc`` is the area under the ROC curve of class 1
    for two classes, else the mean of one class against the rest. It is omitted unless ``labels`` has all classes.

    Args:
        logits: ``(samples, classes)``; minus infinity for classes that have not arrived.
        labels: ``(samples,)``.

    Raises:
        ShapeError: there are no samples, or shapes do not match.
        LabelError: labels are not integers, or out of range.
        InputError: logits are NaN or plus infinity, or a row has minus infinity only.

    >>> import torch
    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 3.0]])
    >>> scores = classification_scores(logits, torch.tensor([0, 1, 1, 1]))
    >>> {name: round(value, 3) for name, value in scores.items()}
    {'accuracy': 0.75, 'f1': 0.8, 'weighted_f1': 0.767, 'macro_f1': 0.733, 'auc': 1.0}
    """
    import numpy as np
    import torch
    from sklearn.metrics import f1_score, roc_auc_score

    if logits.dim() != 2 or np.shape(labels) != logits.shape[:1] or not len(labels):
        raise ShapeError(
            f"logits have shape {tuple(logits.shape)} and labels {np.shape(labels)}, expected (samples, classes) "
            "and (samples,), one or more"
        )
    labels = torch.tensor(whole_numbers(labels, "labels", error=LabelError), dtype=torch.long, device=logits.device)
    bad = logits.isnan().any(1) | ~logits.amax(1).isfinite() if logits.shape[1] else labels != labels
    if bool(bad.any()):
        row = int(bad.nonzero()[0, 0])
        raise InputError(f"logits of row {row} are {logits[row].tolist()[:8]}, expected numbers, at least one finite")
    classes = logits.shape[1]
    low, high = (int(extreme) for extreme in labels.aminmax())
    if low < 0 or high >= classes:
        raise LabelError(f"labels range from {low} to {high}, expected 0 to {classes - 1}, the columns of the logits")
    predicted, true = logits.argmax(1).cpu().numpy(), labels.cpu().numpy()
    weighted, macro = (float(f1_score(true, predicted, average=how, zero_division=0)) for how in ("weighted", "macro"))
    binary = float(f1_score(true, predicted, zero_division=0)) if classes == 2 else weighted
    accuracy = float((predicted == true).mean())
    scores = {"accuracy": accuracy, "f1": binary, "weighted_f1": weighted, "macro_f1": macro}
    if len(set(true.tolist())) == classes > 1:
        shares = logits.double().softmax(1).cpu().numpy()
        scores["auc"] = float(
            roc_auc_score(true, shares[:, 1]) if classes == 2 else roc_auc_score(true, shares, multi_class="ovr")
        )
    return scores
