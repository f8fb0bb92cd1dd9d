"""Zero-shot classification: assign samples to the nearest class, given text embeddings of class names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmcl.arguments import takes_tensors
from mmcl.config.whole_numbers import whole_numbers
from mmcl.errors import ConfigError, InputError, LabelError, ShapeError
from mmcl.objectives.kernel.unit import directions
from mmcl.text.words import tidy, visible


class ZeroShot(NamedTuple):
    """Results of zero-shot classification: ``top1`` and ``top5`` accuracy, accuracy per class (None without samples),
    and the confusion matrix with true classes as rows."""

    top1: float
    top5: float
    per_class: list[float | None]
    confusion: list[list[int]]


def prompts(classes: Sequence[str], templates: Sequence[str] = ("{}",)) -> dict[str, list[str]]:
    """Return the prompts of each class: its name, with underscores as spaces, in each template.

    Args:
        classes: class names.
        templates: sentences with one ``{}`` each.

    Raises:
        ConfigError: there are no templates, a template has no single ``{}``, or two classes have the same name.

    >>> prompts(["lights_on", "latte"], ["{}", "the word is {}"])["lights_on"]
    ['lights on', 'the word is lights on']
    """
    if not templates:
        raise ConfigError("there are 0 templates, expected at least one such as 'the word is {}'")
    for template in templates:
        if template.count("{}") != 1 or template.replace("{}", "").count("{") + template.replace("{}", "").count("}"):
            raise ConfigError(f"template {template!r} has no single {{}}, expected one such as 'the word is {{}}'")
    called = {name: tidy(name.replace("_", " ")) for name in classes}
    check_prompts({name: [words] for name, words in called.items()})
    if len(called) < len(classes):
        twice = next(name for number, name in enumerate(classes) if name in classes[:number])
        raise ConfigError(f"class '{twice}' is named twice, expected each class once")
    return {name: [template.format(words) for template in templates] for name, words in called.items()}


def check_prompts(of_class: Mapping[str, Sequence[str]], classes: Sequence[str] | None = None) -> None:
    """Check that prompts distinguish classes and, if ``classes`` is given, that they cover exactly these.

    Raises:
        ConfigError: a class has no prompt or an empty one, two classes share a prompt, or a class is unknown or
            missing.
    """
    owner: dict[str, str] = {}
    for name, texts in of_class.items():
        if not texts or not all(visible(text) for text in texts):
            raise ConfigError(f"class '{name}' has no prompt, or an empty one: expected words")
        for text in texts:
            if owner.setdefault(visible(text), name) != name:
                other = owner[visible(text)]
                raise ConfigError(f"prompt {text!r} is of '{other}' and of '{name}': expected one class each")
    if classes is None:
        return
    from mmcl.text.suggest import nearest

    if unknown := [name for name in of_class if name not in classes]:
        raise ConfigError(f"prompts name an unknown class '{unknown[0]}'{nearest(unknown[0], classes)}")
    if missing := [name for name in classes if name not in of_class]:
        raise ConfigError(f"class '{missing[0]}' has no prompts: expected some for each of {len(classes)} classes")


@takes_tensors
def class_embeddings(embeddings: Tensor, counts: Sequence[int]) -> Tensor:
    """Return a unit vector per class, ``(classes, dim)``: the normalized mean of its normalized prompt embeddings.

    Radford et al. 2021 (CLIP), section 3.1.4: ensembling over prompts in embedding space.

    Args:
        embeddings: embeddings of prompts, ``(prompts, dim)``, grouped by class.
        counts: number of prompts of each class.

    >>> class_embeddings(torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]]), [1, 2]).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    counts = whole_numbers(counts, "counts", error=ShapeError)
    if embeddings.dim() != 2 or sum(counts) != len(embeddings) or not counts or min(counts) < 1:
        raise ShapeError(
            f"embeddings have shape {tuple(embeddings.shape)}, expected {sum(counts)} rows, at least 1 per class"
        )
    parts = directions(embeddings).split(list(counts))
    return directions(torch.stack([part.mean(0) for part in parts]))


@takes_tensors
def zero_shot_scores(samples: Tensor, classes: Tensor, *, hubness: int | None = None) -> Tensor:
    """Return the cosine similarity of each sample and class, ``(samples, classes)``.

    ``hubness`` corrects for classes that are close to all samples (cross-domain similarity local scaling, Conneau et
    al. 2018, arXiv 1710.04087, equation 3)::

        2 cos(x, c) - mean cosine of c with its k nearest samples - mean cosine of x with its k nearest classes

    The correction uses all samples at once, without labels. It is transductive and must be reported separately.

    Args:
        samples: ``(samples, dim)``.
        classes: ``(classes, dim)``.
        hubness: k, or None for the plain cosine.

    >>> zero_shot_scores(torch.tensor([[3.0, 4.0]]), torch.eye(2))
    tensor([[0.6000, 0.8000]])
    """
    if samples.dim() != 2 or classes.dim() != 2 or samples.shape[1] != classes.shape[1]:
        raise ShapeError(
            f"samples have shape {tuple(samples.shape)} and classes {tuple(classes.shape)}, expected equal dimensions"
        )
    if not (samples.isfinite().all() and classes.isfinite().all()):
        raise InputError("embeddings are not finite, expected numbers: check the model that computed them")
    cosines = directions(samples) @ directions(classes).T
    if hubness is None:
        return cosines
    if hubness < 1:
        raise ConfigError(f"hubness is {hubness}, expected 1 or more neighbours")
    of_class, of_sample = (cosines.topk(min(hubness, cosines.shape[dim]), dim=dim).values for dim in (0, 1))
    return 2 * cosines - of_class.mean(0, keepdim=True) - of_sample.mean(1, keepdim=True)


@takes_tensors
def zero_shot(scores: Tensor, labels: Tensor) -> ZeroShot:
    """Return the accuracy and confusion matrix of the highest-scoring classes.

    Args:
        scores: ``(samples, classes)``.
        labels: ``(samples,)``.

    Raises:
        ShapeError: shapes do not match, or there are no samples.
        LabelError: a label is out of range.

    >>> result = zero_shot(torch.tensor([[0.9, 0.1], [0.8, 0.2]]), torch.tensor([0, 1]))
    >>> result.top1, result.per_class, result.confusion
    (0.5, [1.0, 0.0], [[1, 0], [1, 0]])
    """
    if scores.dim() != 2 or np.shape(labels) != scores.shape[:1] or not len(labels):
        raise ShapeError(
            f"scores have shape {tuple(scores.shape)} and labels {np.shape(labels)}, expected (samples, "
            "classes) and (samples,), and at least one sample"
        )
    labels = torch.tensor(whole_numbers(labels, "labels", error=LabelError), dtype=torch.long, device=scores.device)
    count = scores.shape[1]
    if not 0 <= int(labels.min()) <= int(labels.max()) < count:
        raise LabelError(f"labels range from {int(labels.min())} to {int(labels.max())}, expected 0 to {count - 1}")
    first = scores.topk(min(5, count), dim=1).indices
    confusion = torch.bincount(labels * count + first[:, 0], minlength=count * count).view(count, count)
    right, sizes = confusion.diagonal(), confusion.sum(1)
    return ZeroShot(
        top1=float(right.sum() / len(labels)),
        top5=float((first == labels[:, None]).any(1).double().mean()),
        per_class=[float(r / size) if size else None for r, size in zip(right, sizes, strict=True)],
        confusion=confusion.tolist(),
    )
