"""Models in the checkpoints of a run; tests/publishing exports them."""

from __future__ import annotations

import pytest
import torch

from mmcl.config.tasks import load_task
from mmcl.errors import CheckpointError
from mmcl.freeze import trainable_state
from mmcl.predict.checkpoints import class_names, finished_models, load_checkpoint_model, strategy_of, task_config
from mmcl.runs.run import Run

AUDIO = {"audio": torch.sin(torch.arange(16000) / 8)[None], "audio_lengths": torch.tensor([16000])}


def make(folder, **encoder):
    """A run with an untrained model, classes in another order than labels, and an unfinished model."""
    task = load_task("slu_incremental")
    sizes = {"classifier": {"hidden": 24}, "encoder": {"name": "cnn", "options": {"dim": 16}, **encoder}}
    config = task.Config(strategy=("naive", "joint"), experiences=2, **sizes)
    torch.manual_seed(0)
    with Run.create("slu_incremental", config, folder, config_name="tiny") as run:
        for strategy in ("naive", "joint"):
            model = config.classifier.build(config.encoder.build())
            model.grow([0, 2, 1])
            run.log("stream", strategy=strategy, seed=0, class_order=[2, 0, 1], experiences=[["c", "a"], ["b"]])
            state = {"finished": strategy == "naive", "model": trainable_state(model)}
            run.checkpoint(f"{strategy}-seed0", state)
            if strategy == "naive":
                run.naive = model.eval()
    return run


@torch.no_grad()
def test_a_finished_model_is_loaded_unchanged(tmp_path):
    from mmcl.batch import Batch

    run = make(tmp_path / "run")
    assert finished_models(run) == ["naive-seed0"] and strategy_of("naive-seed0") == "naive"
    model = load_checkpoint_model(run, task_config(run), "naive-seed0")
    assert not model.training and torch.equal(model(Batch(AUDIO)).logits, run.naive(Batch(AUDIO)).logits)
    assert class_names(run, "naive-seed0") == ["a", "b", "c"]
    with pytest.raises(CheckpointError, match="other-seed0"):
        class_names(run, "other-seed0")


def test_a_frozen_random_encoder_is_refused(tmp_path):
    run = make(tmp_path / "run", options={"dim": 16, "frozen": True})
    with pytest.raises(CheckpointError, match="random weights"):
        load_checkpoint_model(run, task_config(run), "naive-seed0")
