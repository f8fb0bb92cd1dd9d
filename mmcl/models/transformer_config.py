"""transformer_config: the configuration of the sequence model's transformer, with its sizes validated."""

from __future__ import annotations

from transformers import PegasusConfig

from mmcl.errors import ConfigError
from mmcl.models.tokenizer import FrameTokenizer

POSITIONS = 3000  #: number of positions: one minute of speech at 50 steps a second


def transformer_config(
    tokenizer: FrameTokenizer,
    *,
    dim: int,
    layers: int,
    heads: int,
    feedforward: int,
    encoder_layers: int,
    dropout: float,
    tied: bool,
    positions: int = POSITIONS,
) -> PegasusConfig:
    """Return the Pegasus configuration of an encoder and a decoder of equal width.

    Args:
        tokenizer: gives the vocabulary and the special tokens.
        dim: width, even and divisible by ``heads``.
        layers: number of decoder layers.
        heads: number of attention heads.
        feedforward: width of the feed-forward layers.
        encoder_layers: number of encoder layers, 0 or more.
        dropout: dropout rate.
        tied: share one matrix between input and output tokens.
        positions: number of positions, of the encoder and of the decoder.

    Raises:
        ConfigError: incompatible sizes, or a rate outside [0, 1).

    >>> from mmcl.models import Frame
    >>> tokenizer = FrameTokenizer.train([Frame("lights on", (), "turn on")], ["lights on"])
    >>> sizes = {"dim": 32, "layers": 1, "heads": 2, "feedforward": 64, "encoder_layers": 0}
    >>> transformer_config(tokenizer, **sizes, dropout=0.1, tied=False).d_model
    32
    """
    if min(dim, layers, heads, feedforward, encoder_layers + 1) < 1 or dim % heads or dim % 2 or not 0 <= dropout < 1:
        raise ConfigError(
            f"cannot build a transformer with dim={dim}, layers={layers}, heads={heads}, feedforward={feedforward}, "
            f"encoder_layers={encoder_layers}, dropout={dropout}: expected an even dim divisible by heads, "
            "encoder_layers of 0 or more, other sizes of 1 or more, and a dropout of 0 or more and less than 1"
        )
    return PegasusConfig(
        vocab_size=len(tokenizer),
        d_model=dim,
        encoder_layers=encoder_layers,
        decoder_layers=layers,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=feedforward,
        decoder_ffn_dim=feedforward,
        dropout=dropout,
        scale_embedding=True,
        tie_word_embeddings=tied,
        max_position_embeddings=positions,
        pad_token_id=tokenizer.pad,
        bos_token_id=tokenizer.start,
        eos_token_id=tokenizer.end,
        decoder_start_token_id=tokenizer.start,
        forced_eos_token_id=None,
    )
