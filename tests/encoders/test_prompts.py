import copy

import pytest
import torch
from torch.nn.functional import cosine_similarity

from mmcl.encoders import build_encoder
from mmcl.encoders.prompts import Prompts
from mmcl.encoders.saved import describe_encoder, rebuild_encoder
from mmcl.errors import CheckpointError, ConfigError
from mmcl.freeze import trainable_state

KINDS = ["whisper", "wav2vec2", "wavlm", "vit", "clip", "bert"]
FEW = {"size": 4, "top_k": 2, "length": 3}


def example(modality):
    """Two inputs of different length, and their lengths."""
    torch.manual_seed(1)
    if modality == "text":
        return ["turn on all of the lights, please", "no"], None
    if modality == "image":
        return torch.rand(2, 3, 32, 32), None
    audio = torch.randn(2, 8000)
    audio[1, 5000:] = 0
    return audio, torch.tensor([8000, 5000])


def set_at_random(encoder):
    torch.manual_seed(2)
    torch.nn.init.normal_(encoder.pool)
    torch.nn.init.normal_(encoder.keys)
    return encoder


def slow_outputs(kind, encoder, prompts, hidden):
    """Outputs of the first sample's prompts: hidden states without padding through all layers, one after the other."""
    model = encoder.tower.model if kind in ("vit", "clip") else encoder.model
    hidden = torch.cat([prompts, hidden], 1)
    if kind in ("vit", "clip"):
        for layer in encoder.tower.layers:
            hidden = layer(hidden, None)
        return encoder.tower.norm(hidden)
    if kind == "whisper":
        for layer in model.layers:
            hidden = layer(hidden, None)
        return model.layer_norm(hidden)
    if kind == "wavlm":
        bias = None
        for layer in model.encoder.layers:
            hidden, bias = layer(hidden, position_bias=bias)
        return hidden
    for layer in model.encoder.layer if kind == "bert" else model.encoder.layers:
        hidden = layer(hidden, attention_mask=None)
    return hidden


@pytest.mark.parametrize("kind", KINDS)
def test_each_sample_gets_the_prompts_of_its_nearest_keys(kind, small_pretrained):
    modality, path = small_pretrained(kind)
    encoder = set_at_random(build_encoder(modality, path, prompts=FEW)).eval()
    frozen = build_encoder(modality, path).eval()
    inputs, lengths = example(modality)
    found = encoder(inputs, lengths)
    query = frozen(inputs, lengths).pooled
    distances = []
    for row in range(2):
        one = inputs[row : row + 1] if lengths is None else inputs[row : row + 1, : int(lengths[row])]
        similar = [float(cosine_similarity(query[row], key, dim=0)) for key in encoder.keys.detach()]
        nearest = sorted(range(4), key=lambda i: -similar[i])[:2]
        distances.append(sum(1 - similar[i] for i in nearest))
        prompts = torch.cat([encoder.pool[i] for i in nearest])[None]
        features, _ = encoder.frozen_features(one)
        if kind == "bert":
            features = encoder.encoder.model.embeddings(features[:, :, 0])
        outputs = slow_outputs(kind, encoder.encoder, prompts, features)
        torch.testing.assert_close(found.pooled[row], outputs[0, :6].mean(0), rtol=1e-3, atol=1e-4)
    assert float(encoder.key_distance().detach()) == pytest.approx(sum(distances) / 2, abs=1e-4)
    encoder.train()  # the frozen encoder stays in evaluation mode
    torch.testing.assert_close(encoder(inputs, lengths).pooled, found.pooled)
    other = build_encoder(modality, path, prompts={**FEW, "pooled": "encoder"}).eval()
    other.load_state_dict(encoder.state_dict())
    assert other.pooled_dim == frozen.pooled_dim and not torch.allclose(other(inputs, lengths).pooled, query, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_no_prompts_are_the_frozen_encoder(kind, small_pretrained):
    modality, path = small_pretrained(kind)
    encoder = build_encoder(modality, path, tune_from=1, prompts={"top_k": 0, "pooled": "encoder"}).eval()
    frozen, inputs = build_encoder(modality, path).eval(), example(modality)
    torch.testing.assert_close(encoder(*inputs).pooled, frozen(*inputs).pooled, rtol=1e-4, atol=1e-5)
    assert float(encoder.key_distance().detach()) == 0


@pytest.mark.parametrize("kind", ["whisper", "vit"])
def test_prompts_and_keys_alone_are_trained_and_saved(kind, small_pretrained):
    modality, path = small_pretrained(kind)
    encoder, (inputs, lengths) = build_encoder(modality, path, prompts=FEW), example(modality)
    names = {name for name, _ in encoder.named_parameters()}
    assert {name for name, each in encoder.named_parameters() if each.requires_grad} == {"pool", "keys"}
    assert names & set(trainable_state(encoder)) == {"pool", "keys"}
    before = {name: each.clone() for name, each in encoder.named_parameters()}
    optimizer = torch.optim.AdamW([each for each in encoder.parameters() if each.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (encoder(inputs, lengths).pooled.square().sum() + encoder.key_distance()).backward()
        copy.deepcopy(encoder)  # no graph is kept
        optimizer.step()
    changed = {name for name, each in encoder.named_parameters() if not torch.equal(each, before[name])}
    assert changed == {"pool", "keys"}
    tuned = build_encoder(modality, path, tune_from=0)
    assert encoder.fingerprint() == tuned.fingerprint()
    described = describe_encoder(encoder)
    assert described["encoder"]["prompts"]["size"] == 4 and described["fingerprint"] is not None
    rebuilt = rebuild_encoder(described, path, encoders=[build_encoder(modality, path, prompts=FEW)])
    rebuilt.load_state_dict(trainable_state(encoder), strict=False)
    assert torch.equal(rebuilt(inputs, lengths).pooled, encoder(inputs, lengths).pooled)
    other = build_encoder(modality, path, prompts=FEW)
    next(reversed(list(other.encoder.parameters()))).data.add_(1)  # a frozen weight above the cached features
    with pytest.raises(CheckpointError, match="original weights"):
        rebuild_encoder(described, path, encoders=[other])


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"prompts": {"sice": 4}}, "'sice'.*'size'"),
        ({"prompts": {"size": 4}}, "size=4, top_k=5"),
        ({"prompts": {"top_k": 0}}, "top_k=0"),
        ({"prompts": Prompts(), "frozen": True}, "frozen=True"),
        ({"prompts": {}, "lora": {}}, "both"),
    ],
)
def test_invalid_settings_raise(settings, named, small_pretrained):
    modality, path = small_pretrained("whisper")
    with pytest.raises(ConfigError, match=named):
        build_encoder(modality, path, **settings)


def test_other_encoders_take_no_prompts():
    with pytest.raises(ConfigError, match="'cnn'.*prompts"):
        build_encoder("audio", "cnn", prompts={})
    with pytest.raises(ConfigError, match="Whisper"):
        build_encoder("image", "torchvision:resnet18", prompts={})
