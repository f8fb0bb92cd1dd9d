import pytest
import torch

from mmcl.batch import Batch, collate
from mmcl.data import SpokenDigits
from mmcl.data.audio import load_audio
from mmcl.encoders import build_encoder, cached_features
from mmcl.errors import ConfigError, LabelError
from mmcl.models import GrowingHead, SLUClassifier


def test_growing_keeps_the_weights_of_earlier_classes():
    head = GrowingHead(4)
    head.grow([1])
    before = head.weight[1].clone()
    head.grow([0, 3])
    assert head.weight.shape == (4, 4) and torch.equal(head.weight[1], before)
    assert head.seen.tolist() == [True, True, False, True]
    head.grow([3])
    assert head.weight.shape == (4, 4)


def test_a_class_that_has_not_arrived_is_never_predicted_and_gets_no_gradient():
    head = GrowingHead(4)
    head.grow([0, 3])
    logits = head(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))
    assert logits[:, 1:3].isneginf().all() and logits[:, [0, 3]].isfinite().all()
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 3, 0, 3, 0, 3])).backward()
    assert not head.weight.grad[1:3].any() and head.weight.grad[[0, 3]].all()


def test_a_head_that_is_drawn_anew_keeps_its_columns():
    head = GrowingHead(4)
    head.grow([0, 3])
    before = head.weight.clone()
    head.reset_parameters()
    assert not torch.isclose(head.weight, before).any() and head.weight.abs().max() <= 0.5  # 1 / sqrt(4)
    assert head.seen.tolist() == [True, False, False, True]


def test_a_negative_label_is_refused():
    with pytest.raises(LabelError, match="label -1 is negative"):
        GrowingHead(4).grow([-1])


def test_a_saved_head_is_loaded_whatever_its_size():
    saved, small, large = GrowingHead(4), GrowingHead(4), GrowingHead(4)
    saved.grow([0, 2])
    large.grow(range(7))
    for head in (small, large):
        head.load_state_dict(saved.state_dict())
        assert torch.equal(head.weight, saved.weight) and torch.equal(head.seen, saved.seen)


def test_audio_and_its_cached_features_give_the_same_logits(data_dir, tmp_path):
    digits = SpokenDigits(data_dir / "fsdd", "test", speakers="george")
    torch.manual_seed(0)
    model = SLUClassifier(build_encoder("audio", "cnn", dim=32), hidden=16).eval()
    model.grow(range(10))
    samples = [digits[row] for row in (0, 7, 20)]
    direct = model(collate(samples)).logits
    cached = cached_features(digits, model.encoder, tmp_path, half=False, progress=False)
    assert torch.allclose(direct, model(cached.batch(torch.tensor([0, 7, 20]))).logits, atol=1e-4)


def test_silence_and_padding_are_no_trouble(data_dir):
    model = SLUClassifier(build_encoder("audio", "cnn", dim=32), hidden=16)
    model.grow(range(3))
    speech = load_audio(sorted((data_dir / "fsdd" / "recordings").glob("*.wav"))[0])
    logits = model(collate([{"audio": torch.zeros(1600)}, {"audio": speech}])).logits
    logits.sum().backward()
    assert logits.isfinite().all() and all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_standardize_brings_features_to_mean_0_and_deviation_1():
    model = SLUClassifier(build_encoder("audio", "cnn", dim=8), hidden=4)
    features = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 8) + 5
    model.standardize(features)
    scaled = features * model.gain + model.offset
    assert scaled.mean(0).abs().max() < 1e-3 and (scaled.std(0) - 1).abs().max() < 1e-3


def test_texts_of_a_frozen_encoder_are_encoded_once():
    text = build_encoder("text", "words", dim=8, frozen=True)
    model = SLUClassifier(build_encoder("audio", "cnn", dim=8), hidden=4, text_encoder=text, projection=6)
    calls = []
    text.register_forward_hook(lambda module, inputs, output: calls.append(inputs[0]))
    first = model.project_text(Batch(text=["a latte", "tea", "tea"]))
    again = model.project_text(Batch(text=["tea", "a latte"]))
    assert calls == [["a latte", "tea"]] and first.shape == (3, 6)
    assert torch.equal(first[1], first[2]) and torch.allclose(first[[1, 0]], again)


def test_without_text_encoder_there_is_no_audio_text_space():
    model = SLUClassifier(build_encoder("audio", "cnn", dim=8), hidden=4)
    with pytest.raises(ConfigError, match=r'pass text_encoder=build_encoder\("text", "words"\)'):
        model.project_audio(torch.zeros(1, 4))
