from typing import NamedTuple

import pytest
import torch

from mmcl.precision import in_precision, resolved

CPU = torch.device("cpu")


class Output(NamedTuple):
    logits: torch.Tensor
    views: dict[str, torch.Tensor]
    labels: torch.Tensor
    name: str


def test_outputs_are_float32_and_computed_in_bfloat16():
    torch.manual_seed(0)
    layer, batch = torch.nn.Linear(8, 4), torch.randn(3, 8)

    def model(rows):
        return Output(layer(rows), {"audio": layer(rows)}, torch.tensor([1, 2, 3]), "three")

    exact, mixed = (in_precision(model, batch, CPU, precision) for precision in ("32", "bf16-mixed"))
    assert isinstance(mixed, Output) and mixed.name == "three" and mixed.labels.dtype == torch.long
    for one, other in ((exact.logits, mixed.logits), (exact.views["audio"], mixed.views["audio"])):
        assert other.dtype == torch.float32 and not torch.equal(one, other)
        torch.testing.assert_close(one, other, atol=0.05, rtol=0.05)
    assert torch.equal(exact.logits, layer(batch))
    mixed.logits.sum().backward()
    assert layer.weight.grad.dtype == torch.float32 and layer.weight.grad.abs().sum() == pytest.approx(
        4 * batch.sum(0).abs().sum().item(), rel=0.02
    )


@pytest.mark.parametrize(("capabilities", "expected"), [
    ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, "32"),
    ({"avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, "bf16-mixed"),
    ({"sve": True, "sve_bf16": True}, "bf16-mixed"),
])  # fmt: skip
def test_auto_is_bfloat16_where_the_processor_computes_in_it(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert resolved("auto", CPU) == expected
    assert resolved("32", CPU) == "32" and resolved("bf16-mixed", CPU) == "bf16-mixed"
    layer, batch = torch.nn.Linear(8, 4), torch.randn(3, 8)
    assert torch.equal(in_precision(layer, batch, CPU, "auto"), in_precision(layer, batch, CPU, expected))


@pytest.mark.parametrize(("is_supported", "expected"), [(False, "32"), (True, "bf16-mixed")])
def test_auto_on_a_gpu_does_not_take_emulated_bfloat16(monkeypatch, is_supported, expected):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: is_supported or including_emulation
    )
    assert resolved("auto", torch.device("cuda")) == expected
