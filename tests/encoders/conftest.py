"""Fixtures: real speech, images, small pretrained models, and a check of image towers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mmcl.batch import collate
from mmcl.data.audio import load_audio
from mmcl.encoders import cached_features

DIGITS = ("0_george_0", "7_jackson_3", "3_theo_12", "9_yweweler_1", "6_nicolas_4")


@pytest.fixture(scope="session")
def digit_paths(data_dir):
    """Paths of recorded digits with different speakers and lengths."""
    paths = [data_dir / "fsdd" / "recordings" / f"{name}.wav" for name in DIGITS]
    if not all(path.exists() for path in paths):
        pytest.skip("MMCL_DATA has no spoken digits")
    return paths


@pytest.fixture(scope="session")
def digits(digit_paths):
    """Waveforms of the recorded digits."""
    return [load_audio(path) for path in digit_paths]


@pytest.fixture(scope="session")
def batch(digits):
    """Recorded digits as one padded batch."""
    return collate([{"audio": audio} for audio in digits])


@pytest.fixture
def make_spoken():
    """Return a function that builds a data set of audio files."""
    return lambda paths: Spoken([SimpleNamespace(id=path.stem, path=path) for path in paths])


@pytest.fixture
def spoken(digit_paths, make_spoken):
    """Data set of the recorded digits."""
    return make_spoken(digit_paths)


@pytest.fixture
def small_pretrained(request, tmp_path):
    """Function that saves a small model of a kind, and returns its modality and folder; for bert, a real one."""
    waves = dict(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, conv_dim=(8, 8, 8),
        conv_stride=(10, 8, 4), conv_kernel=(10, 8, 5), num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    vision = dict(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    text = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=30)
    whole = {"height": 32, "width": 32}

    def save(kind):
        import transformers as hub

        torch.manual_seed(0)
        if kind == "bert":
            return "text", request.getfixturevalue("weights_dir") / "all-MiniLM-L6-v2"
        if kind == "whisper":
            return "audio", request.getfixturevalue("small_whisper")(tmp_path)
        if kind == "wav2vec2":
            model, front_end = hub.Wav2Vec2Model(hub.Wav2Vec2Config(**waves)), hub.Wav2Vec2FeatureExtractor()
        elif kind == "wavlm":
            model, front_end = hub.WavLMModel(hub.WavLMConfig(**waves)), hub.Wav2Vec2FeatureExtractor()
        elif kind == "vit":
            model = hub.ViTModel(hub.ViTConfig(**vision), add_pooling_layer=False)
            front_end = hub.ViTImageProcessor(size=whole)
        else:
            config = hub.CLIPConfig(vision_config=vision, text_config=text, projection_dim=8)
            model, front_end = (
                hub.CLIPModel(config),
                hub.CLIPImageProcessor(crop_size=whole, size={"shortest_edge": 32}),
            )
        model.save_pretrained(tmp_path)
        front_end.save_pretrained(tmp_path)
        return "audio" if kind in ("wav2vec2", "wavlm") else "image", tmp_path

    return save


class Spoken:
    classes = tuple("0123456789")

    def __init__(self, utterances):
        self.utterances = utterances
        self.labels = [int(utterance.id[0]) for utterance in utterances]
        self.texts = [f"digit {label}" for label in self.labels]
        self.decoded = 0

    def __len__(self):
        return len(self.utterances)

    def __getitem__(self, index):
        self.decoded += 1
        utterance = self.utterances[index]
        return {"id": utterance.id, "audio": load_audio(utterance.path), "label": self.labels[index]}


class Pictures:
    """Data set of images."""

    classes = ("a", "b")

    def __init__(self, images):
        self.images = images
        self.labels = [row % 2 for row in range(len(images))]
        self.texts = [self.classes[label] for label in self.labels]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {"id": str(index), "image": self.images[index], "label": self.labels[index]}


@pytest.fixture(scope="session")
def pictures():
    """Data set of smooth images, for which resizing methods differ little."""
    wide, high = torch.linspace(0, 1, 40), torch.linspace(0, 1, 32)
    shades = [(wide[None, :] * (row + 1) + high[:, None] * 2).sin().square() for row in range(4)]
    return Pictures([torch.stack([shade, shade.square(), 1 - shade]) for shade in shades])


@pytest.fixture(scope="session")
def images(pictures):
    """Smooth images as one batch."""
    return torch.stack(pictures.images)


@pytest.fixture
def check_tower(images, pictures, tmp_path):
    """Return a check of the properties of an image encoder; ``build`` returns a new one with equal weights."""

    def check(build, layers):
        frozen, whole = build(frozen=True), build(frozen=False)
        assert frozen.frozen and not frozen.train().training and frozen.modality == "image"
        assert not any(part.training for part in frozen.modules())
        assert not any(parameter.requires_grad for parameter in frozen.parameters())
        expected = frozen(images)
        assert not expected.pooled.requires_grad and expected.pooled.shape == (4, frozen.pooled_dim)
        assert expected.sequence.shape == (4, int(expected.lengths[0]), frozen.dim)

        def difference(pooled, other):
            return ((pooled - other).abs().max() / other.abs().max()).item()

        alone = torch.cat([frozen(image[None]).pooled for image in images])
        assert difference(alone, expected.pooled) < 1e-4 < difference(alone[0], alone[1])
        assert difference(frozen(images[:, :1]).pooled, frozen(images[:, [0, 0, 0]]).pooled) < 1e-6

        assert not whole.frozen and whole.train().training
        assert all(parameter.requires_grad for parameter in whole.parameters())
        assert whole.fingerprint() == build(frozen=False).fingerprint()
        builds = [frozen, whole, *(build(tune_from=first) for first in layers)]
        assert len({encoder.fingerprint() for encoder in builds}) == len(builds)
        assert frozen.fingerprint() == build(frozen=True).fingerprint()
        assert frozen.fingerprint() != build(frozen=True, pooling="max").fingerprint()
        for encoder in builds:
            features, lengths = encoder.eval().frozen_features(images)
            assert features.dim() == 3 and not features.requires_grad and lengths.tolist() == [features.shape[1]] * 4
            assert torch.equal(encoder.train().frozen_features(images)[0], features), "also in training mode"
            encoded = encoder.eval().from_features(features, lengths)
            assert difference(encoded.pooled, expected.pooled) < 1e-4
            assert torch.equal(encoded.pooled, encoder(images).pooled)
            kept = cached_features(pictures, encoder, tmp_path, keep="sequence", half=False, progress=False)
            batch = kept.batch(torch.arange(4))
            again = encoder.from_features(batch["features"], batch["features_lengths"])
            assert difference(again.pooled, expected.pooled) < 1e-4
        for encoder in builds[1:]:
            encoder(images).pooled.square().sum().backward()
            used = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
            assert used and used <= {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
        for first, encoder in zip(layers, builds[2:], strict=True):
            inside = [{id(p) for p in layer.parameters()} for layer in encoder.tower.layers]
            trained = {id(p) for p in encoder.parameters() if p.requires_grad}
            assert all(part <= trained for part in inside[first:])
            assert not any(part & trained for part in inside[:first])
            before = encoder.fingerprint()
            next(encoder.tower.layers[first].parameters()).data += 1
            assert encoder.fingerprint() == before
            next(parameter for parameter in encoder.parameters() if not parameter.requires_grad).data += 1
            assert encoder.fingerprint() != before
            front = {
                id(p)
                for part in encoder.tower.front_parts
                for p in (part.parameters() if hasattr(part, "parameters") else [part])
            }
            assert not front & trained
        pooled = cached_features(pictures, frozen, tmp_path, progress=False).batch(torch.arange(4))["features"]
        assert difference(pooled, expected.pooled) < 1e-4
        return frozen, expected

    return check
