import copy
import importlib.util

import pytest
import torch

from mmcl.encoders import build_encoder
from mmcl.encoders.lora import LoRA
from mmcl.encoders.saved import describe_encoder, rebuild_encoder
from mmcl.errors import CheckpointError, ConfigError
from mmcl.freeze import trainable_state

KINDS = ["whisper", "wav2vec2", "wavlm", "vit", "clip", "bert"]


def example(modality):
    torch.manual_seed(1)
    if modality == "text":
        return ["turn on the lights", "no"]
    return torch.randn(2, 8000) if modality == "audio" else torch.rand(2, 3, 32, 32)


def adapters_of(encoder):
    """Linear layers that have adapters, by name."""
    return {name: each for name, each in encoder.named_modules() if hasattr(each, "lora_A")}


def set_at_random(encoder):
    torch.manual_seed(2)
    for each in adapters_of(encoder).values():
        for weight in (each.lora_A["default"].weight, each.lora_B["default"].weight):
            torch.nn.init.normal_(weight, std=0.3)


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_start_as_the_frozen_encoder_and_alone_have_gradients(kind, small_pretrained):
    modality, path = small_pretrained(kind)
    frozen = build_encoder(modality, path).eval()
    encoder = build_encoder(modality, path, tune_from=1, lora={"rank": 4})
    inputs = example(modality)
    encoded = encoder.eval()(inputs)
    torch.testing.assert_close(encoded.pooled, frozen(inputs).pooled, rtol=1e-4, atol=1e-5)
    encoded.pooled.square().sum().backward()
    given = {name for name, each in encoder.named_parameters() if each.grad is not None}
    assert given and all(".lora_" in name for name in given)
    assert given == {name for name, each in encoder.named_parameters() if each.requires_grad}
    assert given == set(trainable_state(encoder)) & {name for name, _ in encoder.named_parameters()}
    count = sum(4 * sum(each.base_layer.weight.shape) for each in adapters_of(encoder).values())
    assert sum(each.numel() for each in encoder.parameters() if each.requires_grad) == count
    assert not any(".0." in name for name in adapters_of(encoder))  # layer 0 is below tune_from


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_equal_weights_changed_by_hand(kind, small_pretrained):
    modality, path = small_pretrained(kind)
    encoder = build_encoder(modality, path, tune_from=1, lora=LoRA(rank=3, alpha=5.0)).double().eval()
    by_hand = build_encoder(modality, path, tune_from=1).double().eval()
    inputs = example(modality)
    if modality != "text":
        inputs = inputs.double()
    before = encoder(inputs).pooled
    set_at_random(encoder)
    with torch.no_grad():
        for name, each in adapters_of(encoder).items():
            a, b = each.lora_A["default"].weight, each.lora_B["default"].weight
            by_hand.get_submodule(name).weight += 5 / 3 * b @ a
    found = encoder(inputs).pooled
    torch.testing.assert_close(found, by_hand(inputs).pooled)
    assert not torch.allclose(found, before, atol=1e-3)
    for each in adapters_of(encoder).values():
        each.merge()
    torch.testing.assert_close(encoder(inputs).pooled, found)


@pytest.mark.parametrize("kind", ["whisper", "vit"])
def test_features_of_the_frozen_layers_are_those_of_tuned_layers(kind, small_pretrained):
    modality, path = small_pretrained(kind)
    encoder, tuned = (build_encoder(modality, path, tune_from=2, **each) for each in ({"lora": {}}, {}))
    assert encoder.fingerprint() == tuned.fingerprint()
    whole = build_encoder(modality, path, lora={"rank": 2})
    assert whole.fingerprint() == build_encoder(modality, path, tune_from=0).fingerprint()
    assert len(adapters_of(whole)) > len(adapters_of(encoder))


@pytest.mark.parametrize("kind", ["whisper", "bert"])
def test_an_encoder_is_rebuilt_from_its_description(kind, small_pretrained):
    modality, path = small_pretrained(kind)
    settings = {"rank": 2, "targets": ["q_proj"] if kind == "whisper" else ["query"], "dropout": 0.1}
    encoder = build_encoder(modality, path, lora=settings)
    assert len(adapters_of(encoder)) == (3 if kind == "whisper" else 6)
    described = describe_encoder(encoder)
    assert described["encoder"]["lora"] == {"alpha": 16.0, **settings} and described["fingerprint"] is not None
    described["encoder"]["name"] = str(path)
    rebuilt = rebuild_encoder(described, path, encoders=[build_encoder(modality, path, lora=settings)])
    set_at_random(encoder)
    rebuilt.load_state_dict(trainable_state(encoder), strict=False)
    inputs = example(modality)
    assert torch.equal(encoder.eval()(inputs).pooled, rebuilt.eval()(inputs).pooled)
    with pytest.raises(CheckpointError, match="'rnak'"):
        rebuild_encoder({**described, "encoder": {**described["encoder"], "lora": {"rnak": 2}}}, path)


def test_a_copy_has_adapters_of_its_own(small_pretrained):
    encoder = build_encoder(*small_pretrained("whisper"), lora={"rank": 2}).eval()
    other, inputs = copy.deepcopy(encoder), example("audio")
    set_at_random(other)
    assert not torch.equal(other(inputs).pooled, encoder(inputs).pooled)


@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        ("whisper", {"lora": {"rnak": 2}}, "'rnak'.*'rank'"),
        ("whisper", {"lora": {"rank": 0}}, "rank=0"),
        ("whisper", {"lora": {"rank": 17}}, "17.*16 wide"),
        ("whisper", {"lora": {"targets": ["query"]}}, "'query'.*q_proj"),
        ("wavlm", {"lora": {"targets": ["q_proj"]}}, "'q_proj'.*output_dense"),  # its attention reads the weight alone
        ("whisper", {"lora": {}, "frozen": True}, "frozen=True"),
        ("whisper", {"lora": {}, "tune_from": 3}, "tune_from is 3"),
    ],
)
def test_invalid_settings_raise(kind, settings, named, small_pretrained):
    modality, path = small_pretrained(kind)
    with pytest.raises(ConfigError, match=named):
        build_encoder(modality, path, **settings)


def test_other_encoders_have_no_layers_for_adapters():
    with pytest.raises(ConfigError, match="'cnn'.*lora"):
        build_encoder("audio", "cnn", lora={})
    with pytest.raises(ConfigError, match=r"'torchvision:resnet18'.*Whisper"):
        build_encoder("image", "torchvision:resnet18", lora={})


def test_a_missing_library_names_the_extra(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr("mmcl.encoders.lora.find_spec", lambda name: None if name == "peft" else found(name))
    with pytest.raises(ConfigError, match=r"pip install 'mmcl\[peft\]'"):
        build_encoder("audio", "openai/whisper-base", lora={"rank": 2})
