from typing import NamedTuple

import pytest
import torch

from mmcl.precision import in_precision

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
