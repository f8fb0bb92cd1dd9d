import json
import random

import numpy as np
import pytest
import torch

from mmcl.seeding import random_state, seed_everything, seeded, set_random_state


def draw():
    return (
        random.random(),
        float(np.random.rand()),
        torch.rand(3).tolist(),
        random.gauss(0, 1),
        float(np.random.randn()),
    )


def test_restored_state_repeats_numbers_of_all_generators():
    seed_everything(0)
    draw()
    state = random_state()
    expected = [draw() for _ in range(3)]
    assert expected[0] != expected[1]
    seed_everything(1)
    set_random_state(state)
    assert [draw() for _ in range(3)] == expected


def test_a_seeded_block_leaves_the_generators_as_they_were():
    seed_everything(0)
    expected = draw()
    seed_everything(0)
    with pytest.raises(ValueError, match="within"), seeded(1):
        assert draw() != expected
        raise ValueError("within the block")
    assert draw() == expected


def test_state_is_plain_data_except_tensors():
    state = random_state()
    json.dumps({"python": state["python"], "numpy": state["numpy"]})
    assert isinstance(state["torch"], torch.Tensor)


def test_a_gpu_that_is_not_in_use_is_left_alone(monkeypatch):
    def start():
        raise AssertionError("the GPU was started")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", start)
    assert random_state()["cuda"] == []


def test_states_of_further_gpus_are_left_out(monkeypatch):
    """A run of two GPUs is resumed with one."""
    restored = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda values, device: restored.append((values, device)))
    set_random_state({**random_state(), "cuda": ["first", "second"]})
    assert restored == [("first", 0)]
