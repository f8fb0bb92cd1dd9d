"""Tests of length-normalized DPO: a loop, what its direction does, and log-probabilities of answers."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy
from waits import elsewhere

from mmcl.errors import InputError, LabelError, ShapeError
from mmcl.objectives import length_normalized_dpo, mean_log_probabilities


def logs(batch=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [-torch.rand(batch, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(4)]


def answers(batch=4, steps=5, tokens=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, steps, tokens, generator=generator, dtype=torch.float64).requires_grad_()
    chosen = torch.randint(tokens, (batch, steps), generator=generator)
    return logits, chosen, torch.arange(steps) < torch.randint(1, steps + 1, (batch, 1), generator=generator)


def test_equals_the_slow_loop():
    total = 0.0
    for c, r, reference_c, reference_r in zip(*(each.tolist() for each in logs()), strict=True):
        margin = 5 * ((c - r) - (reference_c - reference_r))
        total -= math.log(1 / (1 + math.exp(-margin)))
    assert length_normalized_dpo(*logs()).item() == pytest.approx(total / 6, rel=1e-12)


def test_equal_answers_give_log_2_and_so_does_the_reference_itself():
    chosen, rejected, *_ = logs()
    assert length_normalized_dpo(chosen, chosen, rejected, rejected).item() == pytest.approx(math.log(2))
    assert length_normalized_dpo(chosen, rejected, chosen, rejected).item() == pytest.approx(math.log(2))


def test_reversed_pairs_have_the_opposite_gradient_and_larger_margins_a_smaller_one():
    zero = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    ahead = torch.tensor([0.4], dtype=torch.float64)
    (one,) = torch.autograd.grad(length_normalized_dpo(zero, zero.detach(), zero.detach(), zero.detach()), zero)
    (other,) = torch.autograd.grad(length_normalized_dpo(zero.detach(), zero, zero.detach(), zero.detach()), zero)
    assert one.item() == -other.item() == -2.5
    given = (zero + ahead, zero.detach(), zero.detach(), zero.detach())
    (smaller,) = torch.autograd.grad(length_normalized_dpo(*given), zero)
    assert -2.5 < smaller.item() < 0


def test_gradients_equal_finite_differences_and_the_reference_gets_none():
    chosen, rejected, *reference = logs()
    chosen, rejected = (each.detach().requires_grad_() for each in (chosen, rejected))
    reference = [each.detach() for each in reference]
    assert torch.autograd.gradcheck(lambda c, r: length_normalized_dpo(c, r, *reference), (chosen, rejected))
    reference = [each.requires_grad_() for each in reference]
    loss = length_normalized_dpo(chosen, rejected, *reference)
    assert torch.autograd.grad(loss, reference, allow_unused=True) == (None, None)


def test_log_probabilities_are_the_mean_cross_entropy_of_each_answer():
    logits, tokens, mask = answers()
    found = mean_log_probabilities(logits, tokens, mask)
    for row, value in enumerate(found.tolist()):
        expected = -cross_entropy(logits[row][mask[row]], tokens[row][mask[row]])
        assert value == pytest.approx(expected.item(), rel=1e-12)
    assert torch.autograd.gradcheck(lambda each: mean_log_probabilities(each, tokens, mask), logits)
    padded = tokens.masked_fill(~mask, -100)  # as in transformers
    assert torch.equal(mean_log_probabilities(logits, padded, mask), found)


def test_an_answer_that_repeats_a_token_is_not_preferred_for_its_length():
    logits, mask = torch.randn(1, 1, 7).expand(1, 6, 7), torch.arange(6)[None] < 6
    tokens = torch.full((1, 6), 2)
    short = mean_log_probabilities(logits, tokens, mask & (torch.arange(6) < 2))
    assert torch.allclose(mean_log_probabilities(logits, tokens, mask), short)


def test_half_precision_is_computed_in_float32():
    logits, tokens, mask = answers()
    found = mean_log_probabilities(logits.bfloat16(), tokens, mask)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), mean_log_probabilities(logits, tokens, mask), atol=0.02)
    assert length_normalized_dpo(*(each.bfloat16() for each in logs())).dtype == torch.float32


def test_bad_input():
    given = [each.detach() for each in logs()]
    with pytest.raises(ShapeError, match=r"rejected .*\(3,\)"):
        length_normalized_dpo(given[0], given[1][:3], *given[2:])
    with pytest.raises(InputError, match="beta is 0"):
        length_normalized_dpo(*given, beta=0)
    given[1][2] = -torch.inf  # a token that cannot be
    with pytest.raises(InputError, match="rejected: row 2 .*-inf"):
        length_normalized_dpo(*given)
    with elsewhere():
        assert length_normalized_dpo(*given).isnan()


def test_bad_answers():
    logits, tokens, mask = answers()
    empty, unknown = mask.clone(), tokens.clone()
    empty[1], unknown[2, 0] = False, 7
    for wrong in ((logits, tokens, empty), (logits, unknown, mask)):
        with pytest.raises(InputError, match="answer 1 is empty|answer 2 has token 7"):
            mean_log_probabilities(*wrong)
        with elsewhere():
            assert mean_log_probabilities(*wrong).isnan().sum() == 1
    with pytest.raises(LabelError, match="float"):
        mean_log_probabilities(logits, tokens.double(), mask)
    for wrong in ((logits[0], tokens, mask), (logits, tokens[:, 1:], mask), (logits, tokens, mask.long())):
        with pytest.raises(ShapeError, match="expected"):
            mean_log_probabilities(*wrong)
