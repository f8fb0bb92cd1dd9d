import json
import os
import subprocess
import sys

import objective_cases
import pytest
import torch
from objective_cases import CASES, draw

from mmcl.errors import ConfigError
from mmcl.objectives import CLIPLoss
from mmcl.objectives.kernel.gather import Processes

#: Sizes of the processes' parts of a batch, the block size, and whether values are read, for as many processes.
BATCHES = {
    2: [([4, 3], None, True), ([4, 3], 2, True), ([4, 3], None, False)],
    3: [([3, 5, 1], None, True), ([4, 0, 3], 3, True), ([4, 0, 3], None, False)],
}


@pytest.fixture(scope="module", params=[pytest.param(2, marks=pytest.mark.slow), 3])
def processes(request, tmp_path_factory):
    """Results of each process for each batch."""
    return results(tmp_path_factory.mktemp("processes"), BATCHES[request.param], {})


@pytest.fixture(scope="module")
def processes_with_kernels(tmp_path_factory):
    """Results of each process for one batch in bfloat16, by the Triton kernels."""
    folder = tmp_path_factory.mktemp("processes")
    return results(folder, [([3, 5], None, False)], {"TRITON_INTERPRET": "1"})


def results(folder, batches, environment):
    """Return the results of each process for each batch."""
    outputs = [folder / f"{rank}.json" for rank in range(len(batches[0][0]))]
    running = [
        subprocess.Popen(
            [sys.executable, objective_cases.__file__, str(rank), json.dumps(batches), folder / "meeting", output],
            env={key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
            | {"OMP_NUM_THREADS": "1"}
            | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, output in enumerate(outputs)
    ]
    said = [one.communicate(timeout=240)[0] for one in running]
    assert all(one.returncode == 0 for one in running), "\n".join(said)
    results = [json.loads(output.read_text()) for output in outputs]
    return [(sizes, [result[number] for result in results]) for number, (sizes, *_) in enumerate(batches)]


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("name", CASES)
def test_losses_and_gradients_of_processes_add_up_to_those_of_the_whole_batch(name, number, processes):
    check(name, *processes[number], rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("name", CASES)
def test_so_they_do_with_the_kernels_of_a_gpu(name, processes_with_kernels):
    check(name, *processes_with_kernels[0], rtol=1e-5, atol=3e-3, dtype=torch.bfloat16)


def check(name, sizes, found, *, rtol, atol, dtype=torch.float64):
    batch = draw(sizes)
    batch |= {side: batch[side].detach().to(dtype).double().requires_grad_() for side in ("a", "b")}
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    loss = CASES[name](batch, temperature=temperature)
    loss.backward()
    assert sum(one[name]["loss"] for one in found) == pytest.approx(loss.item(), rel=rtol)
    sums = sum(one[name]["temperature"] for one in found)
    expected = 0.0 if temperature.grad is None else temperature.grad.item()
    assert sums == pytest.approx(expected, rel=max(10 * rtol, atol))
    for key in ("a", "b"):
        if batch[key].grad is None:
            assert all(key not in one[name] for one in found)
            continue
        parts = [torch.tensor(one[name][key], dtype=torch.float64).view(-1, objective_cases.DIM) for one in found]
        rounding = torch.finfo(dtype).eps if dtype == torch.bfloat16 else 0
        assert torch.allclose(torch.cat(parts), batch[key].grad, rtol=rounding, atol=atol)


def test_a_missing_process_group_is_an_error():
    with pytest.raises(ConfigError, match="init_process_group"):
        CLIPLoss(gather=True)(torch.eye(2), torch.eye(2))


def test_rows_are_in_rank_order():
    assert [Processes((2, 0, 3), rank).own for rank in range(3)] == [slice(0, 2), slice(2, 2), slice(2, 5)]
