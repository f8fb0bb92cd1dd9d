"""Beam search in which the beams of an utterance share what they attend to.

transformers keeps the audio's keys and values once for each beam, and copies them all at each step. They are the same
for all beams of an utterance: here each step reads one of them and copies none. What is found stays the same.
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

    def generate(self, *args: Any, num_beams: int = 1, **kwargs: Any) -> Any:
        """Decode as transformers does, see there."""
        listening = [layer.encoder_attn for layer in self.model.decoder.layers]
        for attention in listening:
            attention.beams = num_beams
        try:
            return super().generate(*args, num_beams=num_beams, **kwargs)
        finally:
            for attention in listening:
                attention.beams = 1

    def _reorder_cache(self, cache: Any, beams: Tensor) -> Any:
        """Called by transformers after each step; a beam only ever goes on from one of its own utterance."""
        cache.self_attention_cache.reorder_cache(beams)
        return cache


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **settings: Any
) -> tuple[Tensor, None]:
    """transformers' attention; where beams attend to audio, those of an utterance are steps of one query.

    ``query`` is ``(utterances beams, heads, 1, dim)`` and the result ``(utterances beams, 1, heads, dim)``.
    """
    beams = getattr(module, "beams", 1)
    if beams == 1:
        attended, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
        return attended, None
    rows, heads, _, dim = query.shape
    together = query.view(rows // beams, beams, heads, dim).transpose(1, 2)
    mask = None if attention_mask is None else attention_mask[::beams]
    attended = scaled_dot_product_attention(
        together, key[::beams], value[::beams], attn_mask=mask, scale=settings["scaling"]
    )
    return attended.transpose(1, 2).reshape(rows, 1, heads, dim), None


AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, sdpa_mask)
