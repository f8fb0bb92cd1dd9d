"""Zero-shot classification: classes are named in words, samples are nearest to one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmcl.config.whole_numbers import whole_numbers
from mmcl.errors import ConfigError, InputError, LabelError, ShapeError
from mmcl.objectives.kernel.unit import directions
from mmcl.text.words import tidy, visible


class ZeroShot(NamedTuple):
    """How well samples are classified: ``top1`` and ``top5`` accuracy, accuracy by class (None of a class without
    samples), and the confusion matrix, rows are true classes."""

    top1: float
    top5: float
    per_class: list[float | None]
    confusion: list[list[int]]


def prompts(classes: Sequence[str], templates: Sequence[str] = ("{}",)) -> dict[str, list[str]]:
    """Return what each class is called: its name, with underscores as spaces, in each template.

    Args:
        classes: names.
        templates: sentences with one ``{}`` each.

    Raises:
        ConfigError: no template, one without ``{}``, or two classes that are called the same.

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
    """Refuse prompts by which classes cannot be told apart, or, where ``classes`` are given, that are not of these.

    Raises:
        ConfigError: a class without prompt, an empty one, one prompt of two classes, an unknown or a missing class.
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


def class_embeddings(embeddings: Tensor, counts: Sequence[int]) -> Tensor:
    """Return one unit vector for each class, ``(classes, dim)``: the mean of the unit vectors of its prompts.

    Radford et al. 2021 (CLIP), section 3.1.4: ensembling over prompts in embedding space.

    Args:
        embeddings: of the prompts, ``(prompts, dim)``, class by class.
        counts: how many prompts each class has.

    >>> class_embeddings(torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]]), [1, 2]).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    counts = whole_numbers(counts, "counts", error=ShapeError)
    if embeddings.dim() != 2 or sum(counts) != len(embeddings) or not counts or min(counts) < 1:
        raise ShapeError(
            f"embeddings have shape {tuple(embeddings.shape)}, expected {sum(counts)} rows, and 1 or more a class"
        )
    parts = directions(embeddings).split(list(counts))
    return directions(torch.stack([part.mean(0) for part in parts]))


def zero_shot_scores(samples: Tensor, classes: Tensor, *, hubness: int | None = None) -> Tensor:
    """Return how near each sample is to each class, ``(samples, classes)``: the cosine.

    With ``hubness`` it is corrected for classes that are near to everything (cross-domain similarity local scaling,
    Conneau et al. 2018, arXiv 1710.04087, equation 3)::

        2 cos(x, c) - mean of the cosines of c with its k nearest samples - the same of x with its k nearest classes

    Which needs all samples at once, without their labels: it is transductive, and to be reported apart.

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
        raise InputError("embeddings are not finite, expected numbers: check what made them")
    cosines = directions(samples) @ directions(classes).T
    if hubness is None:
        return cosines
    if hubness < 1:
        raise ConfigError(f"hubness is {hubness}, expected 1 or more neighbours")
    of_class, of_sample = (cosines.topk(min(hubness, cosines.shape[dim]), dim=dim).values for dim in (0, 1))
    return 2 * cosines - of_class.mean(0, keepdim=True) - of_sample.mean(1, keepdim=True)


def zero_shot(scores: Tensor, labels: Tensor) -> ZeroShot:
    """Return how often the nearest class is the right one.

    Args:
        scores: ``(samples, classes)``.
        labels: ``(samples,)``.

    Raises:
        ShapeError: sides that do not fit together, or no sample.
        LabelError: a label that is no class.

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
        raise LabelError(f"labels are {int(labels.min())} to {int(labels.max())}, expected 0 to {count - 1}")
    first = scores.topk(min(5, count), dim=1).indices
    confusion = torch.bincount(labels * count + first[:, 0], minlength=count * count).view(count, count)
    right, sizes = confusion.diagonal(), confusion.sum(1)
    return ZeroShot(
        top1=float(right.sum() / len(labels)),
        top5=float((first == labels[:, None]).any(1).double().mean()),
        per_class=[float(r / size) if size else None for r, size in zip(right, sizes, strict=True)],
        confusion=confusion.tolist(),
    )
