"""Tests of the cache of encoded texts."""

import copy
import pickle

import pytest
import torch

from mmcl.encoders import build_encoder
from mmcl.models.encoded_texts import EncodedTexts

LIKE = torch.zeros(1)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return build_encoder("text", "words", dim=8, frozen=True)


def test_the_cache_never_exceeds_its_size_and_drops_the_least_recently_used_text(encoder):
    calls = []
    encoder.register_forward_hook(lambda module, inputs, output: calls.append(inputs[0]))
    cache = EncodedTexts(size=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        cache.encode(encoder, [text], LIKE)
        assert len(cache) <= 2
    assert calls == [["a"], ["b"], ["c"], ["b"]]


def test_a_batch_may_be_larger_than_the_cache(encoder):
    texts = ["a", "b", "c", "b"]
    vectors = EncodedTexts(size=1).encode(encoder, texts, LIKE)
    assert torch.allclose(vectors, encoder(texts).pooled)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_vectors_have_the_requested_dtype(dtype, encoder):
    cache = EncodedTexts()
    cache.encode(encoder, ["a"], LIKE)
    vectors = cache.encode(encoder, ["a", "b"], LIKE.to(dtype))
    assert vectors.dtype == dtype and len(cache) == 2


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda cache: pickle.loads(pickle.dumps(cache))])
def test_a_copy_is_empty_and_has_the_same_size(duplicate, encoder):
    cache = EncodedTexts(size=5)
    cache.encode(encoder, ["a"], LIKE)
    other = duplicate(cache)
    assert len(other) == 0 and other.size == 5 and len(cache) == 1
