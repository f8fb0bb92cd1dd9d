"""Every task on a pretended GPU, which finds mixed devices on machines without one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from killed import rows
from pretended_gpu import DeviceError, OnGPU, pretended_gpu
from small_runs import QUICK, RUNS, SmallRun, assert_near

from mmcl.runs.run import Run


class Kill(BaseException):
    """Ends a run as a kill would."""


def test_the_pretended_gpu_refuses_what_a_gpu_refuses() -> None:
    with pretended_gpu():
        here, there = torch.ones(2, 3), torch.ones(2, 3, device="cuda")
        assert (there + torch.tensor(1.0)).device.type == "cuda" and there[torch.tensor([0])].is_cuda
        for mixed in (
            lambda: here + there,
            lambda: here[there[:, 0].long()],
            lambda: torch.cat([here, there]),
            lambda: torch.ones(()).add_(there[0, 0]),
            lambda: there.numpy(),
            lambda: torch.rand(2, device="cuda", generator=torch.Generator()),
        ):
            with pytest.raises(DeviceError):
                mixed()


def test_a_model_is_trained_on_the_pretended_gpu() -> None:
    found = []
    for device in ("cuda", "cpu"):
        with pretended_gpu():
            torch.manual_seed(0)
            model = torch.nn.Linear(3, 2).to(device)
            optimizer = torch.optim.AdamW(model.parameters(), fused=True)
            model(torch.ones(4, 3).to(device)).square().sum().cpu().backward()
            optimizer.step()
            assert isinstance(model.weight.grad, OnGPU) == (device == "cuda")
            found.append(model.weight.tolist())
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "small_run", [pytest.param(name, marks=[pytest.mark.ci] * (name in QUICK)) for name in RUNS], indirect=True
)
@pytest.mark.filterwarnings("ignore")
def test_interrupted_run_equals_a_run_on_the_cpu(
    small_run: SmallRun, mmcl_, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is interrupted and resumed on the pretended GPU; its losses are those of the CPU."""
    left, log = [small_run.lines], Run.log

    def interrupted(self, *arguments, **row):
        if not left[0]:
            raise Kill
        left[0] -= 1
        log(self, *arguments, **row)

    monkeypatch.setenv("MMCL_CACHE", str(tmp_path / "cache"))
    with pretended_gpu():
        with monkeypatch.context() as patched, pytest.raises(Kill):
            patched.setattr(Run, "log", interrupted)
            mmcl_("run", *small_run.arguments, "--folder", tmp_path / "gpu", "device=cuda")
        done = mmcl_("run", "--resume", tmp_path / "gpu")
        assert done.code == 0, done.err
    done = mmcl_("run", *small_run.arguments, "--folder", tmp_path / "cpu")
    assert done.code == 0, done.err
    there, here = rows(tmp_path / "gpu"), rows(tmp_path / "cpu")
    assert [row["kind"] for row in there] == [row["kind"] for row in here]
    assert_near(there, here, 1e-3)  # objectives sum in another order on a GPU
