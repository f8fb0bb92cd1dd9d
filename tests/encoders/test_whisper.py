import pytest
import torch
from torch import nn
from transformers import WhisperFeatureExtractor

from mmcl.batch import collate
from mmcl.data.audio import load_audio
from mmcl.encoders.pretrained import pretrained_audio
from mmcl.errors import ConfigError, ShapeError


@pytest.fixture(scope="module")
def folder(small_whisper, tmp_path_factory):
    return small_whisper(tmp_path_factory.mktemp("whisper"), half=True)


@pytest.fixture(scope="module")
def real(weights_dir):
    return pretrained_audio(weights_dir / "whisper-base-encoder", pooling="mean_max")


def padded_and_alone(encoder, audios):
    """Return the largest difference between utterances in a padded batch and alone."""
    batch = collate([{"audio": audio} for audio in audios])
    encoded = encoder(batch["audio"], batch["audio_lengths"])
    differences = []
    for row, audio in enumerate(audios):
        alone = encoder(audio[None])
        length = int(alone.lengths[0])
        assert encoded.lengths[row] == length == alone.sequence.shape[1]
        differences.append((encoded.sequence[row, :length] - alone.sequence[0]).abs().max().item())
        differences.append((encoded.pooled[row] - alone.pooled[0]).abs().max().item())
    return max(differences)


def test_a_padded_batch_equals_its_utterances_with_real_weights(real, data_dir):
    paths = sorted((data_dir / "barista" / "speech").glob("*.flac"))[:3]
    audios = [load_audio(path)[16000 : 16000 * (3 + number)] for number, path in enumerate(paths)]
    # Activations reach 24, and float32 kernels with and without a mask round differently. In float64, only a leak of
    # padding would remain.
    assert padded_and_alone(real, audios) < 2e-3
    try:
        assert padded_and_alone(real.double(), [audio.double() for audio in audios]) < 1e-9
    finally:
        real.float()


def test_30_seconds_equal_upstream(real, digits, weights_dir):
    audio = digits[0]
    extractor = WhisperFeatureExtractor.from_pretrained(weights_dir / "whisper-base-encoder")
    expected_mel = extractor(audio.numpy(), sampling_rate=16000, return_tensors="pt")["input_features"]
    full = nn.functional.pad(audio, (0, 480_000 - len(audio)))[None]
    assert (real.log_mel(full)[0] - expected_mel).abs().max() < 1e-5
    with torch.no_grad():
        expected = real.model(expected_mel).last_hidden_state
    encoded = real(full)
    assert encoded.sequence.shape == (1, 1500, 512)
    assert (encoded.sequence - expected).abs().max() < 1e-4


def test_log_mel_equals_upstream_without_silence(real, digits, weights_dir):
    extractor = WhisperFeatureExtractor.from_pretrained(weights_dir / "whisper-base-encoder")
    batch = collate([{"audio": audio} for audio in digits])
    frames, lengths = real.log_mel(batch["audio"], batch["audio_lengths"])
    for row, audio in enumerate(digits):
        expected = extractor(audio.numpy(), sampling_rate=16000, padding="do_not_pad", return_tensors="pt")
        expected = expected["input_features"][0]
        assert lengths[row] == expected.shape[1] == len(audio) // 160
        assert (frames[row, :, : lengths[row]] - expected).abs().max() < 1e-4
        assert not frames[row, :, lengths[row] :].any()


def test_a_padded_batch_equals_its_utterances(folder, digits):
    encoder = pretrained_audio(folder).double()
    assert padded_and_alone(encoder, [audio.double() for audio in digits]) < 1e-10


def test_a_frozen_encoder_is_constant(folder, digits):
    encoder = pretrained_audio(folder)
    assert encoder.frozen and next(encoder.parameters()).dtype == torch.float32
    assert encoder.train().training is False
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not hasattr(encoder.model, "decoder")
    assert not encoder(digits[0][None]).pooled.requires_grad


@pytest.mark.parametrize("tune_from", [0, 1, 2])
def test_tuning_gives_equal_outputs_and_trains_the_upper_layers(folder, digits, tune_from):
    frozen, tuned = pretrained_audio(folder), pretrained_audio(folder, tune_from=tune_from)
    batch = collate([{"audio": audio} for audio in digits[:3]])
    expected = frozen(batch["audio"], batch["audio_lengths"])
    features, lengths = tuned.frozen_features(batch["audio"], batch["audio_lengths"])
    assert not tuned.frozen and not features.requires_grad
    encoded = tuned.eval().from_features(features, lengths)
    assert (encoded.pooled - expected.pooled).abs().max() < 1e-5
    encoded.pooled.square().sum().backward()
    trained = {name for name, parameter in tuned.named_parameters() if parameter.requires_grad}
    layers = {name.split(".")[2] for name in trained if ".layers." in name}
    assert layers == {str(layer) for layer in range(tune_from, 3)}
    assert {name for name in trained if ".layers." not in name} == {"model.layer_norm.weight", "model.layer_norm.bias"}
    assert all(p.grad is not None for name, p in tuned.named_parameters() if name in trained)


def test_training_mode_applies_to_trained_layers_only(folder):
    tuned = pretrained_audio(folder, tune_from=1).train()
    assert [layer.training for layer in tuned.model.layers] == [False, True, True]
    assert not tuned.model.conv1.training


def test_the_fingerprint_depends_on_frozen_parts_only(folder):
    frozen, tuned = pretrained_audio(folder), pretrained_audio(folder, tune_from=1)
    assert frozen.fingerprint() == pretrained_audio(folder).fingerprint() != tuned.fingerprint()
    assert frozen.fingerprint() != pretrained_audio(folder, pooling="max").fingerprint()
    before = tuned.fingerprint()
    tuned.model.layers[1].fc1.weight.data += 1
    assert tuned.fingerprint() == before
    tuned.model.layers[0].fc1.weight.data += 1
    assert tuned.fingerprint() != before


def test_more_than_30_seconds_raise(folder):
    encoder = pretrained_audio(folder)
    with pytest.raises(ShapeError, match="utterance 1 .*30.01 s.* 30 s"):
        encoder(torch.zeros(2, 480_160), torch.tensor([16_000, 480_160]))


def test_the_shortest_utterance(folder):
    encoded = pretrained_audio(folder)(torch.zeros(1, 400))
    assert encoded.lengths.tolist() == [1] and encoded.pooled.isfinite().all()


@pytest.mark.parametrize("tune_from", [-1, 3, 9])
def test_a_missing_layer_raises(folder, tune_from):
    with pytest.raises(ConfigError, match=f"tune_from is {tune_from}.* 0 to 2"):
        pretrained_audio(folder, tune_from=tune_from)


@pytest.mark.parametrize("tune_from", [None, 1])
def test_silence_is_encoded_but_its_steps_are_dropped(folder, tune_from):
    torch.manual_seed(1)
    options = {"tune_from": tune_from, "pooling": "mean_max"}
    plain = pretrained_audio(folder, **options).eval()
    within = pretrained_audio(folder, silence=0.1, subsampling=2, **options).eval()
    audio = torch.randn(5000)
    encoded = within(audio[None])
    whole = plain(nn.functional.pad(audio, (1600, 1600))[None]).sequence[0, 5:-5]
    assert len(whole) == plain(audio[None]).lengths[0] == 16
    torch.testing.assert_close(encoded.sequence[0], (whole[0::2] + whole[1::2]) / 2)
    assert encoded.lengths.tolist() == [8]
    assert padded_and_alone(within, [audio, torch.randn(900), torch.randn(3210)]) < 2e-3
    assert within.fingerprint() != pretrained_audio(folder, subsampling=2, **options).fingerprint()


def test_invalid_silence_raises(folder):
    for silence in (-1.0, 15.0):
        with pytest.raises(ConfigError, match=f"silence is {silence} s"):
            pretrained_audio(folder, silence=silence)
    with pytest.raises(ShapeError, match="21.00 s.* 20 s"):
        pretrained_audio(folder, silence=5.0)(torch.zeros(1, 16000 * 21))
