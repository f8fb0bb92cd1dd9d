import pytest
import torch
from torch.nn.functional import cross_entropy

from mmcl.errors import ConfigError
from mmcl.seeding import seed_everything
from mmcl.unlearning.gradient_ascent import neg_grad, neg_grad_plus


def loss(model, data):
    batch = data.batch(torch.arange(len(data)))
    with torch.no_grad():
        return float(cross_entropy(model(batch).logits, batch["label"]))


def test_neg_grad_climbs_the_loss_of_what_is_forgotten(learnt, remain, forget, accuracy):
    once = neg_grad(learnt, remain, forget, learning_rate=1e-4)
    more = neg_grad(learnt, remain, forget, learning_rate=1e-4, epochs=5)
    assert loss(learnt, forget) < loss(once, forget) < loss(more, forget)
    assert accuracy(neg_grad(learnt, remain, forget, learning_rate=1e-3, epochs=3), forget) == 0


def test_neg_grad_takes_the_steps_of_its_definition(learnt, remain, forget):
    from copy import deepcopy

    expected = deepcopy(learnt)
    optimizer = torch.optim.Adam(expected.parameters(), lr=1e-3)
    batch = forget.batch(torch.arange(len(forget)))
    (-cross_entropy(expected(batch).logits, batch["label"])).backward()
    optimizer.step()
    found = neg_grad(learnt, remain, forget, learning_rate=1e-3, batch_size=len(forget))
    for name, tensor in expected.state_dict().items():
        assert torch.allclose(tensor, found.state_dict()[name], atol=1e-5), name


def test_neg_grad_plus_climbs_one_and_descends_the_other(learnt, remain, forget, accuracy):
    found = neg_grad_plus(learnt, remain, forget, learning_rate=2e-4, weight=0.9, epochs=2)
    assert loss(found, forget) > 2 * loss(learnt, forget)
    assert accuracy(found, remain) > accuracy(learnt, remain) - 0.1
    ends = []
    for weight in (1.0, 0.0):
        seed_everything(2)
        ends.append(neg_grad_plus(learnt, remain, forget, weight=weight))
    assert loss(ends[0], remain) < loss(learnt, remain) and loss(ends[1], forget) > loss(learnt, forget)
    with pytest.raises(ConfigError, match=r"weight of neg_grad_plus is 1\.5"):
        neg_grad_plus(learnt, remain, forget, weight=1.5)
