import pytest
import torch

from mmcl.checkpoint import load_checkpoint, save_checkpoint
from mmcl.strategies import replay
from mmcl.strategies.rehearsal import Rehearsal
from mmcl.strategies.resuming import state_of, take_up_model, take_up_training


class Stopped(Exception):
    pass


def scheduler(optimizer, steps):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


@pytest.fixture
def stopped(make, benchmark, tmp_path):
    """A strategy that was stopped after the second epoch of its second experience, and its state, written and read."""
    strategy = make(replay, memory_size=20, scheduler=scheduler)
    strategy.train(benchmark.train_stream[0], eval_streams=[])

    def stop(**_):
        if strategy.epoch == 2:
            save_checkpoint(tmp_path / "state.safetensors", state_of(strategy))
            raise Stopped

    strategy._after_training_epoch = stop
    with pytest.raises(Stopped):
        strategy.train(benchmark.train_stream[1], eval_streams=[])
    return strategy, load_checkpoint(tmp_path / "state.safetensors")


def test_a_state_says_where_training_is(stopped):
    strategy, state = stopped
    assert (state["experience"], state["epoch"]) == (1, 2) and state["scheduler"]["last_epoch"] > 0
    weights = strategy.model.state_dict()  # of which those that are frozen are not kept
    assert state["model"] and all(torch.equal(value, weights[name]) for name, value in state["model"].items())
    assert torch.equal(state["random"]["torch"], torch.get_rng_state())


def test_model_and_memory_are_taken_up_first_and_the_rest_when_the_experience_is_set_up(stopped, make):
    strategy, state = stopped
    fresh = make(replay, seed=9, memory_size=20, scheduler=scheduler)
    before = torch.get_rng_state()
    take_up_model(fresh, state)
    weights = fresh.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in state["model"].items())
    memories = [next(p for p in each.plugins if isinstance(p, Rehearsal)).rows for each in (strategy, fresh)]
    assert memories[0] == memories[1] and len(memories[0]) == 20
    assert fresh.epoch == 0 and torch.equal(torch.get_rng_state(), before)
    parameters = [p for group in strategy.optimizer.param_groups for p in group["params"]]
    fresh.optimizer = torch.optim.AdamW(parameters, lr=9.0)
    fresh.scheduler = scheduler(fresh.optimizer, 100)
    take_up_training(fresh, state)
    assert fresh.epoch == 2 and fresh.scheduler.last_epoch == strategy.scheduler.last_epoch
    assert fresh.optimizer.param_groups[0]["lr"] == strategy.optimizer.param_groups[0]["lr"]
    assert torch.equal(torch.get_rng_state(), state["random"]["torch"])
