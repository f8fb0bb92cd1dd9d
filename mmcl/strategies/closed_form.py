"""ClosedForm: a plugin that computes a closed-form classifier of the model's embeddings after each experience."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor, nn

from mmcl import distributed
from mmcl.data.avalanche_streams import rows_of
from mmcl.errors import ConfigError
from mmcl.models.readouts.base import ReadOut
from mmcl.strategies.loader import BatchLoader
from mmcl.strategies.process_sums import sum_over_processes

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate

OldClasses = Literal["kept", "exemplars"]
_HOLD_OUT = 5  # every fifth sample of a class is held out


class ClosedForm(SupervisedPlugin):
    """Fit a read-out on the embeddings of each experience, and classify with it in evaluation.

    The read-out becomes ``model.readout``, so it is saved and exported with the model. After an experience, the
    statistics of its samples are added to those of earlier ones. With a frozen encoder this is exact: the result is
    that of all samples at once.

    If the strategy trains the model, embeddings of old classes move. ``old_classes`` says what their statistics stand
    on:

    * ``kept``: old classes keep the statistics from the end of their experience. These stand on all their samples, but
      on embeddings that the model no longer gives.
    * ``exemplars``: all statistics are computed again with the trained model, from the samples of the experience and
      the memory that it was trained with. Old classes then stand on their exemplars. Without a memory, as in ``lwf``,
      they are kept. For ``joint``, whose memory holds all samples, the result is exact.

    With several processes, each embeds a part of the samples, and the statistics are summed.

    Args:
        readout: the classifier, such as :class:`~mmcl.models.readouts.StreamingLDA`.
        old_classes: what the statistics of old classes stand on if the model is trained.

    Attributes:
        is_applied: whether the model classifies with its read-out itself, as mmcl's classifiers do.

    Raises:
        ConfigError: the strategy trains nothing, but embeddings have weights that must be trained first.
    """

    def __init__(self, readout: ReadOut, *, old_classes: OldClasses = "kept") -> None:
        super().__init__()
        if old_classes not in ("kept", "exemplars"):
            raise ConfigError(f"old_classes is '{old_classes}', expected kept or exemplars")
        self.readout, self.is_applied = readout, False
        self.old_classes = old_classes

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Check that embeddings need no training, if there is none."""
        if strategy.train_epochs == 0:
            check_frozen(strategy.model)

    def after_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Fit the read-out."""
        rows, memory = rows_of(strategy.experience), strategy.memory_rows
        recompute = bool(memory) and self.old_classes == "exemplars"
        labels = torch.as_tensor(strategy.experience.source.labels, dtype=torch.long)
        rows = list(dict.fromkeys([*rows, *memory] if recompute else rows))  # a memory may hold new samples
        self.fit(strategy, torch.tensor(rows), labels, recompute)

    @torch.no_grad()
    def fit(self, strategy: MMCLTemplate, rows: Tensor, labels: Tensor, recompute: bool) -> None:
        """Add the statistics of samples, and solve.

        Args:
            strategy: the strategy, with the data and the model.
            rows: rows of the data set.
            labels: label of each row of the data set.
            recompute: forget earlier samples first.
        """
        model, readout = strategy.model, self.readout
        readout.grow(labels[rows].tolist())
        held_out = held_out_rows(labels[rows], readout.statistics.counts.cpu() * (not recompute))
        if recompute or not distributed.is_main():  # earlier statistics are summed once, from rank 0
            readout.reset()
        was_training = model.training
        model.eval()
        own = distributed.shard(torch.arange(len(rows)))
        loader = BatchLoader(strategy.experience.source, rows[own], batch_size=strategy.eval_mb_size, shuffle=False)
        held = held_out[own].split(strategy.eval_mb_size)
        for batch, held_of_batch in zip(loader, held, strict=True) if len(own) else ():
            batch = batch.to(strategy.device)
            readout.add(model.embed(batch), batch["label"], held_of_batch.to(strategy.device))
        model.train(was_training)
        readout.allocate(max(distributed.all_gather_object(readout.dim)))
        statistics = (buffer for part in readout.children() for buffer in part.buffers())
        sum_over_processes(statistics, "statistics")
        readout.solve()

    def kept_bytes(self) -> int:
        """Return the bytes of the statistics."""
        return sum(each.numel() * each.element_size() for part in self.readout.children() for each in part.buffers())

    def after_eval_forward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Classify with the read-out, if the model does not do so itself."""
        if not self.is_applied and len(self.readout.seen):
            strategy.mb_output = self.readout(strategy.output.embedding)


def attach_read_out(model: Any, plugins: Sequence[object]) -> None:
    """Make the read-out of a :class:`ClosedForm` among the plugins a part of the model.

    Raises:
        ConfigError: there are several.
    """
    found = [plugin for plugin in plugins if isinstance(plugin, ClosedForm)]
    if len(found) > 1:
        raise ConfigError(f"there are {len(found)} ClosedForm plugins, expected at most one: leave out the others")
    for plugin in found:
        plugin.is_applied = hasattr(model, "readout")
        model.readout = plugin.readout.to(next(model.parameters()).device)


def check_frozen(model: nn.Module) -> None:
    """Check that a model's embeddings have no weights that require a gradient.

    Raises:
        ConfigError: they have; names the setting to change.
    """
    if (part := trainable_part(model)) is not None:
        raise ConfigError(part)


def trainable_part(model: Any) -> str | None:
    """Return which part of a model's embeddings can be trained, and the setting that freezes it; None if none can.

    A model with neither an ``encoder`` nor a known classifier layer counts as frozen.
    """
    encoder, trunk = getattr(model, "encoder", None), getattr(model, "trunk", None)
    if isinstance(encoder, nn.Module):
        if any(each.requires_grad for each in encoder.parameters()):
            return (
                "the encoder is trained, but a closed-form strategy trains nothing: set encoder.frozen to true and "
                "leave out encoder.tune_from and encoder.lora, or train it, as in first_session or naive@slda"
            )
        if isinstance(trunk, nn.Module) and any(each.requires_grad for each in trunk.parameters()):
            return (
                "the model has a hidden layer, but a closed-form strategy trains nothing: pass hidden=None to "
                "SLUClassifier, or train it, as in naive@slda"
            )
    return _trainable_layers(model) if hasattr(model, "classifier") else None


def _trainable_layers(model: Any) -> str | None:
    """Return the trainable layers of a plain model before its classifier."""
    layer = None if model.classifier is None else model.model.get_submodule(model.classifier)
    head = {id(each) for each in layer.parameters()} if layer is not None else ()
    trained = [name for name, each in model.model.named_parameters() if each.requires_grad and id(each) not in head]
    if not trained:
        return None
    return (
        f"{type(model.model).__name__} has {len(trained)} trainable parameters before its classifier, first "
        f"'{trained[0]}', but a closed-form strategy trains nothing: call requires_grad_(False) on them, or train "
        "them with naive and the plugin ClosedForm"
    )


def held_out_rows(labels: Tensor, earlier: Tensor) -> Tensor:
    """Return which samples are held out: every fifth of each class, counted over the stream.

    Args:
        labels: labels of the samples in their order, ``(samples,)``.
        earlier: number of earlier samples of each class, ``(classes,)``.

    >>> held_out_rows(torch.tensor([0, 0, 1, 0]), torch.tensor([2, 4])).tolist()
    [False, False, True, True]
    """
    order = labels.argsort(stable=True)
    ordered = labels[order]
    starts = torch.searchsorted(ordered, ordered)  # first position of each label
    numbers = torch.empty_like(order)
    numbers[order] = torch.arange(len(order)) - starts
    return (numbers + earlier[labels]) % _HOLD_OUT == _HOLD_OUT - 1
