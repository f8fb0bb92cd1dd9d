import pytest
import torch

from mmcl.objectives.kernel import products
from mmcl.objectives.kernel.products import product_type, uses_kernels


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_cpu_has_no_kernels():
    assert not uses_kernels(draw(2, 3)) and product_type(draw(2, 3).half(), draw(2, 3).half()) is None


def test_what_the_kernels_take(kernels):
    assert uses_kernels(draw(2, 3).to(kernels), draw(2, 3).to(kernels).half())
    for rows in (draw(2, 3).double(), draw(0, 3), draw(2, 0), draw(1, 20_000)):
        assert not uses_kernels(rows.to(kernels)), tuple(rows.shape)


def test_products_have_the_precision_of_the_inputs_or_of_autocast(kernels):
    single = draw(2, 3).to(kernels)
    bf16, fp16 = single.bfloat16(), single.half()
    assert product_type(bf16, bf16) == torch.bfloat16 and product_type(fp16, fp16) == torch.float16
    assert product_type(single, single) is product_type(bf16, single) is product_type(bf16, fp16) is None
    with torch.autocast(kernels.type, torch.bfloat16):
        assert product_type(single, fp16) == torch.bfloat16


def test_a_machine_where_kernels_do_not_compile_uses_the_plain_path(monkeypatch):
    def fail(*args):
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(products, "normalize", fail)
    with pytest.warns(UserWarning, match="C compiler"):
        assert not products._compiles(torch.device("cpu"))


def test_a_kernel_that_runs_is_found(kernels):
    assert products._compiles(kernels)
