"""Split of a model into feature extractor and classifier, and helpers to run and reinitialize models."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmcl.batch import Batch, collate
from mmcl.data.base import Dataset
from mmcl.data.torch_dataset import as_dataset
from mmcl.errors import ConfigError
from mmcl.models.tensor_classifier import last_linear, logits_of, run_on_batch
from mmcl.text.suggest import nearest

_CLASSIFIERS = ("head", "classifier", "fc")


class PartsOutput(NamedTuple):
    """Output of a split model: ``logits`` ``(batch, classes)`` and ``representation`` ``(batch, dim)``."""

    logits: Tensor
    representation: Tensor


class Parts:
    """Split a model into feature extractor and classifier.

    The input of the classifier is the representation. Calling the object runs the model on a batch.

    Args:
        model: model that takes a :class:`~mmcl.batch.Batch` and returns logits ``(batch, classes)``, or an object with
            ``logits``.
        classifier: name of the module that classifies, such as ``"head"``; None looks for ``head``, ``classifier`` and
            ``fc``, then takes the last ``nn.Linear``.

    Attributes:
        model: the model.
        name: name of the classifier.
        classifier: module that classifies.

    Raises:
        ConfigError: there is no such module, or its input in a call is not one tensor ``(batch, dim)``.

    >>> from mmcl.encoders import build_encoder
    >>> from mmcl.models import SLUClassifier
    >>> model = SLUClassifier(build_encoder("image", "cnn", dim=16), hidden=8)
    >>> model.grow(range(3))
    >>> parts = Parts(model)
    >>> parts(Batch(image=torch.rand(2, 1, 8, 8))).representation.shape, len(parts.extractor_parameters())
    (torch.Size([2, 8]), 18)
    """

    def __init__(self, model: nn.Module, classifier: str | None = None) -> None:
        modules = dict(model.named_modules())
        name = classifier or next((name for name in _CLASSIFIERS if name in modules), last_linear(model))
        if not name or name not in modules:
            known = [each for each in modules if each]
            what = f"has no module '{name}'{nearest(name, known)}" if name else f"has none of {', '.join(_CLASSIFIERS)}"
            raise ConfigError(
                f"{type(model).__name__} {what}: set classifier to the name of the module that classifies, one of "
                f"{', '.join(known[:12])}{' ...' if len(known) > 12 else ''}"
            )
        self.model, self.name, self.classifier = model, name, modules[name]

    def __call__(self, batch: Batch) -> PartsOutput:
        seen: list[Tensor] = []
        handle = self.classifier.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        try:
            output = run_on_batch(self.model, batch)
        finally:
            handle.remove()
        if len(seen) != 1 or seen[0].dim() != 2:
            found = f"was called {len(seen)} times" if len(seen) != 1 else f"got an input {tuple(seen[0].shape)}"
            raise ConfigError(
                f"classifier '{self.name}' of {type(self.model).__name__} {found}, expected one call with an input "
                "(batch, dim): set classifier to the module after the feature extractor"
            )
        return PartsOutput(logits_of(output), seen[0])

    def extractor_parameters(self) -> list[nn.Parameter]:
        """Return the trainable parameters outside the classifier."""
        inside = {id(parameter) for parameter in self.classifier.parameters()}
        return [each for each in self.model.parameters() if each.requires_grad and id(each) not in inside]

    def classifier_parameters(self) -> list[nn.Parameter]:
        """Return the trainable parameters of the classifier."""
        return [parameter for parameter in self.classifier.parameters() if parameter.requires_grad]

    @torch.no_grad()
    def represent(self, data: Dataset, *, device: str | torch.device = "cpu", batch_size: int = 256) -> PartsOutput:
        """Return logits and representations of all samples on the CPU; in evaluation mode, without reading labels."""
        was_training = self.model.training
        self.model.to(device).eval()
        inputs = Inputs(data)
        outputs = [self(inputs.batch(rows).to(device)) for rows in torch.arange(len(inputs)).split(batch_size)]
        self.model.train(was_training)
        return PartsOutput(*(torch.cat([each.cpu() for each in tensors]) for tensors in zip(*outputs, strict=True)))


class Inputs:
    """Batches of a data set without labels; the labels are never read, and texts are kept as model inputs.

    >>> class Secret(dict):
    ...     def __getitem__(self, name): return dict.__getitem__(self, name) if name != "label" else 1 / 0
    >>> class Data:
    ...     classes, labels, texts = (), [], []
    ...     def __len__(self): return 1
    ...     def __getitem__(self, row): return Secret(image=torch.ones(1), label=3)
    >>> Inputs(Data()).batch(torch.tensor([0]))
    {'image': tensor([[1.]])}
    """

    def __init__(self, data: Dataset) -> None:
        self.data = as_dataset(data)

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, rows: Tensor) -> Batch:
        """Return the batch of samples ``rows``, ``(batch,)``."""
        if callable(getattr(self.data, "batch", None)):  # isinstance(self.data, BatchedDataset) would read the labels
            batch: Batch = self.data.batch(rows)  # type: ignore[attr-defined]
        else:
            samples: Any = (self.data[row] for row in rows.tolist())
            batch = collate([{name: sample[name] for name in sample if name != "label"} for sample in samples])
        for name in ("label", "entities"):
            batch.pop(name, None)
        return batch


@torch.no_grad()
def all_logits(model: nn.Module, data: Dataset, *, device: str | torch.device = "cpu", batch_size: int = 256) -> Tensor:
    """Return logits ``(samples, classes)`` of all samples on the CPU; in evaluation mode, without reading labels."""
    was_training, inputs = model.training, Inputs(data)
    model.to(device).eval()
    rows = torch.arange(len(inputs)).split(batch_size)
    logits = torch.cat([logits_for(model, inputs.batch(each).to(device)).cpu() for each in rows])
    model.train(was_training)
    return logits


def logits_for(model: nn.Module, batch: Batch) -> Tensor:
    """Return the logits of a model for a batch, ``(batch, classes)``; a plain model gets the batch's input."""
    return logits_of(run_on_batch(model, batch))


def reinitialized(model: nn.Module) -> nn.Module:
    """Return a copy of ``model`` with trainable parameters reinitialized; frozen parameters are kept.

    Raises:
        ConfigError: a module with trainable parameters has no ``reset_parameters``.

    >>> with torch.no_grad():
    ...     zero = nn.Sequential(nn.Linear(2, 3))
    ...     _ = zero[0].weight.zero_()
    >>> bool(reinitialized(zero)[0].weight.abs().sum() > 0), bool(zero[0].weight.abs().sum() > 0)
    (True, False)
    """
    fresh = deepcopy(model)
    for name, module in fresh.named_modules():
        if not any(parameter.requires_grad for parameter in module.parameters(recurse=False)):
            continue
        reset: Any = getattr(module, "reset_parameters", None)
        if reset is None:
            raise ConfigError(
                f"module '{name}' ({type(module).__name__}) has parameters but no reset_parameters(): "
                "pass fresh, a function that returns an untrained model"
            )
        reset()
    return fresh
