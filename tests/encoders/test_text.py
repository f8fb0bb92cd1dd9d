import zlib

import pytest
import torch

from mmcl.encoders.pretrained import pretrained_text
from mmcl.encoders.text import WordEncoder
from mmcl.errors import ConfigError, ShapeError


@pytest.fixture(scope="module")
def minilm(weights_dir):
    return pretrained_text(weights_dir / "all-MiniLM-L6-v2")


def cosine(encoder, one, other):
    return torch.cosine_similarity(*encoder([one, other]).pooled, dim=0).item()


def test_the_pooled_vector_is_the_mean_of_the_embeddings():
    encoder = WordEncoder(dim=8, buckets=50)
    rows = [1 + zlib.crc32(word) % 50 for word in (b"turn", b"on", b"the", b"lights")]
    encoded = encoder(["Turn on the LIGHTS!", "lights"])
    assert encoded.lengths.tolist() == [4, 1] and encoded.sequence.shape == (2, 4, 8)
    assert torch.allclose(encoded.pooled[0], encoder.embedding.weight[rows].mean(0), atol=1e-6)
    assert torch.equal(encoded.pooled[1], encoder.embedding.weight[rows[3]])


def test_a_text_without_words_is_one_trained_token():
    encoder = WordEncoder(dim=8)
    encoded = encoder(["", "...", "on"])
    assert torch.equal(encoded.pooled[0], encoder.embedding.weight[0])
    assert torch.equal(encoded.pooled[1], encoded.pooled[0]) and not torch.equal(encoded.pooled[2], encoded.pooled[0])
    assert encoded.lengths.tolist() == [1, 1, 1]
    encoded.pooled[0].sum().backward()
    assert encoder.embedding.weight.grad[0].any()


def test_other_alphabets_and_apostrophes():
    encoder = WordEncoder()
    assert encoder(["don't", "включи свет", "灯"]).lengths.tolist() == [1, 2, 1]


def test_few_words_collide():
    features, _ = WordEncoder().frozen_features([f"word{number}" for number in range(300)])
    assert len(set(features.flatten().tolist())) > 280 and features.min() >= 1 and features.max() <= 4096


def test_the_fingerprint_does_not_depend_on_trained_embeddings():
    encoder = WordEncoder(dim=8)
    assert not encoder.frozen and encoder.modality == "text"
    assert encoder.fingerprint() == WordEncoder(dim=16).fingerprint() != WordEncoder(buckets=9).fingerprint()


def test_minilm_separates_meanings(minilm):
    alike = cosine(minilm, "turn on the lights", "switch the lights on")
    assert alike > 0.85
    assert cosine(minilm, "turn on the lights", "turn off the lights") < alike
    assert cosine(minilm, "turn on the lights", "a cappuccino with soy milk please") < 0.3
    assert cosine(minilm, "That is a happy person", "That is a very happy person") > 0.9
    assert cosine(minilm, "That is a happy person", "Today is a sunny day") < 0.4


def test_a_padded_batch_equals_its_sentences(minilm):
    texts = ["lights", "turn on the lights in the kitchen", ""]
    together = minilm(texts)
    assert together.lengths.tolist() == [3, 9, 2] and together.sequence.shape == (3, 9, 384)
    for row, text in enumerate(texts):
        assert (together.pooled[row] - minilm([text]).pooled[0]).abs().max() < 1e-5
    assert minilm.frozen and not together.pooled.requires_grad


def test_minilm_equals_its_definition(minilm):
    tokens = minilm.tokenizer(["turn on the lights"], return_tensors="pt")
    with torch.no_grad():
        hidden = minilm.model(**tokens).last_hidden_state
    assert (minilm(["turn on the lights"]).pooled - hidden.mean(1)).abs().max() < 1e-5


def test_cls_pooling(minilm, weights_dir):
    encoder = pretrained_text(weights_dir / "all-MiniLM-L6-v2", pooling="cls")
    encoded = encoder(["turn on the lights"])
    assert torch.equal(encoded.pooled, encoded.sequence[:, 0]) and encoder.pooled_dim == 384
    assert encoder.fingerprint() != minilm.fingerprint()


@pytest.mark.parametrize("tune_from", [0, 4])
def test_tuning_gives_equal_outputs_and_trains_the_upper_layers(minilm, weights_dir, tune_from):
    tuned = pretrained_text(weights_dir / "all-MiniLM-L6-v2", tune_from=tune_from).eval()
    texts = ["turn on the lights", "lights"]
    features, lengths = tuned.frozen_features(texts)
    assert features.shape == (2, 6, 1) and not features.is_floating_point()
    encoded = tuned.from_features(features.masked_fill(features == tuned.tokenizer.pad_token_id, 7), lengths)
    assert (encoded.pooled - minilm(texts).pooled).abs().max() < 1e-5, "for any content of the padding"
    encoded.pooled.square().sum().backward()
    trained = {name: parameter for name, parameter in tuned.named_parameters() if parameter.requires_grad}
    assert {int(name.split(".")[3]) for name in trained} == set(range(tune_from, 6))
    assert all(parameter.grad is not None for parameter in trained.values())
    assert tuned.fingerprint() != minilm.fingerprint()


def test_truncated_texts_are_logged(minilm, caplog):
    assert minilm(["lights " * 510, "on"]).lengths.tolist() == [512, 3] and not caplog.records, (
        "exactly the maximum length"
    )
    assert minilm(["lights " * 511, "on", "turn " * 1000]).lengths.tolist() == [512, 3, 512]
    assert "2 of 3 texts to 512 tokens, first 'lights lights" in caplog.text and len(caplog.records) == 1
    minilm(["on", "turn " * 1000])
    assert len(caplog.records) == 1, "each text is logged once"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("turn on", "got str"),
        ([], "0 texts"),
        ([1], "got list"),
        (torch.zeros(2), "got Tensor"),
    ],
)
def test_inputs_that_are_not_texts_raise(texts, message):
    with pytest.raises(ShapeError, match=message):
        WordEncoder()(texts)


def test_invalid_sizes_and_layers_raise(weights_dir):
    with pytest.raises(ConfigError, match="dim=0 and buckets=4096"):
        WordEncoder(dim=0)
    with pytest.raises(ConfigError, match="tune_from is 6.* 0 to 5"):
        pretrained_text(weights_dir / "all-MiniLM-L6-v2", tune_from=6)
