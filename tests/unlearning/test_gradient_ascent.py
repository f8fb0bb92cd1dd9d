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


def test_neg_grad_increases_the_loss_on_forgotten_samples(trained, remain, forget, accuracy):
    once = neg_grad(trained, remain, forget, learning_rate=1e-4)
    more = neg_grad(trained, remain, forget, learning_rate=1e-4, epochs=5)
    assert loss(trained, forget) < loss(once, forget) < loss(more, forget)
    assert accuracy(neg_grad(trained, remain, forget, learning_rate=1e-3, epochs=3), forget) == 0


def test_neg_grad_equals_a_plain_loop(trained, remain, forget):
    from copy import deepcopy

    expected = deepcopy(trained)
    optimizer = torch.optim.Adam(expected.parameters(), lr=1e-3)
    batch = forget.batch(torch.arange(len(forget)))
    (-cross_entropy(expected(batch).logits, batch["label"])).backward()
    optimizer.step()
    found = neg_grad(trained, remain, forget, learning_rate=1e-3, batch_size=len(forget))
    for name, tensor in expected.state_dict().items():
        assert torch.allclose(tensor, found.state_dict()[name], atol=1e-5), name


def test_neg_grad_plus_increases_one_loss_and_decreases_the_other(trained, remain, forget, accuracy):
    found = neg_grad_plus(trained, remain, forget, learning_rate=2e-4, weight=0.9, epochs=2)
    assert loss(found, forget) > 2 * loss(trained, forget)
    assert accuracy(found, remain) > accuracy(trained, remain) - 0.1
    ends = []
    for weight in (1.0, 0.0):
        seed_everything(2)
        ends.append(neg_grad_plus(trained, remain, forget, weight=weight))
    assert loss(ends[0], remain) < loss(trained, remain) and loss(ends[1], forget) > loss(trained, forget)
    with pytest.raises(ConfigError, match=r"\bweight\b.*1\.5"):
        neg_grad_plus(trained, remain, forget, weight=1.5)
