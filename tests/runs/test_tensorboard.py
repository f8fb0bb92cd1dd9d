"""TensorBoard logs have the numbers of the metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmcl.errors import ConfigError
from mmcl.runs import tensorboard
from mmcl.runs.tensorboard import TensorBoardLog


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def epoch(seed: int, number: int, loss: float) -> dict[str, object]:
    losses = {"cross_entropy": loss / 2}
    return {
        "kind": "epoch",
        "strategy": "replay",
        "seed": seed,
        "experience": 0,
        "epoch": number,
        "loss": loss,
        "losses": losses,
    }


def test_each_strategy_and_seed_has_a_curve(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path, [])
    log.write({"kind": "stream", "seed": 0, "experiences": [["yes"], ["no"]]})  # no numbers
    for row in (epoch(0, 0, 0.5), epoch(0, 1, 0.25), epoch(1, 0, 1.0)):
        log.write(row)
    log.write(
        {
            "kind": "evaluation",
            "strategy": "replay",
            "seed": 0,
            "experience": 0,
            "accuracy": [0.5],
            "seen_accuracy": 0.75,
        }
    )
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["replay-seed0", "replay-seed1"]
    first = scalars(tmp_path / "replay-seed0")
    assert first["epoch/loss"] == [(0, 0.5), (1, 0.25)]
    assert first["epoch/losses/cross_entropy"] == [(0, 0.25), (1, 0.125)]
    assert first["evaluation/seen_accuracy"] == [(0, 0.75)]
    assert scalars(tmp_path / "replay-seed1")["epoch/loss"] == [(0, 1.0)]


def test_steps_continue_after_existing_rows(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path, [epoch(0, 0, 0.5), epoch(0, 1, 0.25), epoch(1, 0, 1.0)])
    log.write(epoch(0, 2, 0.125))
    log.close()
    assert scalars(tmp_path / "replay-seed0")["epoch/loss"] == [(2, 0.125)]


def test_missing_package_is_reported_with_the_install_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'mmcl\[tensorboard\]'"):
        TensorBoardLog(tmp_path, [])
