"""Beam search that reads the audio once for all beams of an utterance, and only for utterances that are not done.

transformers keeps the audio's keys and values once for each beam, and copies all of them at each step. They are equal
for all beams of an utterance: here there is one of each, which no step copies. And it takes every utterance on to the
last step of the longest of the batch: here those that are done leave the decoder. What is found stays the same.
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
from transformers.modeling_outputs import BaseModelOutput

_NAME = "mmcl_beams"


class BeamSearchDecoder(PegasusForConditionalGeneration):
    """transformers' Pegasus, of whose beams those of one utterance read the audio together."""

    def __init__(self, config: PegasusConfig) -> None:
        super().__init__(config)
        self.config._attn_implementation = _NAME
        self._search: _Search | None = None

    def generate(self, *args: Any, **settings: Any) -> Any:
        """As in transformers."""
        try:
            return super().generate(*args, **settings)
        finally:
            self._search = None

    @wraps(PegasusForConditionalGeneration.forward)  # transformers reads in its signature what a model takes
    def forward(self, *args: Any, **inputs: Any) -> Any:
        """As in transformers; in a search, the logits of utterances that are done are 0."""
        if self._search is None or len(self._search.utterances) == len(self._search.done):
            return super().forward(*args, **inputs)
        rows, utterances, everyone = self._search.rows, self._search.utterances, len(inputs["decoder_input_ids"])
        inputs["decoder_input_ids"] = inputs["decoder_input_ids"][rows]
        inputs["attention_mask"] = inputs["attention_mask"][utterances]
        inputs["encoder_outputs"] = BaseModelOutput(inputs["encoder_outputs"].last_hidden_state[utterances])
        output = super().forward(*args, **inputs)
        logits = output.logits.new_zeros(everyone, *output.logits.shape[1:])
        output.logits = logits.index_copy_(0, rows, output.logits)
        return output

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, is_encoder_decoder: bool = False, input_ids: Any = None, **rest: Any
    ) -> tuple[Tensor, dict[str, Any]]:
        """Called by transformers before the first step: begin each beam, and leave the audio as it is."""
        self._search = _Search(len(input_ids), expand_size, input_ids.device)
        return input_ids.repeat_interleave(expand_size, dim=0), rest

    def _reorder_cache(self, cache: Any, beams: Tensor) -> Any:
        """Called by transformers after each step; a beam only ever goes on from one of its own utterance."""
        assert self._search is not None
        kept, places = self._search.go_on(beams)
        cache.self_attention_cache.reorder_cache(places)
        if len(kept) < len(cache.cross_attention_cache.layers[0].keys):
            cache.cross_attention_cache.batch_select_indices(kept)
        return cache

    def _check_early_stop_heuristic(self, *args: Any, **state: Any) -> Tensor:
        """Called by transformers at the end of each step: see who is done."""
        if self._search is not None:
            self._search.done = state["is_sent_finished"].all(dim=1)
        return super()._check_early_stop_heuristic(*args, **state)


class _Search:
    """Who of the utterances of a batch is in the decoder: ``utterances``, and ``rows``, those of all their beams."""

    def __init__(self, count: int, beams: int, device: torch.device) -> None:
        self.beams = beams
        self.done = torch.zeros(count, dtype=torch.bool, device=device)
        self.utterances = torch.arange(count, device=device)
        self.rows = torch.arange(count * beams, device=device)

    def go_on(self, beams: Tensor) -> tuple[Tensor, Tensor]:
        """Leave out who is done. Of the others return the place among the utterances that there were until now, and
        the place of the beams that go on, of which ``beams`` is the row in the whole batch."""
        kept = (~self.done[self.utterances]).nonzero().flatten()
        self.utterances = self.utterances[kept]
        before = (self.utterances - kept) * self.beams  # rows of those who had left
        every = torch.arange(self.beams, device=beams.device)
        self.rows = (self.utterances[:, None] * self.beams + every).flatten()
        return kept, beams[self.rows] - before.repeat_interleave(self.beams)


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **settings: Any
) -> tuple[Tensor, None]:
    """transformers' attention; where beams attend to audio, those of an utterance are the steps of one query.

    ``query`` is ``(utterances beams, heads, 1, dim)``, ``key`` and ``value`` ``(utterances, heads, time, dim)``; the
    result is ``(utterances beams, 1, heads, dim)``.
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
