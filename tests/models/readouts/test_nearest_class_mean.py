import pytest
import torch

from mmcl.models.readouts import NearestClassMean


@pytest.mark.parametrize("normalize", [False, True])
def test_scores_rank_classes_by_their_distance(normalize, samples, fit):
    embeddings, labels, tests = samples()
    scores = fit(NearestClassMean(normalize=normalize), embeddings, labels)(tests)

    def scaled(row):
        return row.double() / row.double().norm() if normalize else row.double()

    for test, found in zip(tests, scores, strict=True):
        expected = []
        for label in range(3):
            own = [scaled(row) for row, other in zip(embeddings, labels.tolist(), strict=True) if other == label]
            expected.append(-0.5 * (scaled(test) - sum(own) / len(own)).square().sum())
        torch.testing.assert_close(
            found.double().log_softmax(0), torch.stack(expected).log_softmax(0), atol=1e-4, rtol=0
        )
