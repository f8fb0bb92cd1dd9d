"""Checkpoints are restored exactly, written atomically, and report damage."""

from __future__ import annotations

import json
import math
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mmcl.errors import CheckpointError
from mmcl.runs.checkpoint import load_checkpoint, peek_checkpoint, save_checkpoint


def round_trip(folder: Path, state: Any) -> Any:
    save_checkpoint(folder / "c.safetensors", state)
    return load_checkpoint(folder / "c.safetensors")


def test_plain_values_are_restored_exactly(tmp_path: Path) -> None:
    state = {
        "": None,
        "flags": [True, False],
        "text": 'é "quoted"\n\x00',
        "numbers": {0: 1, -3: 10**40, "0": "another key than 0"},
        "$tensor": "a key that looks like a reference",
        "deep": [[], {}, [{"a": {1: [2]}}]],
    }
    assert round_trip(tmp_path, state) == state


def test_floats_are_restored_to_the_last_bit(tmp_path: Path) -> None:
    values = [0.1, 1 / 3, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf]
    again = round_trip(tmp_path, [*values, math.nan])
    assert [struct.pack("d", value) for value in again[:-1]] == [struct.pack("d", value) for value in values]
    assert math.isnan(again[-1])


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(3.5),
        torch.tensor([True, False]),
        torch.tensor([0, 255], dtype=torch.uint8),
        torch.tensor([math.nan, math.inf, -0.0]),
        torch.tensor([1 / 3, 1e-40], dtype=torch.float64),
        torch.tensor([1.5], dtype=torch.bfloat16),
        torch.tensor([2**40]),
        torch.zeros(0, 3),
        torch.arange(6.0).reshape(2, 3).T,
        torch.arange(10.0)[::3],
        torch.arange(3.0).expand(2, 3),
        nn.Parameter(torch.ones(2)),
    ],
    ids=lambda tensor: f"{tensor.dtype}-{tuple(tensor.shape)}-{tensor.stride()}",
)
def test_tensors_are_restored_exactly(tmp_path: Path, tensor: torch.Tensor) -> None:
    again = round_trip(tmp_path, {"a": {"b": [tensor]}})["a"]["b"][0]
    assert again.dtype == tensor.dtype
    assert again.shape == tensor.shape
    assert not again.requires_grad
    torch.testing.assert_close(again, tensor.detach(), rtol=0, atol=0, equal_nan=True)


def test_shared_tensor_is_stored_once(tmp_path: Path) -> None:
    layer = nn.Linear(100, 100, bias=False)
    model = nn.ModuleDict({"input": layer, "output": layer})
    again = round_trip(tmp_path, model.state_dict())
    assert again["input.weight"] is again["output.weight"]
    assert len(load_file(tmp_path / "c.safetensors")) == 1


def test_views_of_a_tensor_are_stored_apart(tmp_path: Path) -> None:
    whole = torch.arange(1_000_000.0)
    state = {"head": whole[:2], "tail": whole[-2:], "same": whole[:2], "row": whole.reshape(1000, 1000)[0, :2]}
    again = round_trip(tmp_path, state)
    assert {name: tensor.tolist() for name, tensor in again.items()} == {
        name: tensor.tolist() for name, tensor in state.items()
    }
    assert (tmp_path / "c.safetensors").stat().st_size < 2000


def test_loaded_tensors_do_not_depend_on_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    again = round_trip(tmp_path, {"weights": torch.ones(100_000)})
    path.write_bytes(bytes(path.stat().st_size))  # overwritten in place, as a copy would
    assert bool((again["weights"] == 1).all())


def test_written_tensors_do_not_share_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some versions of safetensors refuse shared memory, others write the whole storage of a slice."""
    written: dict[str, torch.Tensor] = {}
    monkeypatch.setattr("mmcl.runs.checkpoint.save_file", lambda tensors, path, metadata: written.update(tensors))
    whole = torch.arange(100.0)
    state = {"whole": whole, "again": whole, "head": whole[:2], "tail": whole[-2:], "one": torch.ones(5)[1]}
    save_checkpoint(tmp_path / "c.safetensors", state)
    assert sorted(written) == ["head", "one", "tail", "whole"]
    assert len({tensor.untyped_storage().data_ptr() for tensor in written.values()}) == 4
    assert all(tensor.untyped_storage().nbytes() == tensor.nbytes for tensor in written.values())


def test_keys_with_equal_paths_stay_distinct(tmp_path: Path) -> None:
    state = {"a": {"b": torch.tensor(1)}, "a.b": torch.tensor(2), "c": {1: torch.tensor(3), "1": torch.tensor(4)}}
    again = round_trip(tmp_path, state)
    assert (again["a"]["b"], again["a.b"], again["c"][1], again["c"]["1"]) == (1, 2, 3, 4)


def test_resumed_training_equals_uninterrupted_training(tmp_path: Path) -> None:
    def parts() -> tuple[nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        return model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, step_size=2)

    def step(model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: Any) -> float:
        loss = model(torch.randn(16, 4)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        return loss.item()

    whole = parts()
    expected = [step(*whole) for _ in range(6)]

    first = parts()
    losses = [step(*first) for _ in range(3)]
    state = {"parts": [part.state_dict() for part in first], "random": torch.get_rng_state()}
    again = round_trip(tmp_path, state)
    second = parts()
    for part, saved in zip(second, again["parts"], strict=True):
        part.load_state_dict(saved)
    torch.set_rng_state(again["random"])
    assert losses + [step(*second) for _ in range(3)] == expected


def test_tuples_are_restored_as_lists(tmp_path: Path) -> None:
    assert round_trip(tmp_path, {"betas": (0.9, 0.999)}) == {"betas": [0.9, 0.999]}


def test_peek_reads_everything_except_tensors(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.safetensors", {"epoch": 3, "model": {"weight": torch.ones(2)}})
    assert peek_checkpoint(tmp_path / "c.safetensors") == {"epoch": 3, "model": {"weight": None}}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {"b": {1, 2}}}, "state.a.b is a set, expected tensors, numbers, strings, lists and dicts: convert it"),
        ({"a": [b"x"]}, "state.a.0 is a bytes, expected tensors"),
        ({"a": nn.Linear(1, 1)}, "state.a is a Linear"),
        ({(1, 2): 3}, r"key \(1, 2\)"),
        ({"a": {True: 3}}, "state.a has the key True"),
        ({"a": torch.ones(2, 2).to_sparse()}, "state.a .*torch.sparse_coo"),
    ],
)
def test_unsupported_values_are_named(tmp_path: Path, state: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        save_checkpoint(tmp_path / "c.safetensors", state)
    assert os.listdir(tmp_path) == []


def test_too_large_header_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmcl.runs.checkpoint.MAX_HEADER_BYTES", 100)
    with pytest.raises(CheckpointError, match="c.safetensors .*expected at most 100"):
        save_checkpoint(tmp_path / "c.safetensors", list(range(100)))


def test_full_disk_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    """A limit on file sizes stands for a full disk."""
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"epoch": 1})
    code = (
        "import resource, sys, torch\n"
        "from mmcl.runs.checkpoint import CheckpointError, save_checkpoint\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
        "try: save_checkpoint(sys.argv[1], {'weights': torch.ones(1_000_000)})\n"
        "except CheckpointError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"cannot write checkpoint {path} (")
    assert load_checkpoint(path) == {"epoch": 1}
    assert os.listdir(tmp_path) == ["c.safetensors"]


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="c.safetensors .*No such file or directory"):
        save_checkpoint(tmp_path / "missing" / "c.safetensors", {})


def test_killed_writer_leaves_a_complete_checkpoint(tmp_path: Path) -> None:
    """A process that keeps writing checkpoints is killed several times."""
    path = tmp_path / "c.safetensors"
    code = (
        "import sys, torch; from mmcl.runs.checkpoint import save_checkpoint; number = int(sys.argv[2])\n"
        "while True:\n"
        "    number += 1; save_checkpoint(sys.argv[1], {'number': number, 'tensor': torch.full((300_000,), number)})\n"
        "    print(number, flush=True)"
    )
    number = 0
    for more in (1, 6):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(path), str(number)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for _ in range(more):
                number = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
        state = load_checkpoint(path)
        assert state["number"] >= number
        assert state["tensor"].unique().tolist() == [state["number"]]
        number = state["number"]


def test_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="c.safetensors"):
        load_checkpoint(tmp_path / "c.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 20, -1])
def test_truncated_checkpoint(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"weights": torch.ones(100)})
    path.write_bytes(path.read_bytes()[:keep])
    for read in (load_checkpoint, peek_checkpoint):
        with pytest.raises(CheckpointError, match=r"c.safetensors is damaged \(.*\)"):
            read(path)


def test_garbage(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes(os.urandom(1000))
    with pytest.raises(CheckpointError, match=r"c.safetensors is damaged \("):
        load_checkpoint(path)


def test_pickle_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    torch.save({"weights": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match=r"is damaged \("):
        load_checkpoint(path)


def test_other_kinds_and_versions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_file({"weights": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of mmcl"):
        load_checkpoint(path)
    save_file({}, path, metadata={"mmcl_checkpoint": "2", "state": json.dumps({})})
    with pytest.raises(CheckpointError, match="format 2, expected 1"):
        load_checkpoint(path)
    save_file({}, path, metadata={"mmcl_checkpoint": "1", "state": "{"})
    with pytest.raises(CheckpointError, match=r"is damaged \("):
        load_checkpoint(path)
