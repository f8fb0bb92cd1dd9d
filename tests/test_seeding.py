import json
import random

import numpy as np
import torch

from mmcl.seeding import random_state, seed_everything, set_random_state


def draw():
    return (
        random.random(),
        float(np.random.rand()),
        torch.rand(3).tolist(),
        random.gauss(0, 1),
        float(np.random.randn()),
    )


def test_a_state_taken_up_again_gives_the_same_numbers_from_all_generators():
    seed_everything(0)
    draw()
    state = random_state()
    expected = [draw() for _ in range(3)]
    assert expected[0] != expected[1]
    seed_everything(1)
    set_random_state(state)
    assert [draw() for _ in range(3)] == expected


def test_but_for_tensors_the_state_is_plain_data():
    state = random_state()
    json.dumps({"python": state["python"], "numpy": state["numpy"]})
    assert isinstance(state["torch"], torch.Tensor)
