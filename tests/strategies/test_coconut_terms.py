import pytest
import torch

from mmcl.objectives import MMLoss, NSPTLoss
from mmcl.strategies.coconut_terms import is_small, joint_terms


def views(count, dim=5, labels=3):
    generator = torch.Generator().manual_seed(count)
    audio, text, *teacher = (torch.randn(count, dim, generator=generator, dtype=torch.float64) for _ in range(4))
    return audio.requires_grad_(), text.requires_grad_(), teacher, torch.randint(labels, (count,), generator=generator)


@pytest.mark.parametrize("denominator", ["literal", "proper"])
@pytest.mark.parametrize("anchors", ["new", "all"])
@pytest.mark.parametrize("past", [[], [0], [1, 4, 5], [0, 1, 2, 3, 4, 5, 6]])
def test_terms_and_gradients_equal_those_of_the_objectives(denominator, anchors, past):
    audio, text, teacher, labels = views(7)
    is_rehearsal = torch.zeros(7, dtype=torch.bool)
    is_rehearsal[past] = True
    mm, nspt = MMLoss(0.3), NSPTLoss(0.3, denominator)
    expected = [mm(audio, text, labels, None if anchors == "all" else ~is_rehearsal)]
    if past:
        expected += [
            nspt(own, taught, labels, is_rehearsal) for own, taught in zip((audio, text), teacher, strict=True)
        ]
    chosen = [place for place in range(7) if anchors == "all" or place not in past]
    taught = torch.stack(teacher)[:, past] if past else None
    found = joint_terms(audio, text, labels, chosen, past, taught, temperature=0.3, proper=denominator == "proper")
    torch.testing.assert_close(found, torch.stack(expected))
    weights = torch.tensor([3.0, 0.7, 0.2], dtype=torch.float64)[: len(found)]
    gradients = [
        torch.autograd.grad((weights * terms).sum(), (audio, text)) for terms in (found, torch.stack(expected))
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_without_anchors_the_first_term_is_zero_and_keeps_its_gradient():
    audio, text, teacher, labels = views(4)
    found = joint_terms(audio, text, labels, [], [0, 2], torch.stack(teacher)[:, [0, 2]], temperature=0.5)
    assert found[0].item() == 0.0 and found[1:].abs().min() > 0
    (gradient,) = torch.autograd.grad(found[0], audio)
    assert torch.equal(gradient, torch.zeros_like(audio))


def test_by_hand():
    eye, labels = torch.eye(2), torch.tensor([0, 1])
    log = torch.tensor(torch.e).add(1).log()
    found = joint_terms(eye, eye, labels, [0, 1], [0], torch.stack([eye[:1], eye[1:]]), temperature=1.0)
    # MM: twice log(e + 1) - 1; audio: log(e + 1) - <e1, e1>; text: log(e + 1) - <e1, e2>
    torch.testing.assert_close(found, torch.stack([2 * (log - 1), log - 1, log]))


def test_half_precision_is_computed_in_single_precision():
    audio, text, _, labels = views(6)
    half = [side.detach().bfloat16() for side in (audio, text)]
    found = joint_terms(*half, labels, range(6), temperature=0.1)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, joint_terms(*(side.float() for side in half), labels, range(6), temperature=0.1))


def test_a_small_batch_depends_on_the_device():
    assert is_small(torch.zeros(64, 1)) and not is_small(torch.zeros(65, 1))
    assert is_small(torch.zeros(512, 1, device="meta")) and not is_small(torch.zeros(513, 1, device="meta"))
