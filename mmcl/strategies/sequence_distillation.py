"""SequenceDistillation: a plugin that trains rehearsal samples on sequences decoded before the experience."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from avalanche.core import SupervisedPlugin
from torch.nn.functional import cross_entropy

from mmcl.batch import moved
from mmcl.encoders.base import Encoded
from mmcl.errors import ConfigError
from mmcl.strategies.distillation import require_decoder
from mmcl.strategies.loader import BatchLoader
from mmcl.strategies.rehearsal import Rehearsal

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class SequenceDistillation(SupervisedPlugin):
    """Train rehearsal samples on the sequences that beam search finds for them (seq-KD, arXiv 2305.13899).

    At the end of each experience, the model decodes a sequence y for every sample in memory. In the next experience::

        loss = cross-entropy + weight * mean over the tokens of y of  -log p(token | audio, preceding tokens)

    Cappellazzo et al., after Kim and Rush 2016: the best sequence of the beam approximates the sum over all sequences.
    Differs from the paper: a mean over the tokens in place of a sum.

    Args:
        weight: weight of the sequence distillation; 0 turns it off.
        beams: width of the beam search; None for the model's setting.

    Raises:
        ConfigError: the weight is negative or the beam is empty; or, when training begins, no
            :class:`~mmcl.strategies.rehearsal.Rehearsal` precedes this plugin, or the model has no decoder.
    """

    def __init__(self, weight: float = 1.0, beams: int | None = None) -> None:
        super().__init__()
        if weight < 0 or (beams is not None and beams < 1):
            raise ConfigError(f"weight is {weight}, beams {beams}: expected weight >= 0 and beams >= 1")
        self.weight = weight
        self.beams = beams
        self.sequences: dict[int, list[int]] = {}  # row -> tokens

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Check that the model has a decoder and that a memory precedes this plugin."""
        require_decoder(strategy.model, "sequence distillation")
        before = strategy.plugins[: strategy.plugins.index(self)]
        if not any(isinstance(plugin, Rehearsal) for plugin in before):
            raise ConfigError(
                "sequence distillation has no memory, expected a Rehearsal before it: use replay or coconut"
            )

    def before_backward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Add the distillation to the loss."""
        past = strategy.rehearsed
        if self.weight == 0 or not self.sequences or not strategy.rehearses:
            return
        if not past:
            return strategy.add_loss("sequence_kd", strategy.loss.new_zeros(()), self.weight, count=0)
        rows = strategy.mbatch["rows"].tolist()
        targets = strategy.model.targets([self.sequences[rows[place]] for place in past])
        places = moved(torch.tensor(past), strategy.device)
        encoded = Encoded(*(part[places] for part in strategy.output.encoded))
        logits = strategy.model.teacher_forced(encoded, targets)
        term = cross_entropy(logits.flatten(0, 1), targets.flatten())
        strategy.add_loss("sequence_kd", term, self.weight, count=(targets != -100).sum())

    @torch.no_grad()
    def after_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Decode a sequence for each sample in memory."""
        rows = next(plugin for plugin in strategy.plugins if isinstance(plugin, Rehearsal)).rows
        if self.weight == 0 or not rows:
            return
        loader = BatchLoader(
            strategy.experience.source, torch.tensor(rows), batch_size=strategy.eval_mb_size, shuffle=False
        )
        model = strategy.model.eval()
        encoded = (model.encode(batch.to(strategy.device)) for batch in loader)
        decoded = [tokens for part in encoded for tokens in model.decode(part, beams=self.beams)]
        self.sequences = dict(zip(rows, decoded, strict=True))
        model.train()

    def state_dict(self, strategy: MMCLTemplate) -> dict[str, Any]:
        """Return the sequences, concatenated."""
        lengths = [len(tokens) for tokens in self.sequences.values()]
        tokens = [token for tokens in self.sequences.values() for token in tokens]
        return {"rows": torch.tensor(list(self.sequences)), "lengths": lengths, "tokens": torch.tensor(tokens)}

    def load_state_dict(self, state: dict[str, Any], strategy: MMCLTemplate) -> None:
        """Restore the sequences."""
        parts = state["tokens"].long().split(state["lengths"])
        self.sequences = {row: part.tolist() for row, part in zip(state["rows"].tolist(), parts, strict=True)}
