"""Measures of a representation: nearest neighbours, probes, few-shot episodes, regression and geometry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mmcl.batch import Batch
from mmcl.config.numbers import AtLeastTwo, Count
from mmcl.data.attributes import attributes_of
from mmcl.errors import LabelError
from mmcl.metrics.few_shot import few_shot
from mmcl.metrics.linear_probe import linear_probe
from mmcl.metrics.nearest_neighbours import nearest_neighbours
from mmcl.metrics.regression import regression_errors, ridge_predictions
from mmcl.metrics.representation import alignment, effective_rank, tolerance, uniformity
from mmcl.models.factor_probes import factor_probes
from mmcl.models.predicting_tower import PredictingTower
from mmcl.models.two_tower import PooledFeatures, TwoTower, embed_rows
from mmcl.objectives.isogclr import ISogCLRLoss
from mmcl.objectives.susana import icnn_score
from mmcl.seeding import seeded


def representation_measures(
    model: TwoTower,
    train: Any,
    test: Any,
    *,
    neighbours: Count = 20,
    shots: tuple[int, ...] = (1, 5),
    ways: AtLeastTwo = 5,
    queries: Count = 15,
    episodes: Count = 600,
    transport: bool = False,
    many: Count = 100,
    few: Count = 20,
    augment: Callable[[Batch], Batch] | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, float]:
    """Measure the representation of a trained model on test data.

    The encoder's features, before the projection head, have accuracies of a vote of nearest neighbours, of a linear
    probe and of few-shot episodes, and an effective rank. Measures with ``head`` in their name, uniformity, alignment
    and tolerance are those of the head's output. Alignment is that of two random views of each sample. Samples with
    ``factors`` also have probes of these, see :func:`~mmcl.models.factor_probes.factor_probes`.

    Test samples of classes that the training data lacks are held out: if there are any, episodes are drawn from them,
    and ``ICNN``, of two classes or more, is their :func:`~mmcl.objectives.susana.icnn_score`. All other measures are
    those of the other classes.

    If the training data has targets, the errors of a regression take the place of accuracies, in the unit of the
    targets: of a ridge regression on the encoder's features and, as ``MAE, head`` and so on, of the model's regressor
    if it has one.

    Args:
        model: trained model; its first tower is measured.
        train: samples to train probes on.
        test: samples to measure on.
        neighbours: training samples that vote for a class.
        shots: labelled samples of each class in few-shot episodes; empty for no episodes.
        ways: classes of an episode; at most those that there are.
        queries: samples to classify of each class of an episode.
        episodes: number of few-shot episodes.
        transport: also measure few-shot episodes with prototypes aligned by optimal transport (OpTA).
        many: targets are frequent if their bin has more training samples.
        few: targets are rare if their bin has fewer training samples.
        augment: function from a batch to a random view of it; None for no alignment.
        seed: seed of the episodes and of the views. Random generators keep their state.
        device: device that samples are embedded on.

    Returns:
        Each measure by name.

    Raises:
        DataError: a class has too few samples for ``shots + queries``.
        LabelError: there are fewer than two training classes, or test targets are all equal.
    """
    if attributes_of(train).targets is not None:
        return _regression_measures(model, train, test, many=many, few=few, augment=augment, seed=seed, device=device)
    settings = {"ways": ways, "queries": queries, "episodes": episodes, "seed": seed}
    return _class_measures(model, train, test, neighbours, shots, transport, augment, device, **settings)


def _class_measures(
    model: TwoTower,
    train: Any,
    test: Any,
    neighbours: int,
    shots: tuple[int, ...],
    transport: bool,
    augment: Callable[[Batch], Batch] | None,
    device: str,
    **settings: int,
) -> dict[str, float]:
    embed = partial(embed_rows, device=device)
    features, told = PooledFeatures(model.first.encoder), list(train.labels)
    labels, known = torch.tensor(list(test.labels)), torch.tensor(sorted(set(told)))
    is_known = torch.isin(labels, known)
    every, seen = embed(features, test), labels[is_known].tolist()
    projected = embed(model.first, test)[is_known]
    sides = {"": (embed(features, train), every[is_known]), ", head": (embed(model.first, train), projected)}
    found = _accuracies(sides, told, seen, neighbours)
    asked = is_known if bool(is_known.all()) else ~is_known
    found |= _episodes(every[asked], labels[asked], shots, transport=transport, **settings)
    if not is_known.all() and len(labels[asked].unique()) > 1:
        found["ICNN"] = icnn_score(every[asked], labels[asked]).item()
    found["uniformity"] = uniformity(projected).item()
    found |= _alignment(model, test, augment, settings["seed"], device, rows=is_known.nonzero().flatten())
    found["tolerance"] = tolerance(projected, labels[is_known], same_label_only=True).item()
    found["effective rank"] = effective_rank(every[is_known]).item()
    return found | factor_probes(model, train, test, device=device)


def _regression_measures(
    model: TwoTower,
    train: Any,
    test: Any,
    *,
    many: int,
    few: int,
    augment: Callable[[Batch], Batch] | None,
    seed: int,
    device: str,
) -> dict[str, float]:
    features = PooledFeatures(model.first.encoder)
    known, asked = (embed_rows(features, data, device=device) for data in (train, test))
    errors = partial(
        regression_errors, targets=test.targets, bins=test.labels, train_bins=train.labels, many=many, few=few
    )
    found = errors(ridge_predictions(known, train.targets, asked))
    if model.first.regressor is not None:
        predictions = embed_rows(PredictingTower(model.first), test, device=device)[:, -1]
        found |= {f"{name}, head": value for name, value in errors(predictions).items()}
    found["uniformity"] = uniformity(embed_rows(model.first, test, device=device)).item()
    found |= _alignment(model, test, augment, seed, device)
    found["effective rank"] = effective_rank(asked).item()
    return found


def _alignment(
    model: TwoTower,
    test: Any,
    augment: Callable[[Batch], Batch] | None,
    seed: int,
    device: str,
    rows: Tensor | None = None,
) -> dict[str, float]:
    """Return the alignment of two views of each sample; nothing without an augmentation."""
    if augment is None:
        return {}
    with seeded(seed):
        one, other = (embed_rows(model.first, test, rows, augment=augment, device=device) for _ in range(2))
    return {"alignment": alignment(one, other).item()}


def _accuracies(
    sides: dict[str, tuple[Tensor, Tensor]], told: list[int], seen: list[int], neighbours: int
) -> dict[str, float]:
    """Return accuracies of training and test embeddings, by the name of a side."""
    found = {}
    for name, (own, other) in sides.items():
        found[f"nearest neighbours{name}"] = nearest_neighbours(own, told, other, seen, neighbours=neighbours)
        found[f"linear probe{name}"] = linear_probe(own, told, other, seen)
    return found


def _episodes(
    embeddings: Tensor, labels: Tensor, shots: tuple[int, ...], *, ways: int, transport: bool, **settings: int
) -> dict[str, float]:
    """Return the mean accuracy of episodes for each number of shots, and with ``transport`` that of OpTA as well."""
    ways, found = min(ways, len(labels.unique())), {}
    for aligned in (False, True)[: 1 + transport]:
        for number in shots:
            name = f"{number} shot{'s' * (number > 1)}, {ways} ways{', OpTA' * aligned}"
            accuracies = few_shot(embeddings, labels.tolist(), ways=ways, shots=number, transport=aligned, **settings)
            found[name] = accuracies.mean().item()
    return found


def class_temperatures(objective: Any, labels: Sequence[int]) -> dict[str, float]:
    """Return the mean temperature of the samples of the most frequent class and of the rarest one.

    The result is empty for objectives that do not learn a temperature of each sample, as
    :class:`~mmcl.objectives.ISogCLRLoss` does.

    Args:
        objective: a trained objective.
        labels: class of each training sample.

    Raises:
        LabelError: there are no labels, or more than samples of the objective.

    >>> class_temperatures(ISogCLRLoss(temperature=0.5, samples=8), [0, 0, 1])
    {'temperature, most frequent class': 0.5, 'temperature, rarest class': 0.5}
    """
    if not isinstance(objective, ISogCLRLoss):
        return {}
    temperatures = objective.sample_temperatures()
    if not 0 < len(labels) <= len(temperatures):
        raise LabelError(f"there are {len(labels)} labels, expected 1 to {len(temperatures)}, the samples of iSogCLR")
    told = torch.tensor(list(labels), device=temperatures.device)
    ordered = [label for label, _ in Counter(labels).most_common()]
    means = [temperatures[: len(told)][told == label].mean().item() for label in (ordered[0], ordered[-1])]
    return dict(zip(("temperature, most frequent class", "temperature, rarest class"), means, strict=True))
