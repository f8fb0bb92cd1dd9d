"""FirstSession: a plugin that trains the model on the first experience only, and then classifies in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from mmcl.data.avalanche_streams import rows_of
from mmcl.errors import ConfigError
from mmcl.models.classifier import SLUClassifier
from mmcl.models.readouts import StreamingLDA
from mmcl.models.readouts.base import ReadOut
from mmcl.models.tensor_classifier import TensorClassifier
from mmcl.strategies.closed_form import ClosedForm, trainable_part
from mmcl.strategies.loader import BatchLoader

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class FirstSession(ClosedForm):
    """Train on the first experience only, and fit a read-out to the embeddings of every experience.

    ``score = readout(f_1(x))``, where the embedding ``f_1`` is trained on the first experience. No weight changes after
    it, so the statistics of old classes are exact: the result is that of all samples at once. First session
    adaptation, Panos et al. 2023, arXiv 2303.13199; phase 1 of RanPAC, McDonnell et al. 2023, arXiv 2307.02251.

    The embeddings of an :class:`~mmcl.models.SLUClassifier` without a hidden layer are standardized on the first
    experience, after training. Each process computes this from all its samples.

    Differs from the papers: any part of the encoder may be trained. Panos et al. train FiLM layers or all weights, and
    McDonnell et al. adapters, prompts or scale and shift. Neither standardizes the embeddings.

    Args:
        readout: the classifier; None for :class:`~mmcl.models.readouts.StreamingLDA`, as in Panos et al.

    Attributes:
        trained_parameters: number of parameters that the first experience trained; 0 before its end.

    Raises:
        ConfigError: the model has no weights to train before its classifier.
    """

    def __init__(self, readout: ReadOut | None = None) -> None:
        super().__init__(StreamingLDA() if readout is None else readout)
        self.trained_parameters = 0

    @property
    def is_over(self) -> bool:
        """Whether the first experience is complete."""
        return len(self.readout.seen) > 0

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Check that there are embeddings to train."""
        if isinstance(strategy.model, SLUClassifier | TensorClassifier) and trainable_part(strategy.model) is None:
            raise ConfigError(
                "first_session trains embeddings in the first experience, but they have no trainable weights: set "
                "encoder.tune_from, encoder.lora or encoder.frozen=false, or use slda, which trains nothing"
            )

    def before_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Skip training after the first experience."""
        if self.is_over:
            strategy.stop_training()

    def after_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Standardize embeddings once, and fit the read-out."""
        if not self.is_over:
            groups = strategy.optimizer.param_groups
            self.trained_parameters = sum(each.numel() for group in groups for each in group["params"])
            self._standardize(strategy)
        super().after_training_exp(strategy, **kwargs)

    def state_dict(self, strategy: MMCLTemplate) -> dict[str, Any]:
        """Return the number of trained parameters; the model holds the read-out."""
        return {"trained_parameters": self.trained_parameters}

    def load_state_dict(self, state: dict[str, Any], strategy: MMCLTemplate) -> None:
        """Restore the number of trained parameters."""
        self.trained_parameters = int(state["trained_parameters"])

    @torch.no_grad()
    def _standardize(self, strategy: MMCLTemplate) -> None:
        model = strategy.model
        if not isinstance(model, SLUClassifier) or len(model.trunk):
            return
        rows = torch.tensor(rows_of(strategy.experience))
        loader = BatchLoader(strategy.experience.source, rows, batch_size=strategy.eval_mb_size, shuffle=False)
        was_training = model.training
        model.eval()
        model.standardize(torch.cat([model.encoder.encode_batch(each.to(strategy.device)).pooled for each in loader]))
        model.train(was_training)
