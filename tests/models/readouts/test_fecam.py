import pytest
import torch

from mmcl.errors import ConfigError
from mmcl.models.readouts import FeCAM
from mmcl.models.readouts.fecam import inverse_of_lower


def slow_scores(readout, embeddings, labels, tests):
    """Scores of each sample and class in float64, entry by entry of the covariance."""
    power = [row.double().sign() * row.double().abs() ** readout.tukey for row in embeddings]
    own = [[row for row, other in zip(power, labels.tolist(), strict=True) if other == label] for label in range(3)]
    means = [sum(rows) / len(rows) for rows in own]
    scatters = [
        sum(torch.outer(x - m, x - m) for x in rows) / (len(rows) - 1) for rows, m in zip(own, means, strict=True)
    ]
    if readout.covariance == "shared":
        total = sum((len(rows) - 1) * each for rows, each in zip(own, scatters, strict=True)) / len(power)
        scatters = [total] * 3
    found = []
    for mean, covariance in zip(means, scatters, strict=True):
        dim = len(mean)
        variance = sum(covariance[i, i] for i in range(dim)) / dim
        rest = sum(covariance[i, j] for i in range(dim) for j in range(dim) if i != j) / (dim * (dim - 1))
        shrunk = torch.zeros(dim, dim, dtype=torch.double)
        for i in range(dim):
            for j in range(dim):
                added = readout.shrinkage * variance if i == j else readout.off_diagonal * rest
                shrunk[i, j] = covariance[i, j] + added
        if readout.covariance == "diagonal":
            shrunk = shrunk.diagonal().diag()
            shrunk = shrunk / shrunk.norm() if readout.normalize else shrunk
        elif readout.normalize:
            deviations = shrunk.diagonal().sqrt()
            shrunk = shrunk / torch.outer(deviations, deviations)
        for test in tests:
            x = test.double().sign() * test.double().abs() ** readout.tukey
            offset = x / x.norm() - mean / mean.norm() if readout.unit_length else x - mean
            found.append(-0.5 * offset @ torch.linalg.inv(shrunk) @ offset)
    return torch.stack(found).view(3, len(tests)).T


@pytest.mark.parametrize("covariance", ["class", "shared", "diagonal"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tukey": 1.0, "unit_length": False},
        {"normalize": False, "shrinkage": 0.1, "off_diagonal": 0.0},
    ],
    ids=["default", "euclidean", "covariance"],
)
def test_scores_equal_a_slow_reference(covariance, settings, samples, fit):
    embeddings, labels, tests = samples()
    readout = fit(FeCAM(covariance=covariance, **settings), embeddings, labels, 7)
    torch.testing.assert_close(
        readout(tests).double(), slow_scores(readout, embeddings, labels, tests), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("shape", [(1, 1), (3, 65, 65), (150, 150), (2, 301, 301)])
def test_triangular_matrices_are_inverted_by_halves(shape):
    lower = torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(0)).tril() / shape[-1]
    lower.diagonal(dim1=-2, dim2=-1).abs_().add_(1)
    found = inverse_of_lower(lower)
    torch.testing.assert_close(found, torch.linalg.inv(lower), rtol=1e-10, atol=1e-12)
    assert torch.equal(found, found.tril())


@pytest.mark.parametrize("normalize", [True, False])
def test_factors_of_many_dimensions_invert_the_covariance(normalize, fit):
    """The features have scales from 1 to 100, and there are fewer samples than dimensions."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(90, 130, generator=generator) * torch.logspace(0, 2, 130)
    labels = torch.arange(90) % 2
    readout = fit(FeCAM(tukey=1.0, normalize=normalize), embeddings, labels, 40)
    for label, factor in enumerate(readout.factors.double()):
        covariance = torch.cov(embeddings[labels == label].double().T)
        rest = covariance.sum() - covariance.trace()
        shrunk = covariance + rest / (130 * 129) * (1 - torch.eye(130)) + covariance.trace() / 130 * torch.eye(130)
        deviations = shrunk.diagonal().sqrt()
        expected = shrunk / torch.outer(deviations, deviations) if normalize else shrunk
        torch.testing.assert_close(factor @ expected @ factor.T, torch.eye(130).double(), rtol=0, atol=1e-4)


def test_covariances_that_are_too_large_name_the_bytes_and_the_switch():
    readout = FeCAM()
    readout.grow(range(10_000))
    with pytest.raises(ConfigError, match=r"10,000 classes in 1,024 dimensions need 83,886,080,000 bytes.*shared"):
        readout.allocate(1024)
    for covariance in ("shared", "diagonal"):
        readout = FeCAM(covariance=covariance)
        readout.grow(range(10_000))
        readout.allocate(1024)


def test_a_singular_covariance_names_the_setting_to_change(samples, fit):
    embeddings, labels, _ = samples(each=4, dim=40)
    for covariance, named in (("class", "class 0 .4 samples"), ("shared", "all classes .12 samples")):
        with pytest.raises(ConfigError, match=f"{named} in 40 dimensions.*shrinkage") as caught:
            fit(FeCAM(covariance=covariance, shrinkage=0.0, off_diagonal=0.0), embeddings, labels)
        assert "off_diagonal" not in str(caught.value)  # it cannot be lower than 0
    embeddings[:, 2] = 0
    with pytest.raises(ConfigError, match="class 0.*shrinkage"):
        fit(FeCAM(covariance="diagonal", shrinkage=0.0), embeddings, labels)


@pytest.mark.parametrize(
    ("covariance", "kept", "said"),
    [
        ("class", 12, ("4 samples", "3 of 3 classes", "40 dimensions", "41", "shrinkage 1")),
        ("class", 1, ("1 samples", "1 of 1 classes", "identity")),
        ("shared", 12, ("12 samples", "all classes", "43", "readout.fecam.shrinkage")),
        ("diagonal", 4, ("1 samples", "variances of 2 of 3 classes", "identity")),
        ("diagonal", 12, ()),
    ],
)
def test_few_samples_are_warned_of_once_with_the_shrinkage(covariance, kept, said, samples, fit, caplog):
    embeddings, labels, _ = samples(each=4, dim=40)
    readout = fit(FeCAM(covariance=covariance), embeddings[:kept], labels[:kept])
    readout.solve()
    assert len(caplog.records) == (1 if said else 0)
    assert all(word in caplog.text for word in said), caplog.text


@pytest.mark.parametrize("settings", [{"covariance": "full"}, {"tukey": 0.0}, {"shrinkage": -1.0}])
def test_faulty_settings_raise(settings):
    with pytest.raises(ConfigError, match=str(next(iter(settings.values())))):
        FeCAM(**settings)
