import pytest
import torch
from avalanche.training.supervised import StreamingLDA as AvalancheSLDA
from sklearn.covariance import OAS
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import nn

from mmcl.errors import ConfigError
from mmcl.models.readouts import StreamingLDA
from mmcl.models.readouts.streaming_lda import oas_shrinkage


@pytest.mark.parametrize("shrinkage", [0.0, 1e-4, 0.3, 1.0])
def test_scores_equal_a_slow_reference(shrinkage, samples, fit):
    embeddings, labels, tests = samples()
    scores = fit(StreamingLDA(shrinkage=shrinkage), embeddings, labels)(tests)
    rows = [row.double() for row in embeddings]
    means, covariance = [], torch.zeros(5, 5, dtype=torch.double)
    for label in range(3):
        own = [row for row, other in zip(rows, labels.tolist(), strict=True) if other == label]
        means.append(sum(own) / len(own))
        for row in own:
            covariance += torch.outer(row - means[-1], row - means[-1]) / len(rows)
    shrunk = (1 - shrinkage) * covariance + shrinkage * covariance.trace() / 5 * torch.eye(5)
    precision = torch.linalg.inv(shrunk)
    expected = torch.stack(
        [torch.stack([m @ precision @ x.double() - 0.5 * m @ precision @ m for m in means]) for x in tests]
    )
    torch.testing.assert_close(scores.double().log_softmax(1), expected.log_softmax(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shrinkage", [1e-4, 0.5])
def test_probabilities_equal_those_of_scikit_learn(shrinkage, samples, fit):
    embeddings, labels, tests = samples(classes=4, dim=8)
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(embeddings.double(), labels)
    found = fit(StreamingLDA(shrinkage=shrinkage), embeddings, labels)(tests).softmax(1)
    torch.testing.assert_close(
        found.double(), torch.from_numpy(reference.predict_proba(tests.double())), rtol=1e-3, atol=1e-5
    )


@pytest.mark.filterwarnings("ignore:No loggers specified")
def test_predictions_approach_those_of_avalanche(samples, fit):
    """Avalanche updates the covariance sample by sample, as the paper does, which differs in the first samples."""
    embeddings, labels, tests = samples(classes=4, dim=6, each=200)
    reference = AvalancheSLDA(
        slda_model=nn.Identity(),
        criterion=nn.CrossEntropyLoss(),
        input_size=6,
        num_classes=4,
        evaluator=None,
    )
    for embedding, label in zip(embeddings, labels, strict=True):
        reference.fit(embedding[None], label[None])
    found = fit(StreamingLDA(shrinkage=1e-4), embeddings, labels)(tests)
    assert found.argmax(1).tolist() == reference.predict(tests).argmax(1).tolist()


def test_oracle_approximating_shrinkage_equals_that_of_scikit_learn(samples):
    embeddings, _, _ = samples(dim=12)
    centered = (embeddings - embeddings.mean(0)).double()
    reference = OAS(assume_centered=True).fit(centered.numpy())
    covariance = centered.T @ centered / len(centered)
    assert oas_shrinkage(covariance, len(centered)) == pytest.approx(reference.shrinkage_)


def test_a_singular_covariance_names_the_setting_to_change(samples, fit):
    embeddings, labels, _ = samples(each=4, dim=40)
    with pytest.raises(ConfigError, match="12 samples.*40 dimensions.*shrinkage"):
        fit(StreamingLDA(shrinkage=0.0), embeddings, labels)
    with pytest.raises(ConfigError, match="2"):
        StreamingLDA(shrinkage=2.0)


def test_few_samples_are_warned_of_once_with_the_shrinkage(samples, fit, caplog):
    embeddings, labels, _ = samples(each=4, dim=40)
    readout = fit(StreamingLDA(), embeddings, labels)
    readout.solve()
    (record,) = caplog.records
    said = record.getMessage()
    assert all(word in said for word in ("12 samples", "3 classes", "40 dimensions", "readout.slda.shrinkage"))
    caplog.clear()
    fit(StreamingLDA(), *samples(each=20, dim=5)[:2])
    assert not caplog.records
    fit(StreamingLDA(), embeddings[:3], labels[:3])
    (record,) = caplog.records
    assert "one sample" in record.getMessage() and "nearest class mean" in record.getMessage()
