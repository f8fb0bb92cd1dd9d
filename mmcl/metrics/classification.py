"""How well samples are classified: accuracy, F1 in three ways, area under the ROC curve."""

from __future__ import annotations

from torch import Tensor

from mmcl.config.whole_numbers import whole_numbers
from mmcl.errors import InputError, LabelError, ShapeError


def classification_scores(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return ``accuracy``, ``f1``, ``weighted_f1``, ``macro_f1`` and ``auc`` of logits, all of them within [0, 1].

    F1 is that of class 1 where there are two classes, else the weighted one. AUC is the area under the ROC curve of
    class 1, or of more classes the mean over each against the rest; without both classes in ``labels`` it is not
    defined, and left out.

    Args:
        logits: ``(samples, classes)``; minus infinity for classes that have not arrived.
        labels: ``(samples,)``.

    Raises:
        ShapeError: no samples, or other shapes.
        LabelError: labels that are not whole numbers, or outside the classes.
        InputError: logits that are NaN or plus infinity, or a row of nothing but minus infinity.

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
        raise InputError(f"logits of row {row} are {logits[row].tolist()[:8]}, expected numbers, one finite at least")
    classes = logits.shape[1]
    low, high = (int(extreme) for extreme in labels.aminmax())
    if low < 0 or high >= classes:
        raise LabelError(f"labels go from {low} to {high}, expected 0 to {classes - 1}, the columns of the logits")
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
