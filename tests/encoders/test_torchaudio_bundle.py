from dataclasses import replace

import pytest
import torch
import torchaudio
from torch import nn

from mmcl.batch import collate
from mmcl.encoders import build_encoder, cached_features
from mmcl.errors import ConfigError, DataError, MissingDataError

SMALL = dict(
    extractor_conv_layer_config=[(8, 10, 10), (8, 8, 8), (8, 5, 4)], encoder_embed_dim=16, encoder_pos_conv_kernel=16,
    encoder_pos_conv_groups=2, encoder_num_layers=3, encoder_num_heads=2, encoder_ff_interm_features=32,
    encoder_layer_drop=0.5,
)  # fmt: skip
KINDS = ("WAV2VEC2_BASE", "WAV2VEC2_LARGE_LV60K", "WAV2VEC2_ASR_BASE_960H", "WAVLM_BASE", "WAVLM_LARGE")


@pytest.fixture(autouse=True)
def small_bundles(monkeypatch):
    """Reduce the size of the bundles."""
    for name in KINDS:
        bundle = getattr(torchaudio.pipelines, name)
        monkeypatch.setattr(torchaudio.pipelines, name, replace(bundle, _params={**bundle._params, **SMALL}))


def saved(path, name, dtype=torch.float32):
    """Return a model of a bundle, and the path of its saved weights."""
    torch.manual_seed(0)
    bundle = getattr(torchaudio.pipelines, name)
    model = torchaudio.pipelines._wav2vec2.utils._get_model(bundle._model_type, bundle._params)
    for parameter in model.parameters():
        parameter.data = parameter.data * 2 + 0.01
    torch.save(model.state_dict(), path / "weights.pth")
    return model.eval(), path / "weights.pth"


def build(name, **options):
    return build_encoder("audio", f"torchaudio:{name}", **options)


@pytest.mark.parametrize("name", KINDS)
def test_a_single_utterance_equals_upstream(name, tmp_path, digits):
    model, path = saved(tmp_path, name)
    encoder = build(name, pretrained=path, pooling="max")
    model.aux = None
    audio = digits[0][None]
    prepared = nn.functional.layer_norm(audio, audio.shape) if "LARGE" in name else audio
    with torch.no_grad():
        expected, _ = model(prepared)
    encoded = encoder(audio)
    assert encoded.sequence.shape == expected.shape and encoded.lengths.tolist() == [expected.shape[1]]
    assert (encoded.sequence - expected).abs().max() < 1e-4
    assert (encoded.pooled - expected.amax(1)).abs().max() < 1e-4


@pytest.mark.parametrize("name", KINDS)
def test_a_padded_batch_equals_its_utterances(name, tmp_path, digits):
    encoder = build(name, pretrained=saved(tmp_path, name)[1]).double()
    audios = [audio.double() for audio in digits]
    batch = collate([{"audio": audio} for audio in audios])
    encoded = encoder(batch["audio"], batch["audio_lengths"])
    for row, audio in enumerate(audios):
        alone = encoder(audio[None])
        length = int(alone.lengths[0])
        assert encoded.lengths[row] == length == alone.sequence.shape[1]
        assert (encoded.sequence[row, :length] - alone.sequence[0]).abs().max() < 1e-9
        assert (encoded.pooled[row] - alone.pooled[0]).abs().max() < 1e-9
        assert not encoded.sequence[row, length:].any()


@pytest.mark.parametrize("tune_from", [0, 2])
@pytest.mark.parametrize("name", KINDS)
def test_tuning_gives_equal_outputs_and_trains_the_upper_layers(name, tune_from, tmp_path, batch):
    _, path = saved(tmp_path, name)
    frozen, tuned = build(name, pretrained=path), build(name, pretrained=path, tune_from=tune_from)
    assert frozen.frozen and not frozen.train().training and not any(p.requires_grad for p in frozen.parameters())
    features, lengths = tuned.train().frozen_features(batch["audio"], batch["audio_lengths"])
    assert not features.requires_grad and not tuned.frozen
    encoded = tuned.eval().from_features(features, lengths)
    expected = frozen(batch["audio"], batch["audio_lengths"]).pooled
    assert (encoded.pooled - expected).abs().max() < 1e-5 and not expected.requires_grad
    encoded.pooled.square().sum().backward()
    trained = {name: parameter for name, parameter in tuned.named_parameters() if parameter.requires_grad}
    assert all(parameter.grad is not None for parameter in trained.values())
    layers = {name.split(".")[4] for name in trained if ".layers." in name}
    assert layers == {str(layer) for layer in range(tune_from, 3)}
    others = {name.split(".")[-2] for name in trained if ".layers." not in name}
    assert others == ({"layer_norm"} if "LARGE" in name else set())
    before = tuned.fingerprint()
    assert before == build(name, pretrained=path, tune_from=tune_from).fingerprint() != frozen.fingerprint()
    tuned.layers[2].feed_forward.output_dense.bias.data += 1
    assert tuned.fingerprint() == before
    tuned.network.feature_extractor.conv_layers[0].conv.weight.data += 1
    assert tuned.fingerprint() != before


def test_features_are_cached(tmp_path, spoken):
    encoder = build("WAV2VEC2_BASE", pretrained=saved(tmp_path, "WAV2VEC2_BASE")[1])
    kept = cached_features(spoken, encoder, tmp_path / "cache", progress=False, batch_size=2)
    for row in range(len(spoken)):
        assert (kept[row]["features"] - encoder(spoken[row]["audio"][None]).pooled[0]).abs().max() < 1e-5


def test_subsampled_steps_are_means(tmp_path, batch):
    _, path = saved(tmp_path, "WAV2VEC2_BASE")
    full, third = build("WAV2VEC2_BASE", pretrained=path), build("WAV2VEC2_BASE", pretrained=path, subsampling=3)
    whole, fewer = (encoder(batch["audio"], batch["audio_lengths"]) for encoder in (full, third))
    assert (fewer.sequence[0, 0] - whole.sequence[0, :3].mean(0)).abs().max() < 1e-5
    assert fewer.lengths.tolist() == [-(-length // 3) for length in whole.lengths.tolist()]
    assert full.fingerprint() != third.fingerprint()


def test_weights_with_older_names(tmp_path, digits):
    """The files of torchaudio use older names of torch for the parts of a normalized weight."""
    model, path = saved(tmp_path, "WAV2VEC2_BASE")
    state = torch.load(path, weights_only=True)
    for number, letter in enumerate("gv"):
        conv = "encoder.transformer.pos_conv_embed.conv"
        state[f"{conv}.weight_{letter}"] = state.pop(f"{conv}.parametrizations.weight.original{number}")
    torch.save(state, tmp_path / "older.pth")
    older, newer = (build("WAV2VEC2_BASE", pretrained=file) for file in (tmp_path / "older.pth", path))
    assert torch.equal(older(digits[0][None]).pooled, newer(digits[0][None]).pooled)


def test_random_weights_are_not_frozen_and_others_not_downloaded(tmp_path, monkeypatch):
    assert not build("WAV2VEC2_BASE", pretrained=False).frozen
    assert build("WAV2VEC2_BASE", pretrained=False, frozen=True).frozen
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises(MissingDataError, match="'torchaudio:WAV2VEC2_BASE'.*download=True"):
        build("WAV2VEC2_BASE")
    (tmp_path / "checkpoints").mkdir()
    _, path = saved(tmp_path, "WAV2VEC2_BASE")
    path.rename(tmp_path / "checkpoints" / "wav2vec2_fairseq_base_ls960.pth")
    assert build("WAV2VEC2_BASE").frozen
    saved(tmp_path, "WAVLM_BASE")
    with pytest.raises(DataError, match="'torchaudio:WAV2VEC2_BASE' lack"):
        build("WAV2VEC2_BASE", pretrained=path)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "WAV2VEC_BASE",
            {},
            "'WAV2VEC_BASE'.*'WAV2VEC2_BASE'",
        ),
        (
            "WAV2VEC2_BASE",
            {"pretrained": False, "tune_from": 3},
            "tune_from is 3.*'torchaudio:WAV2VEC2_BASE'",
        ),
        ("WAV2VEC2_BASE", {"subsampling": 0}, "subsampling is 0"),
        ("WAV2VEC2_BASE", {"pooling": "own"}, "'own'.* max, mean, mean_max"),
    ],
)
def test_invalid_arguments_raise(name, options, message):
    with pytest.raises(ConfigError, match=message):
        build(name, **options)
