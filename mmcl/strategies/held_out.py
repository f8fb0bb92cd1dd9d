"""HeldOut: how well held-out samples are classified as training goes on, and the model as it was when that was best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from avalanche.core import SupervisedPlugin

from mmcl.errors import ConfigError
from mmcl.freeze import trainable_state
from mmcl.metrics.classification import classification_scores
from mmcl.models.fusion import fuse_rows


class HeldOut(SupervisedPlugin):
    """Score held-out data sets after every few epochs, and keep the model of the epoch that is chosen.

    Args:
        data: data sets by name.
        every: epochs from one score to the next; the last epoch is always scored.
        select: what the epoch is chosen by, a score of :func:`~mmcl.metrics.classification.classification_scores`.
        on: name of the data set that it is chosen on, the first epoch of those that are best; or its number, which was
            chosen before.

    Raises:
        ConfigError: (in training) the epoch is chosen by what a data set does not define.

    Attributes:
        curves: by data set, for each epoch that was scored, ``epoch`` and its scores.
        chosen: the epoch that is chosen so far.
    """

    def __init__(
        self, data: Mapping[str, Any], every: int = 1, select: str = "accuracy", on: str | int = "valid"
    ) -> None:
        super().__init__()
        self.data, self.every, self.select, self.on = dict(data), every, select, on
        self.curves: dict[str, list[dict[str, float]]] = {name: [] for name in data}
        self.chosen = 0
        self._state: dict[str, torch.Tensor] = {}

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Score."""
        epoch = strategy.epoch
        if epoch % self.every and epoch != strategy.train_epochs and epoch != self.on:
            return
        for name, data in self.data.items():
            logits = fuse_rows(strategy.model, data, device=strategy.device).logits
            scores = classification_scores(logits, torch.tensor(data.labels))
            if self.select not in scores:
                raise ConfigError(
                    f"{self.select} of '{name}' is not defined, which lacks a class: select accuracy or f1"
                )
            self.curves[name].append({"epoch": epoch, **scores})
        if isinstance(self.on, int):
            better = epoch == self.on
        else:
            *before, now = [row[self.select] for row in self.curves[self.on]]
            better = now > max(before, default=-1.0)
        if better:
            self.chosen = epoch
            self._state = {name: tensor.clone() for name, tensor in trainable_state(strategy.model).items()}

    def restore(self, model: torch.nn.Module) -> None:
        """Give ``model`` the weights of the epoch that was chosen."""
        model.load_state_dict(self._state, strict=False)

    def scores(self, name: str, epoch: int | None = None) -> dict[str, float]:
        """The scores of a data set in the epoch that was chosen, or in another."""
        wanted = self.chosen if epoch is None else epoch
        return next(row for row in self.curves[name] if row["epoch"] == wanted)

    def state_dict(self, strategy: Any) -> dict[str, Any]:
        """What was scored, and the weights of the epoch that is chosen."""
        return {"curves": self.curves, "chosen": self.chosen, "state": self._state}

    def load_state_dict(self, state: dict[str, Any], strategy: Any) -> None:
        """Go on from there."""
        self.curves, self.chosen, self._state = state["curves"], state["chosen"], state["state"]
