"""The plugin that logs epochs and writes checkpoints."""

import pytest

from mmcl.config.model import StrictModel
from mmcl.runs.run import Run
from mmcl.runs.tracking import Tracking
from mmcl.strategies import naive


class Config(StrictModel):
    epochs: int = 3


def test_each_epoch_is_logged_and_checkpointed(make, benchmark, tmp_path):
    with Run.create("test", Config(), tmp_path / "run") as run:
        tracking = Tracking(run, "naive", 7)
        strategy = make(naive, epochs=3, plugins=[tracking])
        strategy.train(benchmark.train_stream[0], eval_streams=[])
        strategy.train(benchmark.train_stream[1], eval_streams=[])
        rows = run.metrics("epoch")
        assert [(row["experience"], row["epoch"]) for row in rows] == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]
        assert all(row["strategy"] == "naive" and row["seed"] == 7 for row in rows)
        assert rows[2]["loss"] < rows[0]["loss"] and rows[0]["losses"].keys() == {"cross_entropy"}
        rounding = 0.5e-4 * len(rows)  # rows are rounded to four digits
        assert tracking.seconds == pytest.approx(sum(row["seconds"] for row in rows), rel=0, abs=rounding + 1e-9)
        saved = run.restore("naive-seed7")
        assert not saved["finished"] and (saved["training"]["experience"], saved["training"]["epoch"]) == (1, 3)
