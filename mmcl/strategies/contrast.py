"""Contrast: a plugin that adds any objective to the class-incremental loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from avalanche.core import SupervisedPlugin
from torch import Tensor, nn

from mmcl.batch import moved
from mmcl.config.numbers import NonNegative
from mmcl.errors import ConfigError
from mmcl.files.loading import load_state
from mmcl.objectives.objective import Objective
from mmcl.training.views import objective_inputs

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate

Sides = Literal["text", "views"]


class Contrast(SupervisedPlugin):
    """Add ``weight * objective`` to the loss of each step.

    The objective compares each sample's embedding with its text, or with a second view of the same sample. Views
    differ by the model's randomness, such as dropout and SpecAugment. The objective's parameters, such as a learnable
    temperature, are trained with the model.

    Args:
        objective: any :class:`~mmcl.objectives.Objective` that takes two sides, views or features.
        weight: weight of the objective in the loss; 0 turns it off.
        sides: ``"text"`` compares embeddings with texts in the model's audio-text space; ``"views"`` compares the
            embeddings of two forward passes.
        name: name of the term in the losses; None for the name of the objective's class.

    Raises:
        ConfigError: the weight is negative; or, in training, an input of the objective is not available, or the model
            has no audio-text space.

    >>> from mmcl.objectives import SupConLoss
    >>> Contrast(SupConLoss(), weight=0.5).objective.takes
    ('features', 'labels')
    """

    def __init__(
        self, objective: Objective, weight: NonNegative = 1.0, sides: Sides = "views", *, name: str | None = None
    ) -> None:
        super().__init__()
        if weight < 0:
            raise ConfigError(f"weight of the contrast is {weight}, expected 0 or more")
        if sides not in ("text", "views"):
            raise ConfigError(f"sides is '{sides}', expected 'text' or 'views'")
        self.objective, self.weight, self.sides = objective, weight, sides
        self.name = name or type(objective).__name__

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield the objective's parameters; the loop adds them to the optimizer."""
        yield from self.objective.parameters()

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Move the objective to the strategy's device, and check the model."""
        self.objective.to(strategy.device)
        if self.sides == "text" and not hasattr(strategy.model, "project_text"):
            raise ConfigError(
                f"sides is 'text', but {type(strategy.model).__name__} has no audio-text space: set sides to 'views'"
            )

    def before_backward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Add the objective to the loss."""
        if self.weight == 0:
            return
        batch, takes = strategy.mbatch, self.objective.takes
        inputs = objective_inputs(
            self._sides(strategy),
            labels=batch["label"],
            takes=takes,
            rows=moved(batch["rows"], batch["label"].device),
            is_rehearsal=batch["is_rehearsal"],
        )
        with strategy.training_step.objective_autocast():
            term = self.objective.of(inputs)
        strategy.add_loss(self.name, term, self.weight, gathered=self.objective.gather)

    def _sides(self, strategy: MMCLTemplate) -> tuple[Tensor, Tensor]:
        model, batch, embedding = strategy.model, strategy.mbatch, strategy.output.embedding
        if self.sides == "text":
            return model.project_audio(embedding), model.project_text(batch)
        encode = getattr(model, "embed", None) or (lambda batch: model(batch).embedding)
        return embedding, strategy.training_step.forward(encode, batch)

    def state_dict(self, strategy: MMCLTemplate) -> dict[str, Any]:
        """Return the objective's state."""
        return {"objective": self.objective.state_dict()}

    def load_state_dict(self, state: dict[str, Any], strategy: MMCLTemplate) -> None:
        """Restore the objective's state.

        Raises:
            CheckpointError: the state belongs to another objective.
        """
        load_state(self.objective, state["objective"], f"the state of {self.name}")
