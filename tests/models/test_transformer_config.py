"""Tests of the transformer configuration."""

import pytest

from mmcl.errors import ConfigError
from mmcl.models import Frame, FrameTokenizer
from mmcl.models.transformer_config import transformer_config

SIZES = {"dim": 32, "layers": 2, "heads": 2, "feedforward": 64, "encoder_layers": 0, "dropout": 0.1}


@pytest.fixture(scope="module")
def tokenizer():
    return FrameTokenizer.train([Frame("lights on", (), "turn on")], ["lights on"])


def test_the_configuration_holds_the_sizes_and_the_special_tokens(tokenizer):
    config = transformer_config(tokenizer, **SIZES, tied=True)
    assert (config.d_model, config.decoder_layers, config.encoder_layers, config.decoder_ffn_dim) == (32, 2, 0, 64)
    assert (config.pad_token_id, config.eos_token_id) == (tokenizer.pad, tokenizer.end)
    assert config.tie_word_embeddings and config.vocab_size == len(tokenizer)


@pytest.mark.parametrize(
    "change",
    [{"dim": 31, "heads": 1}, {"dim": 34, "heads": 4}, {"layers": 0}, {"encoder_layers": -1}, {"dropout": 1.0}],
    ids=str,
)
def test_incompatible_sizes_are_an_error(change, tokenizer):
    name, value = next(iter(change.items()))
    with pytest.raises(ConfigError, match=f"{name}={value}"):
        transformer_config(tokenizer, **{**SIZES, **change}, tied=False)
