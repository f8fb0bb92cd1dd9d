import pytest
import torch

from mmcl.errors import ConfigError
from mmcl.models.readouts import RanPAC
from mmcl.models.readouts.ranpac import eigenvectors, ridge_losses

GRID = (1e-3, 1e-1, 1e1, 1e3)


def projected(readout, rows):
    """Projections of each row in float64, unit by unit."""
    columns = readout.projection.double().T
    units = [[float(column @ row.double()) for column in columns] for row in rows]
    return torch.tensor(units, dtype=torch.double).clamp(min=0 if readout.activation == "relu" else -torch.inf)


def fitted(hidden, labels, ridge):
    """Ridge regression of one-hot labels, by sums over samples."""
    gram, target = ridge * torch.eye(hidden.shape[1], dtype=torch.double), torch.zeros(hidden.shape[1], 3).double()
    for row, label in zip(hidden, labels.tolist(), strict=True):
        gram += torch.outer(row, row)
        target[:, label] += row
    return torch.linalg.inv(gram) @ target


@pytest.mark.parametrize("activation", ["relu", "none"])
def test_scores_and_the_ridge_equal_a_slow_reference(activation, samples, fit):
    embeddings, labels, tests = samples()
    held_out = torch.arange(len(labels)) % 5 == 4
    readout = fit(RanPAC(projections=16, activation=activation, ridges=GRID), embeddings, labels, 7, held_out)
    hidden, one_hot = projected(readout, embeddings), torch.nn.functional.one_hot(labels, 3)
    losses = []
    for ridge in GRID:
        weights = fitted(hidden[~held_out], labels[~held_out], ridge)
        losses.append(float((hidden[held_out] @ weights - one_hot[held_out]).square().sum()))
    ridge = GRID[losses.index(min(losses))]
    assert float(readout.ridge) == pytest.approx(ridge)
    expected = projected(readout, tests) @ fitted(hidden, labels, ridge)
    torch.testing.assert_close(readout(tests).double(), expected, rtol=1e-4, atol=1e-4)


def test_losses_of_all_ridges_differ_from_squared_errors_by_a_constant(samples):
    embeddings, labels, _ = samples()
    rows, one_hot = embeddings.double(), torch.nn.functional.one_hot(labels, 3).double()
    held_out = torch.arange(len(labels)) % 3 == 0
    parts = [(rows[each], one_hot[each]) for each in (~held_out, held_out)]
    grams, sums = zip(*((own.T @ own, own.T @ targets) for own, targets in parts), strict=True)
    losses = ridge_losses(grams[0], sums[0], grams[1], sums[1], GRID, rank=len(parts[0][0]))
    errors = [
        (parts[1][0] @ fitted(parts[0][0], labels[~held_out], ridge) - parts[1][1]).square().sum() for ridge in GRID
    ]
    constant = parts[1][1].square().sum()
    torch.testing.assert_close(losses + constant, torch.stack(errors))


def test_losses_of_few_samples_equal_those_of_the_whole_decomposition():
    torch.manual_seed(0)
    hidden, one_hot = (torch.randn(30, 80) + 1).relu().double(), torch.eye(3).double()[torch.arange(30) % 3]
    parts = [(hidden[each], one_hot[each]) for each in (slice(24), slice(24, 30))]
    grams, sums = zip(*((own.T @ own, own.T @ targets) for own, targets in parts), strict=True)
    few, all_values = (ridge_losses(grams[0], sums[0], grams[1], sums[1], GRID, rank) for rank in (24, 80))
    torch.testing.assert_close(few, all_values, rtol=1e-8, atol=0)
    values, vectors = eigenvectors(grams[0], rank=24)
    assert values.shape == (24,)
    torch.testing.assert_close((vectors * values) @ vectors.T, grams[0])


def test_projections_are_the_same_on_every_machine_and_follow_the_seed():
    one, again, other = RanPAC(projections=4), RanPAC(projections=4), RanPAC(projections=4, seed=1)
    for readout in (one, again, other):
        readout.allocate(3)
    assert torch.equal(one.projection, again.projection) and not torch.equal(one.projection, other.projection)
    assert one.projection[0, 0].item() == pytest.approx(
        torch.randn(1, generator=torch.Generator().manual_seed(0)).item()
    )


def test_without_held_out_samples_the_ridge_follows_the_gram_matrix(samples, fit):
    embeddings, labels, _ = samples(each=1)
    readout = fit(RanPAC(projections=16), embeddings, labels)
    scale = projected(readout, embeddings).square().sum() / 16
    assert 10**-0.5 <= float(readout.ridge) / scale <= 10**0.5


def test_a_single_ridge_is_used_as_it_is(samples, fit):
    embeddings, labels, _ = samples()
    readout = fit(RanPAC(projections=16, ridges=(7.0,)), embeddings, labels, held_out=labels == 0)
    assert float(readout.ridge) == 7.0 and int(readout.held_out.counts.sum()) == 0


def test_faulty_settings_raise(samples, fit):
    with pytest.raises(ConfigError, match="0.0"):
        RanPAC(ridges=(1.0, 0.0))
    with pytest.raises(ConfigError, match="tanh"):
        RanPAC(activation="tanh")
    embeddings, labels, _ = samples(each=2)
    with pytest.raises(ConfigError, match="6 samples.*64 projections.*1e-300"):
        fit(RanPAC(projections=64, ridges=(1e-300,)), embeddings, labels)
