import numpy as np
import pytest
import torch
from objective_cases import CASES, draw
from waits import elsewhere, no_waits

from mmcl.errors import InputError, LabelError, ShapeError
from mmcl.objectives import Mixed, SameLabel
from mmcl.objectives.kernel.labels import flag_factors, flags_of, labels_of, mixture_of, targets_of

CPU = torch.device("cpu")
TAKE_LABELS = [name for name, case in CASES.items() if "labels" in case.takes]
TAKE_FLAGS = [name for name, case in CASES.items() if "is_rehearsal" in case.takes]
WHOLE = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16, torch.uint32, torch.uint64]


def forms(labels):
    """Return the same two labels in every accepted form."""
    return [labels.to(dtype) for dtype in WHOLE] + [labels.tolist(), labels.numpy(), labels.numpy().astype(np.uint16)]


@pytest.mark.parametrize("block_size", [None, 2])
@pytest.mark.parametrize("name", TAKE_LABELS)
def test_every_form_of_labels_gives_the_same_loss(name, block_size):
    if name == "kernel":
        pytest.skip("the test's own kernel call makes pairs of labels, which test_pairs_accept_every_form covers")
    batch = draw([7]) | {"labels": torch.tensor([0, 1, 1, 0, 1, 0, 0])}
    expected = CASES[name](batch, block_size=block_size)
    for labels in forms(batch["labels"]):
        assert torch.equal(CASES[name](batch | {"labels": labels}, block_size=block_size), expected)
    if not name.startswith("simlap"):  # its gate knows classes from 0
        negative = CASES[name](batch | {"labels": -5 * batch["labels"]}, block_size=block_size)
        assert torch.allclose(negative, expected, rtol=1e-12)


@pytest.mark.parametrize("name", TAKE_FLAGS)
def test_every_form_of_boolean_masks_gives_the_same_loss(name):
    batch = draw([7]) | {"is_rehearsal": torch.tensor([True, False, True, True, False, False, True])}
    expected = CASES[name](batch)
    for flags in [*forms(batch["is_rehearsal"]), batch["is_rehearsal"].long()]:
        assert torch.equal(CASES[name](batch | {"is_rehearsal": flags}), expected)
    with pytest.raises(LabelError, match="holds 2"):
        CASES[name](batch | {"is_rehearsal": 2 * batch["is_rehearsal"].long()})


@pytest.mark.parametrize("name", [name for name in TAKE_LABELS if name != "kernel"])
def test_labels_that_are_not_integers_are_an_error(name):
    batch = draw([4])
    for labels in (torch.rand(4), torch.ones(4).bfloat16(), np.ones(4), torch.ones(4).cfloat(), list("abcd"), None):
        with pytest.raises(LabelError, match="labels is .*integers"):
            CASES[name](batch | {"labels": labels})
    for labels in (torch.zeros(4, 1).long(), torch.zeros(4, 3).long(), torch.tensor(1), [0, 1], []):
        with pytest.raises(ShapeError, match=r"labels has shape .*\(4,\)"):
            CASES[name](batch | {"labels": labels})


def test_pairs_accept_every_form():
    labels = torch.tensor([0, 1, 1])
    expected = SameLabel(labels, differ=labels.bool()).dense(torch.zeros(1))
    for form in forms(labels):
        assert torch.equal(SameLabel(form, form, differ=form).dense(torch.zeros(1)), expected)
    swap = torch.tensor([1, 0])
    mixed = Mixed(swap.to(torch.uint8), torch.tensor([0.5, 1.0]))  # torch would use an index of this dtype as a mask
    assert torch.equal(mixed.dense(torch.zeros(1)), Mixed(swap, torch.tensor([0.5, 1.0])).dense(torch.zeros(1)))


def test_large_unsigned_labels_stay_distinct():
    labels = labels_of("labels", np.array([2**64 - 1, 2**64 - 1, 0], dtype=np.uint64))
    assert labels[0] == labels[1] != labels[2]


def test_an_empty_batch_is_valid():
    for empty in ([], np.zeros(0, dtype=int), torch.zeros(0, dtype=torch.long)):
        assert labels_of("labels", empty, count=0).dtype == torch.long
    assert flags_of("flags", [], count=0).dtype == torch.bool


def test_mixing_coefficients_are_validated():
    swap = torch.tensor([1, 0])
    for lam in (torch.tensor([0.5]), [0.5, 0.5], torch.ones(2, 1), torch.ones(2).cfloat()):
        with pytest.raises(ShapeError, match=r"lam has shape .*\(2,\)"):
            mixture_of(swap, lam)
    for lam in ([1.5, 0.0], [float("nan"), 0.0], [-0.1, 0.0]):
        with pytest.raises(InputError, match="lam holds"):
            mixture_of(swap, torch.tensor(lam))


def test_factors_of_flags():
    for given in ([True, False], [1, 0], torch.tensor([1, 0], dtype=torch.uint8), np.array([True, False])):
        assert flag_factors("flags", given, count=2).tolist() == [1.0, 0.0]
    with pytest.raises(LabelError, match="flags holds 2"):
        flag_factors("flags", [2, 0], count=2)
    with elsewhere():
        assert flags_of("flags", [2, 0], count=2).tolist() == [True, False]
        assert flag_factors("flags", [2, 0, 1], count=3).isnan().tolist() == [True, False, False]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.long])
def test_a_valid_mixture_is_the_same_where_values_are_not_read(dtype):
    permutation, lam = torch.tensor([2, 0, 1]), torch.tensor([0, 1, 1]).to(dtype)
    with no_waits():
        found = mixture_of(permutation, lam)
    assert torch.equal(found[0], permutation) and torch.equal(found[1], lam.to(found[1].dtype))
    assert mixture_of(permutation, lam)[1] is lam
    with elsewhere():
        assert mixture_of(torch.zeros(0).long(), torch.zeros(0))[0].shape == (0,)


def test_indices_of_an_invalid_mixture_stay_within_the_batch():
    with elsewhere():
        permutation, lam = mixture_of(torch.tensor([-5, 9, 1]), torch.ones(3))
    assert permutation.tolist() == [0, 2, 1] and lam.isnan().all()


def test_targets_are_numbers_without_gradient():
    targets = targets_of("targets", torch.tensor([1.5, 2.0], dtype=torch.float16, requires_grad=True), 2, CPU)
    assert targets.dtype == torch.float32 and targets.tolist() == [1.5, 2.0] and not targets.requires_grad
    assert targets_of("targets", torch.tensor([1.0], dtype=torch.float64), 1, CPU).dtype == torch.float64


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (torch.ones(2, 1), ShapeError, r"\(2, 1\)"),
        (torch.ones(3), ShapeError, r"\(3,\)"),
        (torch.tensor([1.0, float("nan")]), InputError, "row 1 is not finite"),
        (torch.ones(2, dtype=torch.complex64), InputError, "complex64"),
        ([1.0, 2.0], InputError, "targets is a list"),
    ],
)
def test_invalid_targets_are_an_error(given, error, text):
    with pytest.raises(error, match=text):
        targets_of("targets", given, 2, CPU)
