"""Invalid values are an error on the CPU, and make the loss NaN or infinite where values are not checked at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from every_objective import LOSSES, PAIRS, Batch, draw
from waits import elsewhere

from mmcl.errors import InputError, MMCLError
from mmcl.objectives import (
    DCLLoss,
    Dense,
    Identity,
    LearnableTemperature,
    M3CoLoss,
    Mixed,
    MMLoss,
    NSPTLoss,
    SameLabel,
    Sparse,
    log_denominators,
    relational_distillation,
    two_way_info_nce,
    weighted_info_nce,
)
from mmcl.objectives.laf import extractor_unlearning, saturating, vae_loss
from mmcl.objectives.qcrd import discriminator_loss, mutual_information_loss, quality_contrast

NAN, INF = float("nan"), float("inf")
IDENTITY = Identity(8)


def assert_found(loss: Callable[[], torch.Tensor]) -> None:
    """An error on the CPU; elsewhere a loss that the training loop finds."""
    with pytest.raises(MMCLError):
        loss()
    with elsewhere():
        value = loss()
    assert not value.isfinite().all(), f"the loss is {value}"


def changed(batch: Batch, name: str, place: object, value: float) -> Batch:
    """Return the batch with one value of an entry changed."""
    entry = batch[name].detach().clone()
    entry[place] = value
    return batch | {name: entry.requires_grad_(batch[name].requires_grad)}


def floats(name: str) -> list[str]:
    """Return the entries of a loss whose values must be finite."""
    batch = draw()
    return [entry for entry in LOSSES[name].takes if batch[entry].is_floating_point()]


@pytest.mark.parametrize(("name", "entry"), [(name, entry) for name in LOSSES for entry in floats(name)])
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_values_that_are_not_finite(name, entry, bad):
    batch = changed(draw(), entry, 0, bad)
    assert_found(lambda: LOSSES[name](batch))


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if "temperature" in loss.options])
@pytest.mark.parametrize("bad", [0.0, -1.0, 1e-30, 1e30, NAN, INF])
def test_temperatures(name, bad):
    assert_found(lambda: LOSSES[name](draw(), temperature=torch.tensor(bad, dtype=torch.float64)))


def test_temperatures_of_single_queries():
    batch = draw()
    temperature = torch.full((8,), 0.1)
    temperature[5] = -0.1
    assert_found(lambda: weighted_info_nce(batch["a"], batch["b"], IDENTITY, temperature=temperature))


def test_a_learnable_temperature_that_became_nan():
    temperature = LearnableTemperature()
    with torch.no_grad():
        temperature.log_scale.fill_(NAN)
    assert_found(lambda: LOSSES["CLIPLoss"](draw(), temperature=temperature))


PERMUTATIONS = [[1, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 8], [-1, 1, 2, 3, 4, 5, 6, 7], [10**9] * 8]
COEFFICIENTS = [-0.1, 1.1, NAN, INF]


def mixtures() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return invalid mixtures of 8 rows."""
    swapped, half = torch.arange(8).flip(0), torch.full((8,), 0.5)
    single = [half.index_fill(0, torch.tensor([2]), value) for value in COEFFICIENTS]
    return [*((torch.tensor(each), half) for each in PERMUTATIONS), *((swapped, each) for each in single)]


@pytest.mark.parametrize(("permutation", "lam"), mixtures())
def test_mixtures(permutation, lam):
    a, b = draw()["a"], draw()["b"]
    assert_found(lambda: M3CoLoss().from_mixed(a, b, permutation, lam))
    assert_found(lambda: weighted_info_nce(a, b, Mixed(permutation, lam)))
    assert_found(lambda: weighted_info_nce(a, b, IDENTITY, denominator=Mixed(permutation, lam)))
    assert_found(lambda: two_way_info_nce(a, b, IDENTITY, Mixed(permutation, lam))[1])


def matrices() -> list[torch.Tensor]:
    """Return invalid weights of 8 rows, with positive weights in other rows."""
    place = torch.tensor(1), torch.tensor(2)
    single = [torch.eye(8).index_put(place, torch.tensor(value)) for value in (-1.0, NAN, INF, 1e19)]
    halves = [each.half() for each in single[:3]]
    return [*single, *halves, torch.zeros(8, 8), -torch.eye(8).long(), torch.zeros(8, 8).int()]


@pytest.mark.parametrize("matrix", matrices())
def test_dense_weights(matrix):
    a, b = draw()["a"], draw()["b"]
    assert_found(lambda: weighted_info_nce(a, b, matrix))
    assert_found(lambda: weighted_info_nce(a, b, matrix, block_size=3))
    assert_found(lambda: weighted_info_nce(a, b, matrix, coefficient=torch.ones(8)))
    assert_found(lambda: weighted_info_nce(a, b, IDENTITY, denominator=matrix))
    assert_found(lambda: log_denominators(a, b, matrix))
    assert_found(lambda: two_way_info_nce(a, b, Dense(matrix), IDENTITY)[0])
    assert_found(lambda: two_way_info_nce(a, b, IDENTITY, Dense(matrix))[1])


@pytest.mark.parametrize(
    ("queries", "keys", "values"),
    [
        ([0, 8], [1, 1], None),
        ([0, -1], [1, 1], None),
        ([0, 1], [1, 10**9], None),
        ([0, 1], [-5, 1], [1.0, 1.0]),
        ([0, 1], [1, 1], [1.0, -1.0]),
        ([0, 1], [1, 1], [NAN, 1.0]),
        ([0, 1], [1, 1], [INF, 1.0]),
        ([0, 1], [1, 1], [1, -1]),
    ],
)
def test_sparse_weights(queries, keys, values):
    a, b = draw()["a"], draw()["b"]

    def pairs() -> Sparse:
        weights = None if values is None else torch.tensor(values)
        return Sparse(torch.tensor(queries), torch.tensor(keys), (8, 8), weights)

    assert_found(lambda: weighted_info_nce(a, b, pairs()))
    assert_found(lambda: weighted_info_nce(a, b, IDENTITY, denominator=pairs()))
    assert_found(lambda: two_way_info_nce(a, b, IDENTITY, pairs())[1])


def test_flags_that_are_numbers_other_than_0_and_1():
    batch, flags = draw(), torch.tensor([0, 1, 1, 2, 0, 0, 1, 1])
    for denominator in ("literal", "proper"):
        assert_found(
            lambda kind=denominator: NSPTLoss(denominator=kind)(
                batch["student"], batch["teacher"], batch["labels"], flags
            )
        )
    assert_found(lambda: MMLoss()(batch["a"], batch["b"], batch["labels"], flags))
    with elsewhere():  # documented: these count as True
        assert SameLabel(batch["labels"], differ=flags).differ.tolist() == (flags != 0).tolist()


@pytest.mark.parametrize("bad", [NAN, INF])
def test_factors_and_coefficients(bad):
    batch = changed(draw(), "lam", 3, bad)
    a, b, labels, lam = (batch[name] for name in ("a", "b", "labels", "lam"))
    assert_found(lambda: weighted_info_nce(a, b, SameLabel(labels).scaled(lam)))
    assert_found(lambda: weighted_info_nce(a, b, IDENTITY, coefficient=lam))


def test_sums_that_overflow():
    batch = {name: value.float() * 1e25 for name, value in draw().items() if value.is_floating_point()}
    assert_found(lambda: weighted_info_nce(batch["a"], batch["b"], IDENTITY, normalize=False))
    for name in ("feature_distillation", "vae_loss", "squared_errors"):
        assert_found(lambda loss=LOSSES[name]: loss(batch))


def test_only_used_rows_of_a_teacher_count():
    batch = changed(draw(), "teacher", 1, NAN)  # no rehearsal
    for kind in ("literal", "proper"):
        loss = NSPTLoss(denominator=kind)
        expected = loss.of(draw())
        with elsewhere():
            assert loss.of(batch).item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("bad", [-1.0, NAN])
def test_weights_of_terms_that_are_tensors(bad):
    batch = draw()
    student, weight = batch["student"], torch.tensor(bad)
    assert_found(lambda: relational_distillation(student, batch["teacher"], distance_weight=weight))
    assert_found(lambda: relational_distillation(student, batch["teacher"], angle_weight=weight))
    assert_found(lambda: vae_loss(student, student, student, student, kl_weight=weight))
    losses, scores = batch["losses"], batch["scores"]
    assert_found(lambda: quality_contrast(losses, losses, scores, scores, beta=weight))


def test_negative_errors_of_autoencoders():
    batch = changed(draw(), "errors", 3, -0.5)
    assert_found(lambda: saturating(batch["errors"]).sum())
    for phi in (True, False):
        assert_found(lambda phi=phi: extractor_unlearning(batch["errors"], batch["other_errors"], phi=phi))
        assert_found(lambda phi=phi: extractor_unlearning(batch["other_errors"], batch["errors"], phi=phi))


@pytest.mark.parametrize("bad", [-0.1, 1.1, NAN, INF])
@pytest.mark.parametrize("scheme", ["min_max", "max_min", "mean", "weighted_mean", "sampling"])
def test_scores_of_rationales(scheme, bad):
    batch = draw()
    for name in ("scores", "other_scores"):
        given = changed(batch, name, (0, 1), bad)
        entries = [given[key] for key in ("losses", "other_losses", "scores", "other_scores")]
        assert_found(lambda entries=entries: quality_contrast(*entries, scheme=scheme))
        assert_found(lambda given=given: discriminator_loss(given["scores"], given["other_scores"]))


def test_scores_of_inputs_that_do_not_count():
    scores, nothing = torch.full((8, 4), 1.5), torch.zeros(8, 4, dtype=torch.bool)
    assert_found(lambda: discriminator_loss(scores, scores, ~nothing, nothing))


def test_masked_values_of_rationales_may_be_anything():
    batch = draw()
    mask = torch.arange(4) != 1
    masks = mask.expand(8, 4), mask.expand(8, 4)
    names = ("losses", "other_losses", "scores", "other_scores")
    hidden = [changed(batch, name, (slice(None), 1), NAN)[name] for name in names]
    with elsewhere():
        assert quality_contrast(*hidden, *masks).isfinite()
        assert discriminator_loss(*hidden[2:], *masks).isfinite()
        logits = changed(batch, "logits", (slice(None), 1), NAN)["logits"]
        assert mutual_information_loss(logits, batch["other_logits"], batch["steps"] & False | mask[:3]).isfinite()


def test_logits_that_another_step_exceeds():
    batch = changed(draw(), "logits", (0, 0, 0), -INF)
    assert_found(lambda: mutual_information_loss(batch["logits"], batch["other_logits"]))
    assert_found(lambda: mutual_information_loss(batch["other_logits"], batch["logits"]))


def test_anomaly_detection_checks_at_once_on_every_device():
    batch = changed(draw(), "a", 3, NAN)
    with elsewhere(), torch.autograd.set_detect_anomaly(True), pytest.raises(InputError, match="row 3 .*nan"):
        LOSSES["CLIPLoss"](batch)


@pytest.mark.parametrize("name", PAIRS)
def test_valid_weights_are_finite(name):
    with elsewhere():
        for function in ("weighted_info_nce", "both", "denominator", "log_denominators"):
            assert LOSSES[f"{function} of {name}"](draw()).isfinite()


def test_dcl_weights_of_features_that_are_not_finite():
    batch = changed(draw(), "b", 3, INF)
    assert_found(lambda: DCLLoss(sigma=0.5)(batch["a"], batch["b"]))
