"""Tasks that train without the class-incremental loop do not import Avalanche."""

import subprocess
import sys

import pytest

CODE = """
import sys
sys.modules["avalanche"] = None  # an import of it fails
from mmcl.__main__ import main
main()
"""


@pytest.mark.parametrize("task", ["contrastive_pretraining", "rationale_distillation"])
def test_a_task_runs_without_avalanche(task, data_dir, tmp_path):
    settings = ["seeds=[0]", "objective=clip"] if task == "contrastive_pretraining" else ["seeds=[0]", "method=[dss]"]
    command = ["run", task, "--config", "tiny", "--folder", str(tmp_path / "run"), *settings]
    done = subprocess.run([sys.executable, "-c", CODE, *command], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").exists()
