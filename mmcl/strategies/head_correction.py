"""Plugins that correct the head's bias towards new classes after an experience (WA, BiC)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mmcl.config.numbers import NonNegative, Probability
from mmcl.data.avalanche_streams import rows_of
from mmcl.errors import ConfigError
from mmcl.models.heads.growing import GrowingHead
from mmcl.models.tensor_classifier import TensorClassifier
from mmcl.strategies.dark_experience import head_logits
from mmcl.strategies.rehearsal import memory_of

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class WeightAlignment(SupervisedPlugin):
    """Scale the head's weights of new classes to the mean norm of those of old ones, after each experience (WA).

    ``w_new <- gamma w_new`` with ``gamma = mean ||w_old|| / mean ||w_new||``. The bias of the head is unchanged. Zhao
    et al. 2020, arXiv 1911.07053.

    Args:
        clip_weights: set negative weights of the head to 0 after each step, which the paper proposes so that norms say
            more about logits.

    Raises:
        ConfigError: the model's classifier is not a linear layer; raised when training begins.
    """

    def __init__(self, *, clip_weights: bool = False) -> None:
        super().__init__()
        self.clip_weights = clip_weights

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Check that the model has a linear classifier."""
        linear_head(strategy.model)

    @torch.no_grad()
    def after_update(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Clip the weights."""
        if self.clip_weights:
            linear_head(strategy.model).weight.clamp_(min=0)

    @torch.no_grad()
    def after_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Align the weights."""
        old, new = old_and_new(strategy)
        if old and new:
            weight = linear_head(strategy.model).weight
            norms = weight.norm(dim=1)
            weight[new] *= norms[old].mean() / norms[new].mean()


class BiasCorrection(SupervisedPlugin):
    """Scale and shift the logits of new classes by two numbers, fitted on samples held out from training (BiC).

    ``q_k = a o_k + b`` for new classes k, and ``q_k = o_k`` for old ones, where a and b minimize the cross-entropy of
    the held-out samples. These are equally many of each class, old ones from the memory. This is the bias
    correction layer of Wu et al. 2019, arXiv 1905.13260.

    Differs from the paper: a and b become part of the head's weights, so that the teacher, exported models and later
    experiences have them. A penalty on ``(a - 1)^2 + b^2`` keeps them finite if held-out samples are separable.

    Args:
        held_out: share of the memory's samples of a class that are held out, at least one sample.
        penalty: weight of the penalty.

    Attributes:
        rows: rows held out in this experience.
        scale, shift: last fitted a and b.

    Raises:
        ConfigError: the strategy has no memory, a class has less than two samples, or the model's classifier is not a
            linear layer; raised when training begins.
    """

    def __init__(self, held_out: Probability = 0.1, penalty: NonNegative = 0.01) -> None:
        super().__init__()
        if not 0 < held_out < 1 or penalty < 0:
            raise ConfigError(
                f"held_out is {held_out}, penalty {penalty}: expected held_out between 0 and 1, penalty >= 0"
            )
        self.held_out, self.penalty = held_out, penalty
        self.rows: list[int] = []
        self.scale, self.shift = 1.0, 0.0

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Check that there are a memory and a linear classifier."""
        memory_of(strategy)
        linear_head(strategy.model)

    def after_train_dataset_adaptation(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Leave the held-out samples out of the training data; they depend on the experience's number only."""
        old, new = old_and_new(strategy)
        memory, labels = memory_of(strategy).memory, strategy.experience.source.labels
        rows: dict[int, list[int]] = {label: memory[label] for label in old if label in memory}
        self.rows = []
        if not rows:
            return
        rows |= {label: [] for label in new}
        for row in rows_of(strategy.experience):
            if labels[row] in new:
                rows[labels[row]].append(row)
        rows = {label: own for label, own in rows.items() if own}
        fewest = min(rows, key=lambda label: len(rows[label]))
        if len(rows[fewest]) < 2:
            advice = "set memory_size higher" if list(labels).count(fewest) > 1 else "add samples, or leave bic out"
            raise ConfigError(
                f"class '{strategy.experience.source.classes[fewest]}' has 1 sample, but bic needs 2, one to train on "
                f"and one to hold out: {advice}"
            )
        each = max(1, int(self.held_out * len(rows[fewest])))
        generator = torch.Generator().manual_seed(strategy.experience.current_experience)
        for own in rows.values():
            order = torch.randperm(len(own), generator=generator)[:each]
            self.rows += [own[place] for place in order.tolist()]
        strategy.left_out |= set(self.rows)
        strategy.memory_rows = [row for row in strategy.memory_rows if row not in set(self.rows)]

    def after_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Fit the correction, and apply it to the head."""
        old, new = old_and_new(strategy)
        if not self.rows or not new:
            return
        labels = torch.tensor([strategy.experience.source.labels[row] for row in self.rows])
        logits = head_logits(strategy, strategy.experience.source, self.rows).cpu()
        self.scale, self.shift = fit_correction(logits, labels, old, new, self.penalty)
        layer = linear_head(strategy.model)
        with torch.no_grad():
            layer.weight[new] *= self.scale
            layer.bias[new] = layer.bias[new] * self.scale + self.shift


def fit_correction(
    logits: Tensor, labels: Tensor, old: list[int], new: list[int], penalty: float
) -> tuple[float, float]:
    """Return the scale and shift of new classes' logits that minimize the penalized cross-entropy.

    Args:
        logits: ``(samples, classes)``.
        labels: ``(samples,)``.
        old: labels of old classes.
        new: labels of new classes.
        penalty: weight of ``(scale - 1)^2 + shift^2``.

    >>> logits, labels = torch.tensor([[0.0, 4.0], [0.0, 4.0]]), torch.tensor([0, 1])
    >>> scale, shift = fit_correction(logits, labels, [0], [1], penalty=0.0)
    >>> round(4 * scale + shift, 4)  # the two classes are equally likely
    0.0
    """
    labels = torch.searchsorted(torch.tensor(sorted([*old, *new])), labels)
    logits = logits[:, sorted([*old, *new])].double()
    is_new = torch.tensor([label in set(new) for label in sorted([*old, *new])])
    start = torch.tensor([1.0, 0.0], dtype=torch.double)
    found = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([found], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        corrected = torch.where(is_new, found[0] * logits + found[1], logits)
        loss = cross_entropy(corrected, labels) + penalty * (found - start).square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    scale, shift = found.tolist()
    return scale, shift


def old_and_new(strategy: MMCLTemplate) -> tuple[list[int], list[int]]:
    """Return the labels of earlier experiences, and those that arrived with this one."""
    old = {int(label) for label in strategy.experience.previous_classes}
    return sorted(old), sorted({int(label) for label in strategy.experience.group} - old)


def linear_head(model: nn.Module) -> GrowingHead | nn.Linear:
    """Return the layer of a model that classifies, with ``weight`` ``(classes, dim)`` and ``bias`` ``(classes,)``.

    Raises:
        ConfigError: there is no such layer.
    """
    head: Any = getattr(model, "head", None)
    inner: Any = getattr(model, "_orig_mod", model)  # of torch.compile
    if isinstance(inner, TensorClassifier):
        head = None if inner.classifier is None else inner.model.get_submodule(inner.classifier)
    if not isinstance(head, GrowingHead | nn.Linear) or head.bias is None:
        name = type(getattr(inner, "model", inner)).__name__
        raise ConfigError(
            f"{name} has no linear classifier with a bias: expected an SLUClassifier, or pass "
            "mmcl.models.TensorClassifier(model, classifier='name of the nn.Linear that classifies')"
        )
    return head
