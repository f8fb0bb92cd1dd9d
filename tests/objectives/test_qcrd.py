import math

import pytest
import torch

from mmcl.errors import ConfigError, InputError, ShapeError
from mmcl.objectives.qcrd import discriminator_loss, mutual_information_loss, quality_contrast


def draw(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LOSSES = 4 * draw(3, 4), 4 * draw(3, 2, seed=1)
SCORES = draw(3, 4, seed=2), draw(3, 2, seed=3)
MASKS = (
    torch.tensor([[True, True, False, True], [True, False, False, False], [False] * 4]),
    torch.tensor([[True, True], [False, False], [False, True]]),
)


def test_the_example_by_hand():
    good, bad = torch.tensor([[1.2, 0.8]]).double(), torch.tensor([[2.5, 1.0]]).double()
    value = quality_contrast(good, bad, torch.full((1, 2), 0.9).double(), torch.full((1, 2), 0.1).double())
    assert value.item() == pytest.approx(0.81, abs=1e-6)
    only = quality_contrast(good, bad, torch.full((1, 2), 0.9).double(), torch.full((1, 2), 0.1).double(), beta=0)
    assert only.item() == pytest.approx(0.72, abs=1e-6)
    scores = torch.tensor([[0.9, 0.7]]).double(), torch.tensor([[0.1]]).double()
    assert discriminator_loss(*scores).item() == pytest.approx(-1.398139, abs=1e-6)


CHOOSE = {
    "min_max": (lambda pairs: min(pairs), lambda pairs: max(pairs)),
    "max_min": (lambda pairs: max(pairs), lambda pairs: min(pairs)),
    "mean": (lambda pairs: mean(pairs), lambda pairs: mean(pairs)),
    "weighted_mean": (lambda pairs: weighted(pairs), lambda pairs: weighted(pairs)),
}


def mean(pairs):
    return tuple(sum(each) / len(pairs) for each in zip(*pairs, strict=True))


def weighted(pairs):
    total = sum(weight for _, weight in pairs)
    return sum(loss * weight for loss, weight in pairs) / total, sum(weight**2 for _, weight in pairs) / total


@pytest.mark.parametrize("scheme", CHOOSE)
def test_the_contrast_equals_a_loop(scheme):
    total = 0.0
    for row in range(3):
        good = [(LOSSES[0][row, j].item(), SCORES[0][row, j].item()) for j in range(4) if MASKS[0][row, j]]
        bad = [(LOSSES[1][row, j].item(), 1 - SCORES[1][row, j].item()) for j in range(2) if MASKS[1][row, j]]
        if good:
            loss, score = CHOOSE[scheme][0](good)
            total += score * loss
        if bad:
            loss, score = CHOOSE[scheme][1](bad)
            total -= 0.3 * score * min(loss - 2.5, 0)
    value = quality_contrast(*LOSSES, *SCORES, *MASKS, beta=0.3, margin=2.5, scheme=scheme)
    assert value.item() == pytest.approx(total / 3, rel=1e-12)


def test_sampling_picks_an_existing_rationale():
    values = {round(quality_contrast(*LOSSES, *SCORES, *MASKS, scheme="sampling").item(), 9) for _ in range(60)}
    assert (
        1 < len(values) <= 6
    )  # three positive and two negative rationales of the first input, one of each kind for the others


def test_the_discriminator_equals_a_loop():
    values = []
    for row in range(3):
        good = [math.exp(SCORES[0][row, j]) for j in range(4) if MASKS[0][row, j]]
        bad = [math.exp(SCORES[1][row, j]) for j in range(2) if MASKS[1][row, j]]
        if good and bad:
            values.append(-math.log(sum(good) / sum(bad)))
    assert len(values) == 1
    assert discriminator_loss(*SCORES, *MASKS).item() == pytest.approx(sum(values))
    nothing = discriminator_loss(*SCORES, MASKS[0], torch.zeros_like(MASKS[1]))
    assert nothing.item() == 0


def test_mutual_information_equals_a_loop():
    explain, predict = draw(2, 3, 5), draw(2, 4, 5, seed=1)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    total = 0.0
    for row in range(2):
        steps = [explain[row, step].softmax(0).tolist() for step in range(3) if mask[row, step]]
        words = [max(step[v] for step in steps) for v in range(5)]
        answer = [max(predict[row, step].softmax(0)[v].item() for step in range(4)) for v in range(5)]
        q, p = ([each / sum(side) for each in side] for side in (words, answer))
        total -= sum(a * math.log(b) for a, b in zip(p, q, strict=True))
    assert mutual_information_loss(explain, predict, mask).item() == pytest.approx(total / 2)


def test_losses_get_gradients_and_scores_do_not():
    good, bad = (each.clone().requires_grad_() for each in LOSSES)
    assert torch.autograd.gradcheck(lambda a, b: quality_contrast(a, b, *SCORES, *MASKS), (good, bad))
    scores = [each.clone().requires_grad_() for each in SCORES]
    quality_contrast(good, bad, *scores, *MASKS).backward()
    assert scores[0].grad is None and good.grad.isfinite().all() and good.grad[2].eq(0).all()
    far = quality_contrast(
        good, bad.detach() + 5, *SCORES, *MASKS
    )  # negative rationales beyond the margin do not count
    assert far.item() == quality_contrast(good, bad, *SCORES, *MASKS, beta=0).item()
    assert torch.autograd.gradcheck(lambda a, b: discriminator_loss(a, b, *MASKS), tuple(scores))
    predict = draw(2, 4, 5, seed=1).requires_grad_()
    mutual_information_loss(draw(2, 3, 5).requires_grad_(), predict).backward()
    assert predict.grad is None


def test_invalid_arguments_are_an_error():
    with pytest.raises(ShapeError, match="positive losses .*3, 4.* scores .3, 2"):
        quality_contrast(LOSSES[0], LOSSES[1], SCORES[1], SCORES[1])
    with pytest.raises(ShapeError, match="positive rationales of 3 .* 2,"):
        quality_contrast(LOSSES[0], LOSSES[1][:2], SCORES[0], SCORES[1][:2])
    with pytest.raises(InputError, match="negative scores"):
        discriminator_loss(SCORES[0], SCORES[1] + 1)
    with pytest.raises(InputError, match="beta is -1"):
        quality_contrast(*LOSSES, *SCORES, beta=-1)
    with pytest.raises(ConfigError, match="'minmax'.*min_max, max_min"):
        quality_contrast(*LOSSES, *SCORES, scheme="minmax")
    with pytest.raises(ShapeError, match="explain_logits .* predict_logits"):
        mutual_information_loss(draw(2, 3, 5), draw(2, 3, 4))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_an_error_unless_masked(bad):
    losses, scores = draw(4, 3).abs(), draw(4, 3, seed=1).sigmoid()
    mask = torch.ones(4, 3, dtype=torch.bool)
    mask[2, 1] = False
    broken = (losses.clone(), scores.clone())
    for part in broken:
        part[2, 1] = bad
    for scheme in ("min_max", "max_min", "mean", "weighted_mean", "sampling"):
        torch.manual_seed(0)
        right = quality_contrast(losses, losses, scores, scores, mask, mask, scheme=scheme)
        torch.manual_seed(0)
        value = quality_contrast(broken[0], broken[0], broken[1], broken[1], mask, mask, scheme=scheme)
        assert torch.equal(value, right)
        with pytest.raises(InputError, match="positive losses: row 2"):
            quality_contrast(broken[0], losses, scores, scores, scheme=scheme)
    assert torch.equal(discriminator_loss(broken[1], scores, mask), discriminator_loss(scores, scores, mask))
    with pytest.raises(InputError, match="negative .*: row 2"):
        discriminator_loss(scores, broken[1])
    logits = draw(2, 3, 5)
    cut = logits.clone()
    cut[1, 2] = bad
    steps = torch.ones(2, 3, dtype=torch.bool)
    steps[1, 2] = False
    assert torch.equal(
        mutual_information_loss(cut, cut, steps, steps), mutual_information_loss(logits, logits, steps, steps)
    )
    with pytest.raises(InputError, match="explain_logits: row 1"):
        mutual_information_loss(cut, logits)


def test_an_empty_batch_is_0_with_a_gradient_path():
    empty, logits = torch.zeros(0, 2, requires_grad=True), torch.zeros(0, 2, 5, requires_grad=True)
    loss = quality_contrast(empty, empty, empty, empty) + discriminator_loss(empty, empty)
    (loss + mutual_information_loss(logits, logits.detach())).backward()
    assert loss.item() == 0 and empty.grad.shape == (0, 2) and logits.grad.shape == (0, 2, 5)
    with pytest.raises(ShapeError, match="logits has shape"):
        mutual_information_loss(torch.zeros(2, 0, 5), torch.zeros(2, 1, 5))


def test_an_invalid_beta_or_margin_is_an_error():
    losses, scores = draw(2, 2).abs(), draw(2, 2).sigmoid()
    for wrong in ({"beta": math.nan}, {"beta": "1"}, {"margin": math.nan}, {"margin": None}, {"margin": True}):
        with pytest.raises(InputError, match=f"{next(iter(wrong))} is"):
            quality_contrast(losses, losses, scores, scores, **wrong)
