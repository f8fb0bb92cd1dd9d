import pytest
import torch
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from mmcl.batch import collate
from mmcl.encoders.pretrained import pretrained_audio
from mmcl.errors import ConfigError

SIZES = dict(
    hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, conv_dim=(8, 8, 8),
    conv_stride=(10, 8, 4), conv_kernel=(10, 8, 5), num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    layerdrop=0.5, mask_time_length=2,
)  # fmt: skip
KINDS = {
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
    "hubert": (HubertConfig, HubertModel),
    "wavlm": (WavLMConfig, WavLMModel),
}
BASE = {"feat_extract_norm": "group", "do_stable_layer_norm": False}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}


def save(path, kind, sizes, normalize=True, **options):
    torch.manual_seed(0)
    config, model = KINDS[kind]
    model = model(config(**SIZES, **sizes, **options))
    for parameter in model.parameters():
        parameter.data = parameter.data * 2 + 0.01
    model.half().save_pretrained(path)
    Wav2Vec2FeatureExtractor(do_normalize=normalize).save_pretrained(path)
    return path


@pytest.fixture(params=[(kind, size) for kind in KINDS for size in ("base", "large")], ids="-".join)
def folder(request, tmp_path):
    kind, size = request.param
    return save(tmp_path, kind, BASE if size == "base" else LARGE)


def test_a_single_utterance_equals_upstream(folder, digits):
    encoder = pretrained_audio(folder, pooling="max")
    values = Wav2Vec2FeatureExtractor()(digits[0].numpy(), sampling_rate=16000, return_tensors="pt")["input_values"]
    with torch.no_grad():
        expected = encoder.model(values).last_hidden_state
    encoded = encoder(digits[0][None])
    assert encoded.sequence.shape == expected.shape and encoded.lengths.tolist() == [expected.shape[1]]
    assert (encoded.sequence - expected).abs().max() < 1e-4
    assert (encoded.pooled - expected.amax(1)).abs().max() < 1e-4


def test_a_padded_batch_equals_its_utterances(folder, digits):
    encoder = pretrained_audio(folder).double()
    audios = [audio.double() for audio in digits]
    batch = collate([{"audio": audio} for audio in audios])
    encoded = encoder(batch["audio"], batch["audio_lengths"])
    for row, audio in enumerate(audios):
        alone = encoder(audio[None])
        length = int(alone.lengths[0])
        assert encoded.lengths[row] == length
        assert (encoded.sequence[row, :length] - alone.sequence[0]).abs().max() < 1e-9
        assert (encoded.pooled[row] - alone.pooled[0]).abs().max() < 1e-9


@pytest.mark.parametrize("tune_from", [0, 2])
def test_tuning_gives_equal_outputs_and_trains_the_upper_layers(folder, digits, tune_from):
    frozen, tuned = pretrained_audio(folder), pretrained_audio(folder, tune_from=tune_from)
    batch = collate([{"audio": audio} for audio in digits])
    features, lengths = tuned.frozen_features(batch["audio"], batch["audio_lengths"])
    assert frozen.frozen and not tuned.frozen and not features.requires_grad
    encoded = tuned.eval().from_features(features, lengths)
    assert (encoded.pooled - frozen(batch["audio"], batch["audio_lengths"]).pooled).abs().max() < 1e-5
    encoded.pooled.square().sum().backward()
    trained = {name: parameter for name, parameter in tuned.named_parameters() if parameter.requires_grad}
    layers = {name.split(".")[3] for name in trained if ".layers." in name}
    assert layers == {str(layer) for layer in range(tune_from, 3)}
    others = {name for name in trained if ".layers." not in name}
    assert others == (
        {"model.encoder.layer_norm.weight", "model.encoder.layer_norm.bias"} if tuned.norm_comes_last else set()
    )
    assert all(parameter.grad is not None for parameter in trained.values())


def test_frozen_features_are_the_same_in_training_mode(folder, digits):
    tuned = pretrained_audio(folder, tune_from=1)
    first, _ = tuned.eval().frozen_features(digits[0][None])
    second, _ = tuned.train().frozen_features(digits[0][None])
    assert torch.equal(first, second)


def test_the_fingerprint_depends_on_frozen_parts_only(folder):
    tuned = pretrained_audio(folder, tune_from=1)
    before = tuned.fingerprint()
    assert pretrained_audio(folder, tune_from=1).fingerprint() == before != pretrained_audio(folder).fingerprint()
    tuned.model.encoder.layers[1].feed_forward.output_dense.bias.data += 1
    assert tuned.fingerprint() == before
    tuned.model.feature_extractor.conv_layers[0].conv.weight.data += 1
    assert tuned.fingerprint() != before


def test_normalization_follows_the_checkpoint(tmp_path, digits):
    normalized = pretrained_audio(save(tmp_path / "with", "wav2vec2", LARGE))
    plain = pretrained_audio(save(tmp_path / "without", "wav2vec2", LARGE, normalize=False))
    audio = digits[0][None]
    assert (normalized(audio).pooled - normalized(audio * 0.5).pooled).abs().max() < 1e-3
    standard = (audio - audio.mean()) / (audio.var(unbiased=False) + 1e-7).sqrt()
    assert (plain(standard).pooled - normalized(audio).pooled).abs().max() < 1e-4
    assert plain.fingerprint() != normalized.fingerprint()
    assert normalized(torch.zeros(1, 16000)).pooled.isfinite().all(), "silence"


def test_subsampled_steps_are_means(tmp_path, digits):
    save(tmp_path, "wav2vec2", BASE)
    batch = collate([{"audio": audio} for audio in digits])
    full, frozen, tuned = (
        pretrained_audio(tmp_path, **options).eval()
        for options in ({}, {"subsampling": 3}, {"subsampling": 3, "tune_from": 1})
    )
    whole = full(batch["audio"], batch["audio_lengths"])
    for encoder in (frozen, tuned):
        encoded = encoder(batch["audio"], batch["audio_lengths"])
        for row, length in enumerate(whole.lengths.tolist()):
            means = torch.stack(
                [whole.sequence[row, place : place + 3][: length - place].mean(0) for place in range(0, length, 3)]
            )
            assert encoded.lengths[row] == len(means)
            assert (encoded.sequence[row, : len(means)] - means).abs().max() < 1e-4
    features, lengths = frozen.frozen_features(batch["audio"], batch["audio_lengths"])
    assert features.shape[1] == lengths.max() == -(-whole.lengths.max() // 3)  # a third is cached
    assert tuned.frozen_features(batch["audio"])[0].shape[1] == whole.lengths.max()
    assert frozen.fingerprint() != full.fingerprint()
    assert pretrained_audio(tmp_path, tune_from=1).fingerprint() == tuned.fingerprint()  # equal features are cached
    with pytest.raises(ConfigError, match="subsampling is 0"):
        pretrained_audio(tmp_path, subsampling=0)
    with pytest.raises(ConfigError, match="silence .*'wav2vec2'"):
        pretrained_audio(tmp_path, silence=0.5)


def test_a_missing_layer_raises(folder):
    with pytest.raises(ConfigError, match="tune_from is 3.* 0 to 2"):
        pretrained_audio(folder, tune_from=3)


def test_an_adapter_raises(tmp_path):
    save(tmp_path, "wav2vec2", BASE, add_adapter=True)
    with pytest.raises(ConfigError, match="add_adapter=True"):
        pretrained_audio(tmp_path)
