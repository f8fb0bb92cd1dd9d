"""Tests of experts in transformers: equality at the start, routes, gradients, growth and bad input."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    T5Config,
    T5EncoderModel,
    ViTConfig,
    ViTModel,
    WhisperConfig,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from mmcl.errors import ConfigError, InputError, ShapeError
from mmcl.models.experts import Experts, add_experts

SMALL = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
TOKENS = torch.arange(30).view(5, 6)
IDS = [2, 0, 2, 1, 0]


def bert():
    torch.manual_seed(0)
    return BertModel(BertConfig(**SMALL, vocab_size=40)).eval()


def models():
    whisper = {"encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 12, "num_mel_bins": 4}
    yield "bert", bert(), TOKENS, 4
    distil = DistilBertConfig(vocab_size=40, dim=8, n_layers=2, n_heads=2, hidden_dim=12)
    yield "distilbert", DistilBertModel(distil).eval(), TOKENS, 2
    t5 = T5Config(vocab_size=40, d_model=8, d_kv=4, d_ff=12, num_layers=2, num_heads=2)
    yield "t5", T5EncoderModel(t5).eval(), TOKENS, 2
    vit = ViTConfig(**SMALL, image_size=8, patch_size=4)
    yield "vit", ViTModel(vit).eval(), torch.rand(5, 3, 8, 8), 2
    small = WhisperConfig(d_model=8, max_source_positions=10, **whisper)
    yield "whisper", WhisperEncoder(small).eval(), torch.rand(5, 4, 20), 4


@pytest.mark.parametrize(("model", "given", "layers"), [pytest.param(*each, id=name) for name, *each in models()])
def test_at_the_start_every_route_computes_what_the_model_did(model, given, layers):
    expected = model(given).last_hidden_state.detach()
    route = add_experts(model, 3)
    assert len(route.layers) == layers == sum(isinstance(each, Experts) for each in model.modules())
    for expert in range(3):
        route.assign([expert] * 5)
        assert torch.equal(model(given).last_hidden_state, expected)
    route.assign(IDS)
    assert torch.allclose(model(given).last_hidden_state, expected, atol=1e-6)


def test_each_sample_is_computed_by_its_own_expert():
    model = bert()
    route = add_experts(model, 3)
    with torch.no_grad():
        for layer in route.layers:
            for number, expert in enumerate(layer.experts):
                for parameter in expert.parameters():
                    parameter.add_(0.1 * number)
        route.assign(torch.tensor(IDS))
        found = model(TOKENS).last_hidden_state
        for row, expert in enumerate(IDS):
            route.assign([expert])
            alone = model(TOKENS[row : row + 1]).last_hidden_state[0]
            assert torch.allclose(found[row], alone, atol=1e-5)
    assert not torch.allclose(found[0], found[1], atol=0.1)


def test_experts_without_samples_get_no_gradient_and_stay_to_the_last_bit():
    model = bert()
    route = add_experts(model, 3)
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), 0.1, weight_decay=0.5)
    route.assign([1, 1, 0, 1, 0])
    model(TOKENS).last_hidden_state.square().sum().backward()
    optimizer.step()
    for name, value in model.state_dict().items():
        if ".experts." in name:
            assert torch.equal(value, before[name]) == (".experts.2." in name)
    assert all(each.grad is None for layer in route.layers for each in layer.experts[2].parameters())


def test_a_new_expert_starts_as_a_copy_and_is_trained_alone():
    model = bert()
    route = add_experts(model, 1)
    route.assign([0] * 5)
    expected = model(TOKENS).last_hidden_state
    assert route.grow(0) == 1 and route.count == 2
    route.train_only(1)
    route.assign([1] * 5)
    found = model(TOKENS).last_hidden_state
    assert torch.equal(found, expected)
    trained = {name for name, each in model.named_parameters() if ".experts." in name and each.requires_grad}
    assert trained and all(".experts.1." in name for name in trained)


def test_a_model_with_experts_is_saved_and_copied():
    model, other = bert(), bert()
    route = add_experts(model, 2)
    with torch.no_grad():
        for each in route.layers[0].experts[1].parameters():
            each.add_(1)
    again = add_experts(other, 2)
    other.load_state_dict(model.state_dict())
    route.assign([1] * 5)
    again.assign([1] * 5)
    expected = model(TOKENS).last_hidden_state
    assert torch.equal(other(TOKENS).last_hidden_state, expected)
    assert torch.equal(copy.deepcopy(model)(TOKENS).last_hidden_state, expected)


def test_bad_input():
    model = bert()
    with pytest.raises(ConfigError, match="count is 0"):
        add_experts(model, 0)
    with pytest.raises(ConfigError, match="Sequential"):
        add_experts(nn.Sequential(nn.Linear(2, 2)), 2)
    route = add_experts(model, 2)
    for wrong in ([0, 2, 0, 0, 0], [0, -1, 0, 0, 0]):
        with pytest.raises(InputError, match=f"sample 1 has expert {wrong[1]}, expected 0 to 1"):
            route.assign(wrong)
    with pytest.raises(InputError, match=r"0\.5"):
        route.assign([0, 0.5])
    for call in (route.grow, route.train_only):
        with pytest.raises(InputError, match="expert is 2"):
            call(2)
    with pytest.raises(ShapeError, match="5 samples"):
        model(TOKENS)
    route.assign([0, 1, 1])
    with pytest.raises(ShapeError, match="5 samples.* 3"):
        model(TOKENS)
