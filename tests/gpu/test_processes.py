"""Two processes that share one device, with gloo, compared with one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from killed import rows
from small_runs import RUNS, assert_near

pytestmark = pytest.mark.gpu

# NCCL refuses two processes on one GPU, and `devices=2` asks for two; so the script makes the group itself.
SCRIPT = """
import sys
import torch.distributed as group
import torch.distributed.nn.functional, torch.distributed.optim, avalanche.training
from mmcl import distributed

store, rank = sys.argv.pop(1), int(sys.argv.pop(1))

def launch(*arguments, **options):
    group.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    distributed._patient = group.new_group(backend="gloo")

distributed.launch = launch
from mmcl.__main__ import main
main()
"""


@pytest.mark.parametrize("name", ["classifiers", "towers"])
def test_two_processes_on_one_device_have_the_losses_of_one(
    name: str, device: str, run, environment: dict[str, str], tmp_path: Path
) -> None:
    arguments = (*RUNS[name].arguments, *RUNS[name].plain, f"device={device}")
    one = rows(run(*arguments, name="one"))
    (tmp_path / "two.py").write_text(SCRIPT)
    command = [sys.executable, "-W", "ignore", str(tmp_path / "two.py"), str(tmp_path / "store")]
    processes = [
        subprocess.Popen(
            [*command, str(rank), "run", *arguments, "--folder", str(tmp_path / "two")],
            env=environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert_near(rows(tmp_path / "two"), one, 5e-3)
