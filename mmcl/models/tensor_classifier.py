"""TensorClassifier: adapter of a plain torch classifier, which takes a tensor, to the batches of mmcl."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmcl.arguments import takes_tensors
from mmcl.batch import Batch
from mmcl.config.whole_numbers import class_labels
from mmcl.errors import ConfigError, ShapeError
from mmcl.models.readouts.base import ReadOut, active_read_out
from mmcl.text.suggest import nearest

INPUTS = ("features", "image", "audio")  #: entries of a batch that a plain model may take, in this order


class TensorOutput(NamedTuple):
    """Output of a :class:`TensorClassifier`.

    Attributes:
        logits: ``(batch, classes)``, minus infinity for classes that have not arrived.
        representation: input of the classifier layer, ``(batch, dim)``; None if there is no such layer.
        lacking: error that ``embedding`` raises if there is no representation.
    """

    logits: Tensor
    representation: Tensor | None
    lacking: str

    @property
    def embedding(self) -> Tensor:
        """Input of the classifier layer, ``(batch, dim)``.

        Raises:
            ConfigError: the layer is not known.
        """
        if self.representation is None:
            raise ConfigError(self.lacking)
        return self.representation


class TensorClassifier(nn.Module):
    """Adapt a classifier that takes a tensor, such as ``nn.Sequential``, to the strategies of mmcl.

    Strategies wrap plain models by themselves. Wrap a model yourself to name its classifier layer or its input.

    Logits of classes that have not arrived are minus infinity, as in mmcl's own models. The input of the classifier
    layer is the embedding. The audio-text space of COCONUT compares an embedding with the weights of its class in the
    classifier layer, which must then be an ``nn.Linear``.

    In evaluation, a read-out (:mod:`mmcl.models.readouts`) classifies embeddings in place of the layer, once it has
    been solved.

    Args:
        model: takes a tensor ``(batch, ...)`` and returns logits ``(batch, classes)``, or an object with ``logits``.
        classifier: name of the layer that classifies, as in ``model.named_modules()``; None for the last
            ``nn.Linear``.
        input: entry of the batch that the model takes; None for the first of ``features``, ``image`` and ``audio``.

    Attributes:
        model: as passed, trained in place.
        seen: classes that have arrived, boolean ``(classes,)``; empty before the first.
        readout: closed-form classifier of embeddings, if a strategy has set one.

    Raises:
        ConfigError: the model has no layer of that name; or a strategy needs embeddings and no layer is known.
        ShapeError: the logits are not ``(batch, classes)``.

    >>> model = TensorClassifier(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)))
    >>> output = model(Batch(features=torch.zeros(4, 64)))
    >>> output.logits.shape, output.embedding.shape, model.classifier
    (torch.Size([4, 10]), torch.Size([4, 32]), '2')
    """

    seen: Tensor
    readout: ReadOut | None

    def __init__(self, model: nn.Module, classifier: str | None = None, input: str | None = None) -> None:
        super().__init__()
        modules = dict(model.named_modules())
        if classifier is not None and classifier not in modules:
            known = [name for name in modules if name]
            raise ConfigError(
                f"{type(model).__name__} has no layer '{classifier}'{nearest(classifier, known)}: set classifier to "
                f"one of {', '.join(known[:12])}{' ...' if len(known) > 12 else ''}"
            )
        self.model, self.input, self.readout = model, input, None
        self.classifier = last_linear(model) if classifier is None else classifier
        self.register_buffer("seen", torch.empty(0, dtype=torch.bool))
        self._all_seen = True

    def grow(self, labels: Iterable[int]) -> None:
        """Mark classes as arrived; the size of the model's output does not change.

        Raises:
            LabelError: a label is negative or not an integer.
        """
        labels = class_labels(labels)
        added = max([0, *(label + 1 - len(self.seen) for label in labels)])
        self.seen = torch.cat([self.seen, self.seen.new_zeros(added)])
        self.seen[torch.tensor(labels, dtype=torch.long, device=self.seen.device)] = True
        self._all_seen = bool(self.seen.all())

    def embed(self, batch: Batch) -> Tensor:
        """Return the input of the classifier layer, ``(batch, dim)``.

        Raises:
            ConfigError: the layer is not known.
        """
        return self(batch).embedding

    @takes_tensors
    def forward(self, batch: Batch) -> TensorOutput:
        """Return logits ``(batch, classes)`` and, if the classifier layer is known, embeddings ``(batch, dim)``."""
        captured: list[Tensor] = []
        layer = None if self.classifier is None else self.model.get_submodule(self.classifier)
        handle = layer and layer.register_forward_pre_hook(lambda module, inputs: captured.append(inputs[0]))
        try:
            logits = logits_of(self.model(input_of(batch, self.input)))
        finally:
            if handle:
                handle.remove()
        if logits.dim() != 2:
            raise ShapeError(
                f"{type(self.model).__name__} returned logits {tuple(logits.shape)}, expected (batch, classes)"
            )
        found = captured[0] if len(captured) == 1 and captured[0].dim() == 2 else None
        output = TensorOutput(self._masked(logits), found, self._lacking(captured) if found is None else "")
        readout = active_read_out(self)
        return output if readout is None else output._replace(logits=readout(output.embedding))

    def project_audio(self, embedding: Tensor) -> Tensor:
        """Return the embeddings themselves, ``(batch, dim)``: one side of the audio-text space."""
        return embedding

    def project_text(self, batch: Batch) -> Tensor:
        """Return the classifier's weights of each sample's class, ``(batch, dim)``: the other side of the space.

        Raises:
            ConfigError: the classifier layer is not an ``nn.Linear``.
        """
        layer = None if self.classifier is None else self.model.get_submodule(self.classifier)
        if not isinstance(layer, nn.Linear):
            raise ConfigError(f"{self._lacking([])}; its last layer must be an nn.Linear")
        return layer.weight[batch["label"]]

    def _masked(self, logits: Tensor) -> Tensor:
        if not len(self.seen) or (self._all_seen and len(self.seen) >= logits.shape[1]):
            return logits
        unseen = torch.ones(logits.shape[1], dtype=torch.bool, device=logits.device)
        unseen[: len(self.seen)] = ~self.seen[: len(unseen)]
        return logits.masked_fill(unseen, float("-inf"))

    def _lacking(self, captured: list[Tensor]) -> str:
        name = type(self.model).__name__
        if self.classifier is None:
            found = f"{name} has no nn.Linear"
        elif len(captured) == 1:
            found = f"layer '{self.classifier}' of {name} got an input {tuple(captured[0].shape)}"
        else:
            found = f"layer '{self.classifier}' of {name} gives no embeddings"
        return (
            f"{found}, but this strategy needs embeddings (batch, dim): pass "
            "mmcl.models.TensorClassifier(model, classifier='name of the layer that classifies')"
        )

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        saved = state_dict.get(f"{prefix}seen")
        if saved is not None and saved.shape != self.seen.shape:
            self.seen = self.seen.new_empty(len(saved))
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._all_seen = bool(self.seen.all())


def as_batch_model(model: nn.Module) -> nn.Module:
    """Return a model that takes batches: the model itself, or a :class:`TensorClassifier` around it.

    >>> type(as_batch_model(nn.Linear(4, 2))).__name__
    'TensorClassifier'
    """
    return model if takes_batches(model) else TensorClassifier(model)


def takes_batches(model: nn.Module) -> bool:
    """Whether the first argument of a model's ``forward`` is a batch: its name is ``batch``, or its type ``Batch``.

    >>> takes_batches(nn.Linear(4, 2))
    False
    """
    inner = getattr(model, "_orig_mod", getattr(model, "module", None))  # of torch.compile, or of a parallel wrapper
    if isinstance(inner, nn.Module):
        return takes_batches(inner)
    parameters = list(inspect.signature(model.forward).parameters.values())
    if not parameters:
        return False
    kind = parameters[0].annotation
    annotated = kind is not inspect.Parameter.empty
    return "Batch" in str(kind).split(".")[-1] if annotated else parameters[0].name == "batch"


def run_on_batch(model: nn.Module, batch: Batch) -> object:
    """Return the output of a model for a batch; a plain model gets the batch's input as a tensor."""
    return model(batch) if takes_batches(model) else model(input_of(batch))


def input_of(batch: Batch, name: str | None = None) -> Tensor:
    """Return the tensor in a batch that a plain model takes.

    Args:
        batch: the batch.
        name: entry of the batch; None for the first of ``features``, ``image`` and ``audio``.

    Raises:
        ConfigError: the batch has no such entry.
    """
    chosen = name or next((each for each in INPUTS if each in batch), None)
    if chosen is None or not isinstance(batch.get(chosen), Tensor):
        wanted = f"'{name}'" if name else f"any of {', '.join(INPUTS)}"
        raise ConfigError(
            f"the batch has {', '.join(batch)}, but not {wanted} as a tensor: pass "
            "mmcl.models.TensorClassifier(model, input='name of the entry'), or a model that takes a Batch"
        )
    found: Tensor = batch[chosen]
    return found


def last_linear(model: nn.Module) -> str | None:
    """Return the name of the last ``nn.Linear`` of a model, the usual classifier layer; None if there is none.

    >>> last_linear(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    '2'
    """
    return next((name for name, part in reversed(list(model.named_modules())) if isinstance(part, nn.Linear)), None)


def logits_of(output: object) -> Tensor:
    """Return the logits of a model output: the output itself if it is a tensor, else its ``logits``.

    Raises:
        ConfigError: the output has no logits.
    """
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if not isinstance(logits, Tensor):
        raise ConfigError(f"the model returned a {type(output).__name__}, expected logits, or an object with logits")
    return logits
