"""Run folders and exported models that version 0.1 wrote are resumed, compared and loaded as they were then."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmcl.batch import Batch
from mmcl.models import TwoTower, from_pretrained
from mmcl.runs.run import Run

OLD = Path(__file__).parent / "0.1"
EXPECTED = json.loads((OLD / "expected.json").read_text())


@pytest.fixture
def mmcl(tmp_path):
    """The command line, in the folder of the test."""

    def call(*arguments):
        command = [sys.executable, "-W", "ignore", "-m", "mmcl", *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(OLD.parents[2])}
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)

    return call


@pytest.fixture
def batch():
    """A second of a tone, and a text."""
    audio = 0.5 * torch.sin(torch.arange(16_000) / 9.0)[None]
    return Batch(audio=audio, audio_lengths=torch.tensor([16_000]), text=["turn on the music"])


def measured(path):
    """What the rows of a run measure, without times."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in Run.read(path).metrics()]


def test_an_interrupted_run_is_resumed_to_the_metrics_that_it_had(mmcl, tmp_path):
    pytest.importorskip("espeakng_loader", reason="the synthetic corpus needs the extra 'synth'")
    shutil.copytree(OLD / "classifier", tmp_path / "run")
    done = mmcl("run", "--resume", "run")
    assert done.returncode == 0, done.stderr
    before, after = measured(OLD / "classifier"), measured(tmp_path / "run")
    assert [row["kind"] for row in after] == [row["kind"] for row in before]
    for row, expected in zip(after, before, strict=True):
        assert expected.keys() <= row.keys()  # later versions log further measures
        for name in ("loss", "accuracy", "seen_accuracy", "last_accuracy", "forgetting"):
            if name in expected:
                assert row[name] == pytest.approx(expected[name], rel=1e-4)


def test_runs_are_compared(mmcl, tmp_path):
    shutil.copytree(OLD / "towers", tmp_path / "towers")
    done = mmcl("compare", "towers")
    assert done.returncode == 0 and "clip" in done.stdout, done.stderr


def test_the_model_of_a_run_names_a_recording(mmcl, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "order.wav", torch.randn(16_000).clamp(-1, 1).numpy() * 0.1, 16_000)
    done = mmcl("predict", OLD / "towers", "order.wav", "--intents", "music on,lights off")
    assert done.returncode == 0 and "music on" in done.stdout, done.stderr
    assert isinstance(TwoTower.load(OLD / "towers" / "models" / "clip-seed0"), TwoTower)


@torch.no_grad()
def test_exported_models_answer_as_before(batch):
    classifier, towers, seq2seq = (
        from_pretrained(OLD / f"exported_{name}").eval() for name in ("classifier", "towers", "seq2seq")
    )
    assert classifier(batch).logits[0].tolist() == pytest.approx(EXPECTED["classifier"], rel=1e-4, abs=1e-5)
    for side, expected in zip(towers(batch, batch), EXPECTED["towers"], strict=True):
        assert side[0].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert seq2seq.embed(batch)[0].tolist() == pytest.approx(EXPECTED["seq2seq"], rel=1e-4, abs=1e-5)
