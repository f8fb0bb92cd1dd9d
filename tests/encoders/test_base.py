import pytest
import torch
from torch import nn

from mmcl.batch import Batch
from mmcl.encoders import build_encoder
from mmcl.encoders.base import pool, subsample, weights_hash
from mmcl.errors import ConfigError


def test_pool_on_a_small_example():
    sequence = torch.tensor([[[1.0, -4.0], [3.0, -2.0], [100.0, 100.0]], [[5.0, 5.0], [7.0, 9.0], [0.0, 1.0]]])
    lengths = torch.tensor([2, 3])
    assert pool(sequence, lengths, "mean").tolist() == [[2.0, -3.0], [4.0, 5.0]]
    assert pool(sequence, lengths, "max").tolist() == [[3.0, -2.0], [7.0, 9.0]]
    assert pool(sequence, lengths, "mean_max").tolist() == [[2.0, -3.0, 3.0, -2.0], [4.0, 5.0, 7.0, 9.0]]


def test_unknown_pooling_raises():
    with pytest.raises(ConfigError, match="'median'.*mean, max, mean_max"):
        pool(torch.zeros(1, 1, 1), torch.tensor([1]), "median")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 20])
def test_subsampling_averages_unpadded_steps(size):
    lengths = torch.tensor([1, 3, 7, 8, 11])
    sequence = torch.randn(5, 13, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    steps, counts = subsample(sequence, lengths, size)
    for row, length in enumerate(lengths.tolist()):
        expected = [sequence[row, start : min(start + size, length)].mean(0) for start in range(0, length, size)]
        assert counts[row] == len(expected)
        assert torch.allclose(steps[row, : len(expected)], torch.stack(expected))
        assert size == 1 or not steps[row, len(expected) :].any()


def test_weights_hash_depends_on_values_buffers_names_and_shapes():
    layer = nn.Linear(2, 3)
    assert weights_hash(layer) == weights_hash(nn.Sequential(layer)[0])
    same = nn.Linear(2, 3)
    same.load_state_dict(layer.state_dict())
    assert weights_hash(same) == weights_hash(layer)
    same.weight.data[0, 0] += 1e-6
    assert weights_hash(same) != weights_hash(layer)
    norm = nn.BatchNorm1d(2)
    before = weights_hash(norm)
    norm.running_mean += 1
    assert weights_hash(norm) != before
    flat, square = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(2, 2))
    assert weights_hash(nn.ParameterDict({"a": flat})) != weights_hash(nn.ParameterDict({"a": square}))
    assert weights_hash(nn.ParameterDict({"a": flat})) != weights_hash(nn.ParameterDict({"b": flat}))


@pytest.fixture
def speech():
    """An untrained audio encoder in evaluation mode, and a batch of two utterances."""
    torch.manual_seed(0)
    batch = Batch(audio=torch.randn(2, 16_000), audio_lengths=torch.tensor([16_000, 9_000]))
    return build_encoder("audio", "cnn", dim=8).eval(), batch


def test_encode_batch_prefers_cached_features_to_inputs(speech):
    encoder, batch = speech
    expected = encoder(batch["audio"], batch["audio_lengths"])
    features, lengths = encoder.frozen_features(batch["audio"], batch["audio_lengths"])
    cached = Batch(features=features, features_lengths=lengths, audio=torch.zeros(2, 1))
    for encoded in (encoder.encode_batch(batch), encoder.encode_batch(cached)):
        assert all(torch.equal(one, other) for one, other in zip(encoded, expected, strict=True))


def test_features_without_lengths_are_pooled_vectors(speech):
    encoder, _ = speech
    pooled = torch.randn(3, 8)
    encoded = encoder.encode_batch(Batch(features=pooled))
    assert torch.equal(encoded.pooled, pooled) and torch.equal(encoded.sequence[:, 0], pooled)
    assert encoded.lengths.tolist() == [1, 1, 1]


def test_view_features_are_read_from_the_batch_if_cached(speech):
    encoder, batch = speech
    features, lengths = encoder.frozen_features(batch["audio"], batch["audio_lengths"])
    cached = Batch(words_features=features, words_features_lengths=lengths)
    view = Batch(words=batch["audio"], words_lengths=batch["audio_lengths"])
    for found in (encoder.view_features(cached, "words"), encoder.view_features(view, "words")):
        assert torch.equal(found[0], features) and torch.equal(found[1], lengths)
