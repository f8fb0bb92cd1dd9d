import pytest
import torch
from safetensors.torch import load_file, save_file
from speechbrain.lobes.features import Fbank
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from speechbrain.processing.features import InputNormalization
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from mmcl.batch import collate
from mmcl.encoders import build_encoder, cached_features
from mmcl.encoders.speechbrain_lobes import _relative
from mmcl.errors import ConfigError, DataError, MissingDataError, ShapeError


def saved(path):
    torch.manual_seed(0)
    network = ECAPA_TDNN(40, lin_neurons=12, channels=[16] * 4 + [48])
    for module in network.modules():
        if hasattr(module, "running_mean") and module.running_mean is not None:
            module.running_mean += 0.1 * torch.randn_like(module.running_mean)
            module.running_var *= 1.5
    torch.save(network.state_dict(), path / "embedding_model.ckpt")
    return network.eval(), path


def build(path, **options):
    return build_encoder("audio", "speechbrain:ecapa", weights=path, **options)


def test_a_single_utterance_equals_upstream(tmp_path, digits):
    network, path = saved(tmp_path)
    encoder = build(path)
    normalize = InputNormalization(norm_type="sentence", std_norm=False)
    assert (encoder.dim, encoder.pooled_dim, encoder.frozen) == (48, 12, True)
    for audio in digits:
        frames = normalize(Fbank(n_mels=40)(audio[None]), torch.ones(1))
        with torch.no_grad():
            expected = network(frames)[:, 0]
        encoded = encoder(audio[None])
        assert (encoded.pooled - expected).abs().max() < 1e-4 * expected.abs().max()
        assert encoded.sequence.shape == (1, frames.shape[1], 48) and encoded.lengths.tolist() == [frames.shape[1]]


@pytest.mark.parametrize("options", [{}, {"tune_from": 2}, {"frozen": False}, {"pooling": "mean_max"}])
def test_a_padded_batch_equals_its_utterances(options, tmp_path, digits):
    encoder = build(saved(tmp_path)[1], **options).eval()
    audios = [*digits, digits[0][:800], torch.cat([digits[1][:3000], torch.ones(15)])]  # short, or loudest at the end
    batch = collate([{"audio": audio} for audio in audios])
    noisy = batch["audio"] + 0.5 * (~batch.mask("audio")).float()
    for waveforms in (batch["audio"], noisy):
        encoded = encoder(waveforms, batch["audio_lengths"])
        for row, audio in enumerate(audios):
            alone = encoder(audio[None])
            length = int(alone.lengths[0])
            assert encoded.lengths[row] == length == alone.sequence.shape[1]
            assert (encoded.sequence[row, :length] - alone.sequence[0]).abs().max() < 1e-4
            assert (encoded.pooled[row] - alone.pooled[0]).abs().max() < 1e-4
            assert not encoded.sequence[row, length:].any()


def test_relative_lengths_are_exact():
    """SpeechBrain compares steps with relative lengths; rounding must not change the result."""
    for steps in range(1, 400):
        lengths = torch.arange(1, steps + 1)
        mask = torch.arange(steps)[None, :] < (_relative(lengths, steps) * steps)[:, None]
        assert torch.equal(mask.sum(1), lengths)


@pytest.mark.parametrize("tune_from", [0, 1, 2, 3])
def test_tuning_gives_equal_outputs_and_trains_the_upper_layers(tune_from, tmp_path, batch):
    _, path = saved(tmp_path)
    frozen, tuned = build(path), build(path, tune_from=tune_from)
    assert not frozen.train().training and not any(parameter.requires_grad for parameter in frozen.parameters())
    features, lengths = tuned.train().frozen_features(batch["audio"], batch["audio_lengths"])
    assert not features.requires_grad and features.shape[2] == {0: 40, 1: 16, 2: 16, 3: 32}[tune_from]
    encoded = tuned.eval().from_features(features, lengths)
    expected = frozen(batch["audio"], batch["audio_lengths"])
    assert (encoded.pooled - expected.pooled).abs().max() < 1e-4 and not expected.pooled.requires_grad
    encoded.pooled.square().sum().backward()
    trained = {name: parameter for name, parameter in tuned.named_parameters() if parameter.requires_grad}
    assert all(parameter.grad is not None for parameter in trained.values())
    assert {int(name.split(".")[2]) for name in trained if ".blocks." in name} == set(range(tune_from, 4))
    assert {name.split(".")[1] for name in trained} == {"blocks", "mfa", "asp", "asp_bn", "fc"}
    before = tuned.fingerprint()
    assert before == build(path, tune_from=tune_from).fingerprint() != frozen.fingerprint()
    tuned.network.blocks[3].tdnn1.conv.conv.bias.data += 1
    assert tuned.fingerprint() == before
    assert frozen.fingerprint() not in (
        build(path, pooling="max").fingerprint(),
        build(None, frozen=True).fingerprint(),
    )


def test_features_are_cached(tmp_path, spoken):
    encoder = build(saved(tmp_path)[1])
    kept = cached_features(spoken, encoder, tmp_path / "cache", progress=False, batch_size=2)
    for row in range(len(spoken)):
        assert (kept[row]["features"] - encoder(spoken[row]["audio"][None]).pooled[0]).abs().max() < 1e-4


def test_random_weights_are_not_frozen():
    encoder = build(None, channels=16, dim=8, mels=40)
    assert not encoder.frozen and all(p.requires_grad for p in encoder.network.parameters())
    assert encoder(torch.randn(3, 4000)).pooled.shape == (3, 8)


def test_weights_from_files(tmp_path, digits):
    network, path = saved(tmp_path)
    save_file(network.state_dict(), tmp_path / "other.safetensors")
    expected = build(path)(digits[0][None]).pooled
    for file in (path / "embedding_model.ckpt", path / "other.safetensors", str(path)):
        assert torch.equal(build(file)(digits[0][None]).pooled, expected)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingDataError, match="empty'.* embedding_model.ckpt"):
        build(tmp_path / "empty")
    with pytest.raises(MissingDataError, match="nothing.ckpt'"):
        build(tmp_path / "nothing.ckpt")
    with pytest.raises(MissingDataError, match="'speechbrain:ecapa speechbrain/spkrec-ecapa-voxceleb'.*download"):
        build("speechbrain/spkrec-ecapa-voxceleb")
    torch.save({"weight": torch.ones(1)}, tmp_path / "wrong.pt")
    with pytest.raises(DataError, match=r"'speechbrain:ecapa' lack \d+"):
        build(tmp_path / "wrong.pt")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 12}, "channels=12, dim=192, mels=80"),
        ({"dim": 0}, "dim=0, mels=80"),
        ({"channels": 8, "tune_from": 4}, "tune_from is 4.*'speechbrain:ecapa'"),
        ({"source": "a/b"}, "'source'.*'speechbrain:ecapa'"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(ConfigError, match=message):
        build_encoder("audio", "speechbrain:ecapa", **options)


def test_a_too_short_utterance_raises():
    encoder = build(None, channels=8, frozen=True)
    assert encoder(torch.randn(1, 640)).pooled.isfinite().all()
    with pytest.raises(ShapeError, match="utterance 1 .*639 samples.* 640"):
        encoder(torch.randn(2, 800), torch.tensor([800, 639]))


@pytest.mark.parametrize("normalize", [True, False])
def test_wav2vec2_equals_the_lobe_without_padding(normalize, tmp_path, digits):
    torch.manual_seed(0)
    sizes = dict(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(8, 8, 8),
        conv_stride=(10, 8, 4), conv_kernel=(10, 8, 5), num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    Wav2Vec2Model(Wav2Vec2Config(**sizes)).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(do_normalize=normalize).save_pretrained(tmp_path)
    encoder = build_encoder("audio", "speechbrain:wav2vec2", source=tmp_path)
    from speechbrain.integrations.huggingface.wav2vec2 import Wav2Vec2

    lobe = Wav2Vec2(str(tmp_path), str(tmp_path), freeze=True).eval()
    assert encoder.frozen and encoder.normalize == normalize
    batch = collate([{"audio": audio} for audio in digits])
    encoded = encoder(batch["audio"], batch["audio_lengths"])
    for row, audio in enumerate(digits):
        expected = lobe(audio[None])[0]
        assert encoded.lengths[row] == len(expected)
        assert (encoded.sequence[row, : len(expected)] - expected).abs().max() < 1e-3
    same = build_encoder("audio", tmp_path)
    assert same.fingerprint() == encoder.fingerprint()
    tuned = build_encoder("audio", "speechbrain:wav2vec2", source=tmp_path, tune_from=1)
    assert tuned.tune_from == 1 and not tuned.frozen
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.layers.1.attention.k_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match="1 .*'encoder.layers.1.attention"):
        build_encoder("audio", "speechbrain:wav2vec2", source=tmp_path)


def test_invalid_sources_of_wav2vec2_raise(weights_dir, tmp_path):
    for options, error, message in (
        ({}, ConfigError, "'speechbrain:wav2vec2'.* source"),
        (
            {"source": weights_dir / "all-MiniLM-L6-v2"},
            ConfigError,
            "'bert'.* wav2vec2",
        ),
        ({"source": "nobody/nothing"}, MissingDataError, "'nobody/nothing'.*download"),
    ):
        with pytest.raises(error, match=message):
            build_encoder("audio", "speechbrain:wav2vec2", **options)
