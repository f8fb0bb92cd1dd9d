"""HeldOut: a plugin that scores held-out data during training and keeps the best epoch's model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from avalanche.core import SupervisedPlugin

from mmcl.config.numbers import Count
from mmcl.data.torch_dataset import Samples, as_dataset
from mmcl.errors import CheckpointError, ConfigError, TrainingError
from mmcl.files.loading import load_state
from mmcl.freeze import trainable_state
from mmcl.metrics.classification import classification_scores
from mmcl.models.fusion import MultimodalClassifier, fuse_rows
from mmcl.unlearning.parts import all_logits

if TYPE_CHECKING:
    from mmcl.data.base import Dataset
    from mmcl.strategies.template import MMCLTemplate

Score = Literal["accuracy", "auc", "f1"]


class HeldOut(SupervisedPlugin):
    """Score held-out data sets every few epochs, and keep the model of the chosen epoch.

    Args:
        data: data sets by name.
        every: epochs between evaluations; the last epoch is always evaluated.
        select: score that chooses the epoch, see :func:`~mmcl.metrics.classification.classification_scores`.
        on: name of the data set that chooses the first epoch with the best score; or the number of a fixed epoch.

    Raises:
        ConfigError: in training, the score is not defined for a data set.

    Attributes:
        curves: for each data set, ``epoch`` and scores of each evaluation in the current experience.
        chosen: epoch chosen so far; 0 for none.
        experience: number of the current experience; None before the first.
    """

    def __init__(
        self, data: Mapping[str, Samples], every: Count = 1, select: Score = "accuracy", on: str | int = "valid"
    ) -> None:
        super().__init__()
        self.data = {name: as_dataset(each) for name, each in data.items()}
        self.every, self.select, self.on = every, select, on
        self.curves: dict[str, list[dict[str, float]]] = {name: [] for name in data}
        self.chosen = 0
        self.experience: int | None = None
        self._state: dict[str, torch.Tensor] = {}

    def before_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Clear scores and the chosen epoch if another experience starts."""
        number = strategy.experience.current_experience
        if self.experience not in (None, number):
            self.curves, self.chosen, self._state = {name: [] for name in self.data}, 0, {}
        self.experience = number

    def _logits(self, strategy: MMCLTemplate, data: Dataset) -> torch.Tensor:
        if isinstance(strategy.model, MultimodalClassifier):  # which may lack views of a sample
            return fuse_rows(strategy.model, data, device=strategy.device).logits
        return all_logits(strategy.model, data, device=strategy.device)

    def after_training_epoch(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Score the data sets, and keep the model if this epoch is chosen."""
        epoch = strategy.epoch
        if epoch % self.every and epoch != strategy.train_epochs and epoch != self.on:
            return
        for name, data in self.data.items():
            logits = self._logits(strategy, data)
            scores = classification_scores(logits, torch.tensor(data.labels))
            if self.select not in scores:
                raise ConfigError(
                    f"{self.select} of '{name}' is not defined, because that data set lacks a class: select accuracy "
                    "or f1"
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
        """Load the weights of the chosen epoch into ``model``.

        Raises:
            TrainingError: no epoch has been chosen.
            CheckpointError: the weights belong to another model.
        """
        if not self.chosen:
            raise TrainingError("no epoch has been chosen, there are no weights to restore: train first")
        load_state(model, self._state, f"the state of epoch {self.chosen}")

    def scores(self, name: str, epoch: int | None = None) -> dict[str, float]:
        """Return a data set's scores in an epoch; None for the chosen one.

        Raises:
            TrainingError: that epoch has not been scored.
        """
        wanted = self.chosen if epoch is None else epoch
        found = next((row for row in self.curves[name] if row["epoch"] == wanted), None)
        if found is None:
            scored = ", ".join(str(row["epoch"]) for row in self.curves[name]) or "none"
            raise TrainingError(f"epoch {wanted} has not been scored on '{name}', expected one of: {scored}")
        return found

    def state_dict(self, strategy: MMCLTemplate) -> dict[str, Any]:
        """Return the scores, and the weights of the chosen epoch."""
        curves = {name: list(rows) for name, rows in self.curves.items()}
        return {"curves": curves, "chosen": self.chosen, "state": self._state, "experience": self.experience}

    def load_state_dict(self, state: dict[str, Any], strategy: MMCLTemplate) -> None:
        """Restore scores and weights.

        Raises:
            CheckpointError: the state has scores of other data sets.
        """
        if state["curves"].keys() != self.data.keys():
            raise CheckpointError(
                f"the state has scores of {', '.join(state['curves'])}, expected {', '.join(self.data)}: use the same "
                "data sets"
            )
        self.curves = {name: list(rows) for name, rows in state["curves"].items()}
        self.chosen, self._state, self.experience = state["chosen"], state["state"], state.get("experience")
