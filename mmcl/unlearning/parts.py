"""Where a model is cut: what extracts representations, and what classifies them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmcl.batch import Batch, collate
from mmcl.data.base import Dataset
from mmcl.errors import ConfigError
from mmcl.text.suggest import nearest

_USUAL = ("head", "classifier", "fc")


class Represented(NamedTuple):
    """What a model makes of a batch: ``logits`` ``(batch, classes)`` and the ``representation`` ``(batch, dim)`` that
    its classifier was given."""

    logits: Tensor
    representation: Tensor


class Parts:
    """Cut a model into an extractor and a classifier: what the classifier is given is the representation.

    Args:
        model: takes a :class:`~mmcl.batch.Batch`; gives logits ``(batch, classes)``, or an object that has them.
        classifier: name of the classifier among the model's modules, such as ``"head"``; None for one that has the
            usual name (``head``, ``classifier``, ``fc``).

    Raises:
        ConfigError: there is no such module, or (when called) it is not what reads the representation.

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
        name = classifier or next((name for name in _USUAL if name in modules), None)
        if not name or name not in modules:
            known = [each for each in modules if each]
            what = f"has no module '{name}'{nearest(name, known)}" if name else "does not tell which part classifies"
            raise ConfigError(
                f"{type(model).__name__} {what}: expected classifier to be the name of the part that is given the "
                f"representation, one of {', '.join(known[:12])}{' ...' if len(known) > 12 else ''}"
            )
        self.model, self.name, self.classifier = model, name, modules[name]

    def __call__(self, batch: Batch) -> Represented:
        given: list[Tensor] = []
        handle = self.classifier.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
        try:
            output = self.model(batch)
        finally:
            handle.remove()
        if len(given) != 1 or given[0].dim() != 2:
            found = f"was called {len(given)} times" if len(given) != 1 else f"was given {tuple(given[0].shape)}"
            raise ConfigError(
                f"classifier '{self.name}' of {type(self.model).__name__} {found}, expected once, with (batch, dim): "
                "name the part that reads the representation"
            )
        return Represented(logits_of(output), given[0])

    def extractor_parameters(self) -> list[nn.Parameter]:
        """Trainable parameters of all but the classifier."""
        inside = {id(parameter) for parameter in self.classifier.parameters()}
        return [each for each in self.model.parameters() if each.requires_grad and id(each) not in inside]

    def classifier_parameters(self) -> list[nn.Parameter]:
        """Trainable parameters of the classifier."""
        return [parameter for parameter in self.classifier.parameters() if parameter.requires_grad]

    @torch.no_grad()
    def represent(self, data: Dataset, *, device: str | torch.device = "cpu", batch_size: int = 256) -> Represented:
        """Return logits and representations of all samples, in evaluation mode, on the CPU; labels are not read."""
        was_training = self.model.training
        self.model.to(device).eval()
        inputs = Inputs(data)
        parts = [self(inputs.batch(rows).to(device)) for rows in torch.arange(len(inputs)).split(batch_size)]
        self.model.train(was_training)
        return Represented(*(torch.cat([each.cpu() for each in side]) for side in zip(*parts, strict=True)))


class Inputs:
    """Batches of a data set without its labels, which are not read; texts, which some models read, stay.

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
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, rows: Tensor) -> Batch:
        """The batch of samples ``rows``, ``(batch,)``."""
        if callable(getattr(self.data, "batch", None)):  # asking whether it is a BatchedDataset would read its labels
            batch: Batch = self.data.batch(rows)  # type: ignore[attr-defined]
        else:
            samples: Any = (self.data[row] for row in rows.tolist())
            batch = collate([{name: sample[name] for name in sample if name != "label"} for sample in samples])
        for name in ("label", "entities"):
            batch.pop(name, None)
        return batch


@torch.no_grad()
def all_logits(model: nn.Module, data: Dataset, *, device: str | torch.device = "cpu", batch_size: int = 256) -> Tensor:
    """Return the logits of all samples, ``(samples, classes)``, in evaluation mode, on the CPU; labels are not read."""
    was_training, inputs = model.training, Inputs(data)
    model.to(device).eval()
    rows = torch.arange(len(inputs)).split(batch_size)
    logits = torch.cat([logits_of(model(inputs.batch(part).to(device))).cpu() for part in rows])
    model.train(was_training)
    return logits


def logits_of(output: Any) -> Tensor:
    """Return the logits of what a model gave: the tensor itself, or its ``logits``."""
    logits: Tensor = output if isinstance(output, Tensor) else output.logits
    return logits


def reinitialized(model: nn.Module) -> nn.Module:
    """Return a copy of ``model`` whose trained parameters are drawn anew; what is frozen stays as it is.

    Raises:
        ConfigError: a module has parameters of its own, and no ``reset_parameters``.

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
                f"module '{name}' ({type(module).__name__}) has parameters and no reset_parameters(): "
                "pass fresh, a function that makes an untrained model"
            )
        reset()
    return fresh
