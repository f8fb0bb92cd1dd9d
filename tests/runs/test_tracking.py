"""The plugin that logs epochs and writes checkpoints."""

import pytest
from avalanche.core import SupervisedPlugin

from mmcl.config.model import StrictModel
from mmcl.errors import ConfigError
from mmcl.runs.run import Run
from mmcl.runs.tracking import Tracking
from mmcl.strategies import naive


class Config(StrictModel):
    epochs: int = 3


def test_each_epoch_is_logged_and_checkpointed(make, benchmark, tmp_path):
    with Run.create("test", Config(), tmp_path / "run") as run:
        tracking = Tracking(run, "naive", 7, share=1)
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


@pytest.mark.parametrize(("share", "every"), [(1, 1), (0.5, 1), (0.2, 4)])
def test_checkpoints_take_a_share_of_the_time(make, benchmark, tmp_path, monkeypatch, share, every):
    now, written = [1.0], []
    monkeypatch.setattr("mmcl.runs.tracking.time.monotonic", lambda: now[0])

    def checkpoint(unit, state):
        written.append(state["training"]["epoch"])
        now[0] += 1

    class Second(SupervisedPlugin):
        def before_training_epoch(self, strategy, **kwargs):
            now[0] += 1

    with Run.create("test", Config(), tmp_path / "run") as run:
        monkeypatch.setattr(run, "checkpoint", checkpoint)
        strategy = make(naive, epochs=12, plugins=[Second(), Tracking(run, "naive", 7, share=share)])
        strategy.train(benchmark.train_stream[0], eval_streams=[])
        assert len(run.metrics("epoch")) == 12
    assert written == list(range(1, 13, every))  # an epoch and a checkpoint take a second each


@pytest.mark.parametrize("share", [0, -0.1, 1.5])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ConfigError, match=f"share is {share}"):
        Tracking(None, "naive", 7, share=share)
