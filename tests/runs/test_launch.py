"""Runs of two processes compared with runs of one, through the command line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from mmcl.runs.run import Run

pytest.importorskip("espeakng_loader", reason="the synthetic corpus needs the extra 'synth'")

COMMAND = [sys.executable, "-W", "ignore", "-m", "mmcl"]
PLAIN = "{dim: 32, dropout: 0, spec_augment: false}"  # no random numbers, which differ between processes
CLASSIFIER = ["--config", "tiny", "strategy=[replay,lwf,icarl,coconut]", "seeds=[3]", f"encoder.options={PLAIN}"]
SEQ2SEQ = [
    "--config",
    "tiny_seq2seq",
    "strategy=[coconut+audio_kd+token_kd+sequence_kd]",
    "seeds=[3]",
    "epochs=1",  # with more epochs, Adam amplifies rounding differences of small gradients
    "seq2seq.dropout=0",
    "seq2seq.bpe_dropout=0",
    f"encoder.options={PLAIN}",
]


def run(folder, *settings, task="slu_incremental", launcher="mmcl"):
    """Run a task in processes started by mmcl, by torchrun, or with the variables of SLURM."""
    arguments = ["run", task, "--folder", str(folder), *settings]
    commands, places = [[*COMMAND, *arguments]], [{}]
    if launcher == "torchrun":
        started = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
        commands = [[sys.executable, "-W", "ignore", *started, "-m", "mmcl", *arguments]]
    elif launcher == "slurm":
        job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}
        job |= {"SLURM_NODEID": "0", "SLURM_NODELIST": "localhost"}
        job |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        commands, places = commands * 2, [job | {"SLURM_PROCID": each, "SLURM_LOCALID": each} for each in "01"]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | place)
        for command, place in zip(commands, places, strict=True)
    ]
    printed = [each.communicate(timeout=500) for each in started]
    assert all(each.returncode == 0 for each in started), printed
    return printed[0][0]


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def rows(folder, kind):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in lines if row["kind"] == kind]


def assert_same(one, two):
    losses = [[row["losses"] if "losses" in row else {"loss": row["loss"]} for row in each] for each in (one, two)]
    assert len(losses[0]) == len(losses[1]) > 0
    for first, second in zip(*losses, strict=True):
        assert first == pytest.approx(second, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(
    "settings",
    [pytest.param(each, marks=pytest.mark.slow) for each in (CLASSIFIER, SEQ2SEQ)],
    ids=["classifier", "seq2seq"],
)
def test_two_processes_equal_one(settings, tmp_path):
    done = [run(tmp_path / str(devices), *settings, f"devices={devices}") for devices in (1, 2)]
    assert_same(*(rows(tmp_path / str(devices), "epoch") for devices in (1, 2)))
    tested = [rows(tmp_path / str(devices), "evaluation") for devices in (1, 2)]
    assert tested[0] == tested[1]
    assert done[1].count("run folder:") == 1 and done[1].count("report:") == 1


CONTRAST = ["--config", "tiny", "seeds=[3]", f"first.options={PLAIN}", "learn_temperature=true"]


@pytest.fixture(scope="module")
def contrasted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "run"
    run(folder, *CONTRAST, task="contrastive_pretraining")
    return rows(folder, "epoch")


@pytest.mark.parametrize(
    "launcher", [pytest.param(each, marks=pytest.mark.slow) for each in ("mmcl", "torchrun", "slurm")]
)
def test_contrastive_loss_uses_the_whole_batch(launcher, contrasted, tmp_path):
    printed = run(tmp_path / "run", *CONTRAST, "devices=2", task="contrastive_pretraining", launcher=launcher)
    assert_same(contrasted, rows(tmp_path / "run", "epoch"))
    assert printed.count("run folder:") == 1 and printed.count("report:") == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_all_processes_and_the_run_can_be_resumed(number, tmp_path):
    """Ctrl-C reaches all processes, SIGTERM only the main process."""
    folder = tmp_path / "run"
    settings = ["--config", "tiny", "strategy=[replay]", "seeds=[3]", "epochs=40", "devices=2"]
    command = [*COMMAND, "run", "slu_incremental", "--folder", str(folder), *settings]
    first = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not (folder / "checkpoints" / "replay-seed3.safetensors").exists():
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.1)
    if number == signal.SIGINT:
        os.killpg(first.pid, number)
    else:
        first.send_signal(number)
    _, errors = first.communicate(timeout=120)
    by = "" if number == signal.SIGINT else " by SIGTERM"
    assert first.returncode == 128 + number
    assert errors.count(f"interrupted{by}; resume with: mmcl run --resume {folder}\n") == 1
    assert "Traceback" not in errors and "Error" not in errors
    assert Run.read(folder).status == "interrupted"
    again = subprocess.run([*COMMAND, "run", "--resume", str(folder)], capture_output=True, text=True, timeout=500)
    assert again.returncode == 0, again.stderr
    assert len(rows(folder, "epoch")) == 80 and len(rows(folder, "result")) == 1


@pytest.mark.slow
def test_killed_process_ends_all_and_the_run_can_be_resumed(tmp_path):
    folder = tmp_path / "run"
    settings = ["--config", "tiny", "strategy=[replay]", "seeds=[3]", "epochs=40", "devices=2"]
    command = [*COMMAND, "run", "slu_incremental", "--folder", str(folder), *settings]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not (folder / "checkpoints" / "replay-seed3.safetensors").exists():
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.1)
    (other,) = subprocess.check_output(["ps", "-o", "pid=", "--ppid", str(first.pid)], text=True).split()[:1]
    os.kill(int(other), signal.SIGKILL)
    _, errors = first.communicate(timeout=120)
    assert first.returncode != 0
    (error,) = [line for line in errors.splitlines() if "error: " in line]
    assert "one of 2 processes" in error and f"mmcl run --resume {folder}" in error
    again = subprocess.run([*COMMAND, "run", "--resume", str(folder)], capture_output=True, text=True, timeout=500)
    assert again.returncode == 0, again.stderr
    assert len(rows(folder, "epoch")) == 80 and len(rows(folder, "result")) == 1
