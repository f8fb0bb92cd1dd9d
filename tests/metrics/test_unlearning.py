import math

import pytest
import torch

from mmcl.errors import InputError, LabelError, ShapeError
from mmcl.metrics.unlearning import distance_to_retrain, loss_attack, membership_attack, per_sample_loss


@pytest.fixture
def logits():
    """Logits with confidence that grows with ``scale``."""

    def make(count, scale, seed):
        generator = torch.Generator().manual_seed(seed)
        return scale * torch.randn(count, 5, generator=generator)

    return make


def test_attacker_separates_remembered_from_forgotten(logits):
    known, unknown = logits(400, 6.0, 0), logits(400, 1.0, 1)
    remembered = membership_attack(known, unknown, logits(300, 6.0, 2), logits(300, 1.0, 3))
    forgotten = membership_attack(known, unknown, logits(300, 1.0, 4), logits(300, 1.0, 5))
    assert remembered > 0.9
    assert abs(forgotten - 0.5) < 0.05
    # The larger set is subsampled to the size of the smaller one.
    assert membership_attack(known, unknown, logits(100, 6.0, 2), logits(3000, 1.0, 3)) > 0.85


def test_attacker_sees_sorted_probabilities_only(logits):
    known, unknown = logits(200, 6.0, 0), logits(200, 1.0, 1)
    asked = logits(150, 3.0, 2), logits(150, 1.0, 3)
    turned = [each[:, [3, 0, 4, 1, 2]] + 7 for each in asked]  # other classes, and a shift that a softmax ignores
    assert membership_attack(known, unknown, *asked) == membership_attack(known, unknown, *turned)


def test_minus_infinity_logits_are_accepted(logits):
    sides = [torch.nn.functional.pad(logits(60, scale, 0), (0, 2), value=-math.inf) for scale in (6.0, 1.0, 6.0, 1.0)]
    assert 0 <= membership_attack(*sides) <= 1


def test_threshold_is_optimal():
    members, others = torch.tensor([0.1, 0.2, 0.2, 0.9]), torch.tensor([0.2, 0.5, 0.8, 1.0])
    # 0.2 calls three members and one other: (3 + 3) / 8 is the most that any threshold tells
    asked = torch.tensor([0.15, 0.2, 0.21, 3.0]), torch.tensor([0.1, 0.3, 0.4, 0.5])
    assert loss_attack(members, others, *asked) == pytest.approx((2 + 3) / 8)
    best = max(float((members <= t).sum() + (others > t).sum()) / 8 for t in torch.cat([members, others]).tolist())
    assert loss_attack(members, others, members, others) == pytest.approx(best)


def test_attacks_are_repeatable_and_balanced(logits):
    sides = logits(90, 4.0, 0), logits(50, 1.0, 1), logits(70, 2.0, 2), logits(40, 1.0, 3)
    assert membership_attack(*sides, seed=3) == membership_attack(*sides, seed=3)
    alone = [side[:, 0] for side in sides]
    assert loss_attack(*alone, seed=3) == loss_attack(*alone, seed=3)
    nothing = torch.zeros(100), torch.zeros(10), torch.zeros(100), torch.zeros(10)
    assert loss_attack(*nothing) == 0.5  # an uninformed attacker has an accuracy of 0.5 for any number of members


def test_losses():
    logits = torch.tensor([[0.0, 0.0, -math.inf], [2.0, 0.0, -math.inf]])
    found = per_sample_loss(logits, [1, 2]).tolist()
    assert found == [pytest.approx(math.log(2)), 100.0]
    with pytest.raises(LabelError, match="labels range from 0 to 3, expected 0 to 2"):
        per_sample_loss(logits, [0, 3])


def test_distances():
    one, other = {"a": 0.5, "b": 0.7, "c": 1.0}, {"b": 0.9, "a": 0.4}
    assert distance_to_retrain(one, other) == pytest.approx(0.15)
    assert distance_to_retrain(one, other, ["b"]) == pytest.approx(0.2)
    assert distance_to_retrain(one, one) == 0
    with pytest.raises(ShapeError, match="have no name in common"):
        distance_to_retrain({"a": 1.0}, {"b": 1.0})


def test_invalid_inputs_raise():
    with pytest.raises(ShapeError, match=r"forgotten have shape \(0, 3\)"):
        membership_attack(torch.ones(2, 3), torch.ones(2, 3), torch.ones(0, 3), torch.ones(2, 3))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_and_losses_that_are_not_finite_are_named(bad):
    good = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    for place, name in enumerate(("members", "others", "forgotten", "unseen")):
        logits, losses = [good] * 4, [good[:, 0]] * 4
        logits[place] = good.clone()
        logits[place][2, 1] = bad
        losses[place] = logits[place][:, 1]
        for attack, given in ((membership_attack, logits), (loss_attack, losses)):
            with pytest.raises(InputError, match=f"{name}: row 2 has"):
                attack(*given)
    with pytest.raises(InputError, match="test is .* of Retrain, expected finite numbers"):
        distance_to_retrain({"test": bad}, {"test": 0.5})
