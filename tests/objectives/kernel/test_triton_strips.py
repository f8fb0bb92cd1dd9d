"""The Triton kernels compute what the plain path computes in float64, and compile for GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product

import pytest
import torch
from objective_cases import CASES, DIM, draw

from mmcl.objectives import CLIPLoss, NTXentLoss, SigLIPLoss, weighted_info_nce

VALUE, GRADIENT = 1e-5, {torch.float32: 1e-6, torch.bfloat16: 2e-3, torch.float16: 5e-4}


def compare(loss, batch, dtype, device):
    """Return relative errors of value and gradients in a dtype, against float64 by the plain path."""
    given = {key: value.detach().to(device) for key, value in batch.items()}
    for side in ("a", "b"):
        given[side] = given[side].to(dtype).requires_grad_()
    exact = {key: value.detach().cpu() for key, value in given.items()}
    for side in ("a", "b"):
        exact[side] = exact[side].double().requires_grad_()
    value, expected = loss(given), loss(exact)
    value.backward()
    expected.backward()
    errors = [
        float((given[side].grad.cpu().double() - exact[side].grad).norm() / exact[side].grad.norm().clamp(min=1e-6))
        for side in ("a", "b")
        if exact[side].grad is not None
    ]
    return abs(value.item() - expected.item()) / max(abs(expected.item()), 1e-3), max(errors)


@pytest.mark.parametrize("block_size, dtype", [(4, torch.float32), (None, torch.bfloat16)], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_every_objective_equals_the_plain_path(name, dtype, block_size, kernels):
    value, gradient = compare(
        lambda batch: CASES[name](batch, temperature=0.3, block_size=block_size), draw([9]), dtype, kernels
    )
    assert value <= VALUE and gradient <= 1.7 * GRADIENT[dtype]  # few numbers: their rounding does not average out


@pytest.mark.parametrize(
    "rows, block_size, dtype",
    [
        *product([1, 64, 130], [None], [torch.bfloat16]),
        *product([2, 5], [1, 3], [torch.float32]),
        *product([65], [None], [torch.float32, torch.float16]),
    ],
)
@pytest.mark.parametrize("objective", [CLIPLoss, NTXentLoss, SigLIPLoss])
def test_any_number_of_rows(objective, dtype, rows, block_size, kernels):
    loss = objective(0.1, block_size=block_size)
    value, gradient = compare(lambda batch: loss(batch["a"], batch["b"]), draw([rows]), dtype, kernels)
    assert value <= VALUE and gradient <= (1.2 if rows > 60 else 1.7) * GRADIENT[dtype]


@pytest.mark.parametrize("objective", [CLIPLoss, NTXentLoss, SigLIPLoss], ids=lambda each: each.__name__)
def test_gradients_are_exact_where_positives_are_learnt(objective, kernels):
    """The gradient is then the small difference of a slope near 1 and of 1."""
    batch = draw([40])
    batch["b"] = (batch["a"].detach() + 0.1 * batch["b"].detach()).requires_grad_()
    temperature = 0.1 if objective is not SigLIPLoss else 0.05
    _, gradient = compare(lambda given: objective(temperature)(given["a"], given["b"]), batch, torch.bfloat16, kernels)
    assert gradient <= 1.5 * GRADIENT[torch.bfloat16]


@pytest.mark.parametrize("weights", ["matrix", "mask", "empty rows"])
@pytest.mark.parametrize("denominator", [None, "matrix", "mask", "nothing"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_matrices(weights, denominator, dtype, kernels):
    generator = torch.Generator().manual_seed(1)
    given = torch.rand(20, 20, generator=generator)
    mask = given > 0.5
    found = {"matrix": given, "mask": mask, "empty rows": mask & (torch.arange(20) % 3 > 0)[:, None]}[weights]
    others = {None: None, "matrix": 1 - given, "mask": ~mask, "nothing": torch.zeros(20, 20, dtype=torch.bool)}

    def loss(batch):
        device = batch["a"].device
        compared = others[denominator]
        return weighted_info_nce(
            batch["a"], batch["b"], found.to(device), temperature=0.3, block_size=7,
            denominator=None if compared is None else compared.to(device),
        )  # fmt: skip

    value, gradient = compare(loss, draw([20]), dtype, kernels)
    assert value <= VALUE and gradient <= 2 * GRADIENT[dtype]


@pytest.mark.parametrize("normalize", [True, False])
def test_a_temperature_for_each_query(normalize, kernels):
    def loss(batch):
        temperatures = torch.linspace(0.5, 2, 9, device=batch["a"].device)
        pairs = torch.eye(9, device=batch["a"].device)
        return weighted_info_nce(batch["a"], batch["b"], pairs, temperature=temperatures, normalize=normalize)

    for dtype in GRADIENT:
        value, gradient = compare(loss, draw([9]), dtype, kernels)
        assert value <= VALUE and gradient <= 1.7 * GRADIENT[dtype]


def test_autocast_decides_on_the_products(kernels):
    batch = {key: value.detach() for key, value in draw([20], dtype=torch.float32).items()}
    a, b = (batch[side].to(kernels).requires_grad_() for side in ("a", "b"))
    exact = CLIPLoss(0.3)(a, b)
    with torch.autocast(kernels.type, torch.bfloat16):
        loss = CLIPLoss(0.3)(a, b)
    rounded = CLIPLoss(0.3)(a.bfloat16(), b.bfloat16())
    assert loss.dtype == torch.float32
    assert 0 < abs(loss - exact) < 0.02 and torch.allclose(loss, rounded, rtol=1e-3)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", CASES)
def test_features_that_are_not_finite_give_no_finite_loss(name, value, kernels, monkeypatch):
    monkeypatch.setattr("torch.compiler.is_compiling", lambda: True)  # values are then not checked, as on a GPU
    batch = {key: each.detach().to(kernels) for key, each in draw([13], dtype=torch.float32).items()}
    row = int(batch["is_rehearsal"].nonzero()[0])  # NSPT leaves other rows out
    batch["a"][row, DIM - 1] = value
    monkeypatch.setattr("torch.compiler.is_compiling", lambda: False)
    monkeypatch.setattr("mmcl.objectives.kernel.inputs.checks_values", lambda *tensors: False)
    assert not CASES[name](batch, temperature=0.3).isfinite()


@pytest.mark.slow
@pytest.mark.ci
def test_kernels_compile_for_gpus():
    """In a process of its own, because the kernels of this one are interpreted."""
    pytest.importorskip("triton")
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2 * 14


NUMBERS = ["matrix_stride", "place", "left", "keys", "rows", "columns", "row_blocks", "column_blocks", "start"]
NUMBERS += ["row_programs", "count", "dim"]
TYPES = {"labels": "*i64", "key_labels": "*i64", "differ": "*u8", "constant": "fp32"}
TYPES |= dict.fromkeys(NUMBERS, "i32")


def compile_for_gpus() -> None:
    """Compile every kernel for two kinds of GPU, without one, and print its name."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from mmcl.objectives.kernel import triton_rows, triton_strips

    tile = {"SCALED": True, "HEIGHT": 64, "WIDTH": 64}
    rows = {"ROWS": 4, "DIM": 512}
    halves = {"rows": "*bf16", "product": "*bf16", "partners": "*bf16", "slopes": "*bf16"}
    sums = {"COLUMNS": True, "OWN": True, "STEPS": 8, **tile}
    slopes = {"ROWS": True, "COLUMNS": True, "OWN": True, **tile}
    merge = {"ROW_BLOCKS": 16, "COLUMN_BLOCKS": 32, "SIZE": 32}
    units = {"LENGTH": 1, **rows}
    plans = [
        *((triton_strips.strip_sums, {"RULE": rule, **sums}, {}) for rule in range(3)),
        (triton_strips.strip_sums, {"RULE": 2, **sums}, {"matrix": "*u8"}),
        *((triton_strips.strip_slopes, {"RULE": rule, "BOOSTED": False, **slopes}, halves) for rule in range(3)),
        (triton_strips.strip_slopes, {"RULE": 0, "BOOSTED": True, **slopes}, {"slopes": "*fp16"}),
        (triton_strips.strip_sigmoids, {"BOOSTED": False, "SLOPES": True, **tile}, halves),
        (triton_strips.merge_sums, {"ROWS_NEW": True, "COLUMNS_NEW": True, "COLUMNS_DONE": True, **merge}, {}),
        (triton_strips.merge_sums, {"ROWS_NEW": False, "COLUMNS_NEW": False, "COLUMNS_DONE": False, **merge}, {}),
        (triton_rows.unit_rows, {"PRODUCT": True, **units}, halves),
        (triton_rows.unit_rows_backward, {"ALONG": True, **units}, halves | {"result": "*bf16"}),
        (triton_rows.finish_gradient, {"SCALED": True, "BOOSTED": True, "OWN": True, **rows}, halves),
    ]
    for kernel, constants, types in plans:
        if kernel.__name__.startswith(("strip", "merge")):  # rows is a number there
            types = {name: kind for name, kind in types.items() if name != "rows"}
        signature = {
            name: "constexpr" if name in constants else types.get(name, TYPES.get(name, "*fp32"))
            for name in kernel.arg_names
        }
        for capability in (80, 90):
            source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
            compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 8})
            assert compiled.asm["cubin"]
            print(kernel.__name__, flush=True)


if __name__ == "__main__":
    compile_for_gpus()
