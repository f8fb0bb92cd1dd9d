"""Beam search with a shared audio encoding per utterance, and early removal of finished utterances.

transformers stores the audio's keys and values once per beam, and copies them at each step. They are equal for all
beams of an utterance, so that one copy per utterance suffices here. transformers also decodes every utterance up to the
last step of the longest in the batch. Here, finished utterances leave the decoder. The decoded sequences are the same.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PegasusConfig, PegasusForConditionalGeneration
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

_NAME = "mmcl_beams"


class BeamSearchDecoder(PegasusForConditionalGeneration):
    """Pegasus of transformers, with one audio encoding for all beams of an utterance."""

    def __init__(self, config: PegasusConfig) -> None:
        super().__init__(config)
        self.config._attn_implementation = _NAME
        self._search: _Search | None = None

    def generate(self, *args: Any, **settings: Any) -> Tensor:
        """Generate tokens, as in transformers."""
        try:
            return super().generate(*args, **settings)
        finally:
            self._search = None

    @wraps(PegasusForConditionalGeneration.forward)  # transformers inspects the signature
    def forward(self, *args: Any, **inputs: Any) -> Seq2SeqLMOutput:
        """Return the output of transformers; during a search, the logits of finished utterances are 0."""
        if self._search is None or len(self._search.utterances) == len(self._search.finished):
            return super().forward(*args, **inputs)
        rows, utterances, total = self._search.rows, self._search.utterances, len(inputs["decoder_input_ids"])
        inputs["decoder_input_ids"] = inputs["decoder_input_ids"][rows]
        inputs["attention_mask"] = inputs["attention_mask"][utterances]
        inputs["encoder_outputs"] = BaseModelOutput(inputs["encoder_outputs"].last_hidden_state[utterances])
        output = super().forward(*args, **inputs)
        logits = output.logits.new_zeros(total, *output.logits.shape[1:])
        output.logits = logits.index_copy_(0, rows, output.logits)
        return output

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, is_encoder_decoder: bool = False, input_ids: Any = None, **rest: Any
    ) -> tuple[Tensor, dict[str, Any]]:
        """Hook of transformers before the first step: repeat the start tokens for each beam, but not the audio."""
        self._search = _Search(len(input_ids), expand_size, input_ids.device)
        return input_ids.repeat_interleave(expand_size, dim=0), rest

    def _reorder_cache(self, cache: Any, beams: Tensor) -> Any:
        """Hook of transformers after each step: reorder the caches. Beams never switch utterances."""
        if self._search is None:  # not within generate
            cache.reorder_cache(beams)
            return cache
        kept, rows = self._search.drop_finished(beams)
        cache.self_attention_cache.reorder_cache(rows)
        if len(kept) < len(cache.cross_attention_cache.layers[0].keys):
            cache.cross_attention_cache.batch_select_indices(kept)
        return cache

    def _check_early_stop_heuristic(self, *args: Any, **state: Any) -> Tensor:
        """Hook of transformers at the end of each step: record the finished utterances."""
        if self._search is not None:
            self._search.finished = state["is_sent_finished"].all(dim=1)
        return super()._check_early_stop_heuristic(*args, **state)


class _Search:
    """State of a search over a batch of utterances.

    Attributes:
        beams: beams per utterance.
        finished: whether each utterance of the batch is finished.
        utterances: indices of the utterances in the decoder.
        rows: rows of their beams in the whole batch.
    """

    def __init__(self, count: int, beams: int, device: torch.device) -> None:
        self.beams = beams
        self.finished = torch.zeros(count, dtype=torch.bool, device=device)
        self.utterances = torch.arange(count, device=device)
        self.rows = torch.arange(count * beams, device=device)

    def drop_finished(self, beams: Tensor) -> tuple[Tensor, Tensor]:
        """Remove finished utterances.

        Args:
            beams: row in the whole batch that each beam continues.

        Returns:
            Indices of the kept utterances, and the rows that their beams continue, both counted among the utterances
            that were in the decoder before.
        """
        kept = (~self.finished[self.utterances]).nonzero().flatten()
        self.utterances = self.utterances[kept]
        removed_rows = (self.utterances - kept) * self.beams  # of utterances that left the decoder earlier
        every = torch.arange(self.beams, device=beams.device)
        self.rows = (self.utterances[:, None] * self.beams + every).flatten()
        return kept, beams[self.rows] - removed_rows.repeat_interleave(self.beams)


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **settings: Any
) -> tuple[Tensor, None]:
    """Attention of transformers, with the beams of an utterance as steps of one query when they attend to audio.

    ``query`` is ``(utterances * beams, heads, 1, dim)``, ``key`` and ``value`` are ``(utterances, heads, time, dim)``.
    The result is ``(utterances * beams, 1, heads, dim)``.
    """
    if len(query) == len(key):
        attended, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
        return attended, None
    rows, heads, _, dim = query.shape
    together = query.view(len(key), -1, heads, dim).transpose(1, 2)
    attended = scaled_dot_product_attention(together, key, value, attn_mask=attention_mask, scale=settings["scaling"])
    return attended.transpose(1, 2).reshape(rows, 1, heads, dim), None


AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, sdpa_mask)
