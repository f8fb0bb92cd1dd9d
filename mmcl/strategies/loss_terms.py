"""LossTerms: the loss of a step of the class-incremental loop, as a weighted sum of named terms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from mmcl import distributed
from mmcl.batch import Batch
from mmcl.data.selection import sample_ids
from mmcl.errors import LabelError
from mmcl.strategies.loader import BatchLoader
from mmcl.strategies.resuming import Resumable
from mmcl.training import loss_sums
from mmcl.training.finite import Named, samples


class LossTerms(Resumable):
    """The part of :class:`~mmcl.strategies.template.MMCLTemplate` that computes and minimizes the loss.

    A step does not wait for a GPU. What it must know of the batch, such as which samples are from the memory, it reads
    from the loader, which is on the CPU.
    """

    # Set by MMCLTemplate.
    mbatch: Batch
    loss: Tensor
    output: Any
    dataloader: BatchLoader
    _head_checked: bool

    def _where(self) -> str:
        step = self.clock.train_epoch_iterations + 1
        return f"experience {self.number}, epoch {self.epoch + 1}, step {step}"

    def _samples(self) -> Iterable[Named]:
        """The batch, to search for a value that is not finite; on a GPU a generator that reads its rows again.

        There, the loss is checked some steps later, when the batch is no longer in memory.
        """
        if loss_sums.waits(self.device):
            return samples(self.experience.source, self.mbatch["rows"])
        return [(self.mbatch, self._sample_id)]

    def _sample_id(self, row: int) -> str:
        return sample_ids(self.experience.source, [int(self.mbatch["rows"][row])])[0]

    def add_loss(
        self,
        name: str,
        value: Tensor,
        weight: float = 1.0,
        *,
        count: int | Tensor | None = None,
        gathered: bool = False,
    ) -> None:
        """Add ``weight * value`` to the loss of this step; ``losses[name]`` is the mean of ``value`` over the epoch.

        With several processes, every process must add the term in the same step.

        Args:
            name: name of the loss term.
            value: loss term, a scalar.
            weight: weight of the term.
            count: number of items that ``value`` is the mean of in this process, which may be 0; None for the samples
                of the batch. With several processes, the term is the mean over the items of all of them.
            gathered: ``value`` is already this process's share of the sum, as from an objective with ``gather=True``.
        """
        value = value if gathered else self._shared(value, count)
        self.loss = self.loss + weight * value
        self.training_step.note(name, value)

    @property
    def rehearses(self) -> bool:
        """Whether the current batch has rehearsal samples, in this process or another."""
        return self.dataloader.rehearses

    @property
    def rehearsed(self) -> list[int]:
        """Positions of the rehearsal samples in the current batch; reading them does not wait for a GPU."""
        return self.dataloader.rehearsed

    def _shared(self, mean: Tensor, count: int | Tensor | None = None) -> Tensor:
        """Multiply a mean by this process's share of the items of all processes; samples if ``count`` is None."""
        if distributed.world_size() == 1 or not self.is_training:
            return mean
        if count is None:
            return mean * (len(self.mb_y) / len(self.dataloader.global_is_rehearsal))
        return mean * (int(count) / max(distributed.all_reduce_sum(int(count)), 1))

    def criterion(self) -> Tensor:
        """Return the cross-entropy of the current batch.

        It is computed over tokens if the output has ``targets``, otherwise over labels. In evaluation, samples of
        classes that have not arrived yet are left out.
        """
        logits, labels = self.mb_output, self.mb_y
        count: Tensor | None = None
        targets = getattr(self.output, "targets", None)
        if targets is not None:
            logits, labels = logits.flatten(0, 1), targets.flatten()
            count = (labels != self._criterion.ignore_index).sum()
        elif not self.is_training:
            known = labels < logits.shape[1]
            known[known.clone()] &= logits[known, labels[known]].isfinite()
            return self._criterion(logits[known], labels[known]) if bool(known.any()) else self._make_empty_loss()
        elif not self._head_checked:
            self._head_checked = True
            largest = max(self.experience.classes_seen_so_far)
            if logits.shape[1] <= largest:
                raise LabelError(
                    f"experience {self.experience.current_experience} has label {largest}, but the model's head has "
                    f"{logits.shape[1]} classes: give the head more classes, or the model a method grow(labels)"
                )
        loss = self._shared(self._criterion(logits, labels), count)
        if self.is_training:
            self.training_step.note("cross_entropy", loss)
        return loss

    def backward(self) -> None:
        """Check that the loss is finite, and compute its gradients."""
        self.training_step.backward(self.loss, terms=self.training_step.losses)

    def optimizer_step(self) -> None:
        """Update parameters and learning rates."""
        self.training_step.update(self.model.parameters())
