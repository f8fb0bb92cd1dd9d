"""Fixtures that find the real data and weights, or skip; the command line; a stub of an endpoint on the network."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test reaches for the network
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny tensors; threads of several tests would wait for one another
os.environ.setdefault("TRITON_INTERPRET", "1" if not Path("/dev/nvidiactl").exists() else "0")  # kernels on the CPU
gc.disable()  # until tests are collected: nothing that is imported becomes garbage, and to look for it takes seconds


def _give_lazy_modules_no_file() -> None:
    """hypothesis asks every module for its file; speechbrain's lazy ones would import what is not there to answer."""
    for module in list(sys.modules.values()):
        if type(module).__name__ in ("LazyModule", "DeprecatedModuleRedirect"):
            module.__dict__.setdefault("__file__", None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems() -> None:
    _give_lazy_modules_no_file()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture
def on_device(monkeypatch):
    """Treat the CPU as a GPU: losses are read once in several steps."""
    monkeypatch.setattr("mmcl.training.loss_sums.waits", lambda device: True)


def pytest_unconfigure() -> None:
    gc.unfreeze()  # some extensions print what is left at exit


_MODULES = 0  #: number of modules at the last test


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    global _MODULES
    if len(sys.modules) != _MODULES:
        _MODULES = len(sys.modules)
        _give_lazy_modules_no_file()


@pytest.fixture(scope="session")
def device() -> str:
    """Device of tests marked ``gpu``: CUDA, or the one that MMCL_TEST_DEVICE names."""
    name = os.environ.get("MMCL_TEST_DEVICE", "cuda")
    if name == "cuda":
        import torch

        if not torch.cuda.is_available():
            pytest.skip("torch finds no GPU; MMCL_TEST_DEVICE=cpu runs these tests on the CPU")
    return name


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value or not Path(value).is_dir():
        pytest.skip(f"{variable} names no folder")
    return Path(value)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real data sets."""
    return _folder("MMCL_DATA")


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """Folder of real pretrained weights."""
    return _folder("MMCL_WEIGHTS")


@pytest.fixture(scope="session")
def small_whisper():
    """Saves a small Whisper with random weights, decoder and all, as its owners do."""

    def save(folder: Path, half: bool = False) -> Path:
        import torch
        from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

        torch.manual_seed(0)
        config = WhisperConfig(
            d_model=16, encoder_layers=3, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=32, decoder_ffn_dim=32, vocab_size=60, pad_token_id=0, bos_token_id=1, eos_token_id=2,
            decoder_start_token_id=1, num_mel_bins=80,
        )  # fmt: skip
        model = WhisperModel(config)
        for parameter in model.parameters():
            parameter.data = parameter.data * 3 + 0.01  # far from what an untrained model would give
        (model.half() if half else model).save_pretrained(folder)
        WhisperFeatureExtractor().save_pretrained(folder)
        return folder

    return save


class Outcome(NamedTuple):
    """How the command line ended, and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def mmcl_(capsys, monkeypatch):
    """Runs the command line in this process."""

    def call(*arguments):
        from mmcl.cli.main import main

        monkeypatch.setattr(sys, "argv", ["mmcl", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as exit:
            code = int(exit.code or 0)
        return Outcome(code, *capsys.readouterr())

    return call


class Endpoint:
    """A stub of a chat endpoint on this machine, which notes what it is asked and answers as it is told."""

    def __init__(self):
        self.asked: list[dict] = []
        self.headers: list[dict] = []
        self.answers = iter(())  # of the next requests: None for a usual one, a status, seconds to wait, or a body
        self.under_way = self.most = 0  # requests that are answered at a time
        self.lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with endpoint.lock:
                    endpoint.asked.append(body)
                    endpoint.headers.append({name.lower(): value for name, value in self.headers.items()})
                    told = next(endpoint.answers, None)
                    endpoint.under_way += 1
                    endpoint.most = max(endpoint.most, endpoint.under_way)
                if isinstance(told, float):
                    time.sleep(told)
                with endpoint.lock:
                    endpoint.under_way -= 1
                status = told if isinstance(told, int) else 200
                text = f"Because. The answer is ( {len(body['messages'][0]['content'])}.0 + 1.0 )."
                reply = told if isinstance(told, dict) else {"choices": [{"index": 0, "message": {"content": text}}]}
                content = json.dumps(reply).encode()
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has stopped waiting
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(content)))
                    self.send_header("retry-after-ms", "1")
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def endpoint():
    stub = Endpoint()
    yield stub
    stub.server.shutdown()
    stub.server.server_close()
