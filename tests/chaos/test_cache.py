"""Encoding that is killed, again and again, loses nothing and spoils nothing."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from mmcl.data import Selection, open_dataset
from mmcl.encoders import build_encoder, cached_features

ENCODE = """
import sys
from mmcl.data import Selection, open_dataset
from mmcl.encoders import build_encoder, cached_features

encoder = build_encoder("audio", "openai/whisper-base", pooling="mean_max")
digits = Selection(open_dataset("fsdd", "test"), range(24))
cached_features(digits, encoder, sys.argv[1], keep=sys.argv[2], batch_size=1, progress=False)
"""


@pytest.mark.slow
def test_features_are_the_same_however_often_encoding_is_killed(data_dir, weights_dir, tmp_path):
    def encoded():
        return sum(path.read_text().count("\n") for path in (tmp_path / "killed").glob("*/index.jsonl"))

    draw, kills = random.Random(0), 0
    command = [sys.executable, "-W", "ignore", "-c", ENCODE, str(tmp_path / "killed"), "sequence"]
    for _ in range(4):
        before = encoded()
        with subprocess.Popen(command) as process:
            while process.poll() is None and encoded() == before:
                time.sleep(0.002)
            time.sleep(draw.uniform(0, 0.05))
            process.kill()
        assert encoded() >= before  # what was encoded stays
        kills += process.returncode == -signal.SIGKILL
    assert kills > 0 and encoded() > 0
    digits = Selection(open_dataset("fsdd", "test"), range(24))
    encoder = build_encoder("audio", "openai/whisper-base", pooling="mean_max")
    options = {"keep": "sequence", "batch_size": 1, "progress": False}
    whole, resumed = (cached_features(digits, encoder, tmp_path / name, **options) for name in ("whole", "killed"))
    rows = torch.arange(24)
    assert torch.equal(whole.batch(rows)["features"], resumed.batch(rows)["features"])
