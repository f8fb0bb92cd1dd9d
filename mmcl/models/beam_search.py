"""Beam search in which the beams of an utterance share what they attend to.

transformers keeps the audio's keys and values once for each beam, and copies all of them at each step. They are equal
for all beams of an utterance: here there is one of each, which no step copies. What is found stays the same.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PegasusConfig, PegasusForConditionalGeneration
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_NAME = "mmcl_beams"


class BeamSearchDecoder(PegasusForConditionalGeneration):
    """transformers' Pegasus, of whose beams those of one utterance read the audio together."""

    def __init__(self, config: PegasusConfig) -> None:
        super().__init__(config)
        self.config._attn_implementation = _NAME

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, is_encoder_decoder: bool = False, input_ids: Any = None, **rest: Any
    ) -> tuple[Tensor, dict[str, Any]]:
        """Called by transformers before the first step: begin each beam, and leave the audio as it is."""
        return input_ids.repeat_interleave(expand_size, dim=0), rest

    def _reorder_cache(self, cache: Any, beams: Tensor) -> Any:
        """Called by transformers after each step; a beam only ever goes on from one of its own utterance."""
        cache.self_attention_cache.reorder_cache(beams)
        return cache


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
