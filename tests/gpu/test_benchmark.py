"""The benchmark of objectives on a GPU, tried on a pretended one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from pretended_gpu import pretended_gpu

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


class Event:
    """A CUDA event of a clock that stands at one millisecond a step."""

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        pass

    def elapsed_time(self, end: Event) -> float:
        return 1.0


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs the benchmark on a pretended GPU, and returns its rows."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    for name, value in {
        "is_available": lambda: True,
        "get_device_name": lambda: "pretended GPU",
        "synchronize": lambda: None,
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda: None,
        "memory_allocated": lambda: 2**20,
        "max_memory_allocated": lambda: 3 * 2**20,
        "Event": Event,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)

    def run(*arguments: str) -> list[dict]:
        import objectives_gpu

        with pretended_gpu():
            objectives_gpu.main(["--batches", "8", "--dim", "4", "--json", str(tmp_path / "rows.json"), *arguments])
        return json.loads((tmp_path / "rows.json").read_text())

    return run


@pytest.mark.slow
@pytest.mark.ci
def test_every_objective_has_a_row_in_every_precision(measured, capsys: pytest.CaptureFixture[str]) -> None:
    peers = ["open_clip compiled", "lightly", "pytorch-metric-learning", "inf_cl"]
    rows = measured("--without", *peers, "siglip_kernel")
    own = [row for row in rows if row["side"] == "mmcl"]
    assert [(row["name"], row["mode"]) for row in own][:2] == [("clip", "bf16"), ("siglip", "bf16")]
    assert len(own) == 7 * 3 and [row for row in rows if "error" in row] == []
    assert {(row["ms"], row["products ms"], row["MiB"]) for row in rows} == {(1.0, 1.0, 2.0)}
    others = [row for row in rows if row["side"] == "open_clip"]
    assert len(others) == 6 and all(row["is_same"] for row in others)
    assert "| siglip | mmcl | 8 | tf32 | 1 | 2 | 1.00 |  |\n" in capsys.readouterr().out


def test_a_missing_library_is_left_out(measured, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "siglip_kernel", None)
    rows = measured("--only", "siglip", "--modes", "ieee", "--without", "open_clip")
    assert [row["side"] for row in rows] == ["mmcl"] and "siglip_kernel is left out" in capsys.readouterr().err


def test_no_row_starts_after_the_time_is_over(measured, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileNotFoundError):
        measured("--seconds", "-1")
    assert "rows left out" in capsys.readouterr().out
