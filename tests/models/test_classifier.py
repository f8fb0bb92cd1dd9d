import copy

import pytest
import torch

from mmcl.batch import Batch, collate
from mmcl.data import SpokenDigits
from mmcl.data.audio import load_audio
from mmcl.encoders import build_encoder, cached_features
from mmcl.errors import ConfigError
from mmcl.freeze import frozen_copy
from mmcl.models import SLUClassifier


def test_audio_and_its_cached_features_give_the_same_logits(data_dir, tmp_path):
    digits = SpokenDigits(data_dir / "fsdd", "test", speakers="george")
    torch.manual_seed(0)
    model = SLUClassifier(build_encoder("audio", "cnn", dim=32), hidden=16).eval()
    model.grow(range(10))
    samples = [digits[row] for row in (0, 7, 20)]
    direct = model(collate(samples)).logits
    cached = cached_features(digits, model.encoder, tmp_path, half=False, progress=False)
    assert torch.allclose(direct, model(cached.batch(torch.tensor([0, 7, 20]))).logits, atol=1e-4)


def test_silence_and_padding_give_finite_gradients(data_dir):
    model = SLUClassifier(build_encoder("audio", "cnn", dim=32), hidden=16)
    model.grow(range(3))
    speech = load_audio(sorted((data_dir / "fsdd" / "recordings").glob("*.wav"))[0])
    logits = model(collate([{"audio": torch.zeros(1600)}, {"audio": speech}])).logits
    logits.sum().backward()
    assert logits.isfinite().all() and all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_standardize_scales_features_to_mean_0_and_deviation_1():
    model = SLUClassifier(build_encoder("audio", "cnn", dim=8), hidden=4)
    features = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 8) + 5
    model.standardize(features)
    scaled = features * model.gain + model.offset
    assert scaled.mean(0).abs().max() < 1e-3 and (scaled.std(0) - 1).abs().max() < 1e-3


def with_texts(frozen=True):
    """A classifier with a text encoder, and the list of texts that the encoder has seen."""
    torch.manual_seed(0)
    text = build_encoder("text", "words", dim=8, frozen=frozen)
    model = SLUClassifier(build_encoder("audio", "cnn", dim=8), hidden=4, text_encoder=text, projection=6)
    calls = []
    text.register_forward_hook(lambda module, inputs, output: calls.append(inputs[0]))
    return model, calls


def test_a_frozen_encoder_encodes_each_text_once():
    model, calls = with_texts()
    first = model.project_text(Batch(text=["a latte", "tea", "tea"]))
    again = model.project_text(Batch(text=["tea", "a latte"]))
    assert calls == [["a latte", "tea"]] and first.shape == (3, 6)
    assert torch.equal(first[1], first[2]) and torch.allclose(first[[1, 0]], again)


def test_the_audio_text_space_needs_a_text_encoder():
    model = SLUClassifier(build_encoder("audio", "cnn", dim=8), hidden=4)
    with pytest.raises(ConfigError, match="text_encoder"):
        model.project_audio(torch.zeros(1, 4))


def test_the_texts_of_a_trained_encoder_are_not_cached():
    model, calls = with_texts(frozen=False)
    for _ in range(2):
        model.project_text(Batch(text=["tea"]))
    assert calls == [["tea"], ["tea"]]


def test_cached_texts_follow_the_dtype_of_the_model():
    model, _ = with_texts()
    single = model.project_text(Batch(text=["tea", "a latte"]))
    double = model.double().project_text(Batch(text=["tea", "a latte"]))
    assert double.dtype == torch.float64 and torch.allclose(double.float(), single, atol=1e-6)
    assert torch.allclose(model.float().project_text(Batch(text=["tea", "a latte"])), single)


@pytest.mark.parametrize("copy_of", [copy.deepcopy, frozen_copy])
def test_a_copy_of_the_model_does_not_hold_the_cached_texts(copy_of):
    model, _ = with_texts()
    expected = model.project_text(Batch(text=["tea", "a latte"]))
    other = copy_of(model)
    assert len(model._encoded_texts) == 2 and len(other._encoded_texts) == 0
    assert torch.equal(other.project_text(Batch(text=["tea", "a latte"])), expected)


def test_loading_weights_empties_the_cache():
    model, _ = with_texts()
    before = model.project_text(Batch(text=["tea"]))
    state = model.state_dict()
    changed = {name: value + 1 if name.startswith("text_encoder.") else value for name, value in state.items()}
    model.load_state_dict(changed)
    assert not torch.equal(model.project_text(Batch(text=["tea"])), before)
