"""Encoding that is killed, again and again, loses nothing and spoils nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import torch

from mmcl.data import Selection, open_dataset
from mmcl.encoders import build_encoder, cached_features

ENCODE = """
import sys
from mmcl.data import Selection, open_dataset
from mmcl.encoders import build_encoder, cached_features

encoder = build_encoder("audio", "openai/whisper-base", pooling="mean_max")
print("ready", flush=True)
digits = Selection(open_dataset("fsdd", "test"), range(24))
cached_features(digits, encoder, sys.argv[1], keep=sys.argv[2], batch_size=1, progress=False)
"""


def test_features_are_the_same_however_often_encoding_is_killed(data_dir, weights_dir, tmp_path):
    draw, kills = random.Random(0), 0
    command = [sys.executable, "-W", "ignore", "-c", ENCODE, str(tmp_path / "killed"), "sequence"]
    kept = []
    while len(kept) < 4:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(draw.uniform(0.1, 0.8))
            os.kill(process.pid, signal.SIGKILL)
        kept.append(sum(path.read_text().count("\n") for path in (tmp_path / "killed").glob("*/index.jsonl")))
        kills += process.returncode == -signal.SIGKILL
    assert kept == sorted(kept) and kept[-1] > 0 and kills > 0  # what was encoded stays
    digits = Selection(open_dataset("fsdd", "test"), range(24))
    encoder = build_encoder("audio", "openai/whisper-base", pooling="mean_max")
    options = {"keep": "sequence", "batch_size": 1, "progress": False}
    whole, resumed = (cached_features(digits, encoder, tmp_path / name, **options) for name in ("whole", "killed"))
    rows = torch.arange(24)
    assert torch.equal(whole.batch(rows)["features"], resumed.batch(rows)["features"])
