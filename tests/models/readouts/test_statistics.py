import pytest
import torch

from mmcl.errors import InputError, LabelError, ShapeError
from mmcl.models.readouts.statistics import ClassStatistics

KINDS = ("none", "shared", "class", "diagonal")


def collected(kind, embeddings, labels, sizes):
    statistics = ClassStatistics(kind)
    statistics.resize(int(labels.max()) + 1, embeddings.shape[1])
    for part, own in zip(embeddings.split(sizes), labels.split(sizes), strict=True):
        statistics.add(part, own)
    return statistics


def slow_scatter(embeddings, labels, label):
    """Scatter of one class about its mean, summed sample by sample in float64."""
    own = [row.double() for row, other in zip(embeddings, labels.tolist(), strict=True) if other == label]
    mean = sum(own) / len(own)
    return sum(torch.outer(row - mean, row - mean) for row in own)


def test_scatter_equals_sums_of_outer_products(samples):
    embeddings, labels, _ = samples()
    scatters = torch.stack([slow_scatter(embeddings, labels, label) for label in range(3)])
    for kind, expected in (
        ("class", scatters),
        ("shared", scatters.sum(0)),
        ("diagonal", scatters.diagonal(dim1=1, dim2=2)),
    ):
        torch.testing.assert_close(collected(kind, embeddings, labels, 7).within(), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_samples_and_batches_does_not_matter(kind, samples):
    embeddings, labels, _ = samples()
    one = collected(kind, embeddings, labels, len(labels)).state_dict()
    order = torch.randperm(len(labels))
    other = collected(kind, embeddings[order], labels[order], 7).state_dict()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-13, atol=1e-13)


def test_means_far_from_zero_keep_the_scatter_accurate(samples):
    embeddings, labels, _ = samples()
    far = embeddings + 1e4  # float32 keeps three digits after the point
    expected = sum(slow_scatter(far, labels, label) for label in range(3))
    torch.testing.assert_close(collected("shared", far, labels, 7).within(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_classes_are_added_without_changing_others(kind, samples):
    embeddings, labels, _ = samples()
    early = labels < 2
    statistics = collected(kind, embeddings[early], labels[early], 5)
    statistics.resize(classes=3)
    statistics.add(embeddings[~early], labels[~early])
    expected = collected(kind, embeddings, labels, 60)
    torch.testing.assert_close(dict(statistics.state_dict()), dict(expected.state_dict()), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_state_is_loaded_into_empty_statistics(kind, samples):
    embeddings, labels, _ = samples()
    saved, loaded = collected(kind, embeddings, labels, 9), ClassStatistics(kind)
    loaded.load_state_dict(saved.state_dict())
    assert dict(loaded.state_dict()).keys() == dict(saved.state_dict()).keys()
    torch.testing.assert_close(dict(loaded.state_dict()), dict(saved.state_dict()), rtol=0, atol=0)
    assert loaded.dim == 5


def test_samples_that_do_not_fit_raise(samples):
    embeddings, labels, _ = samples()
    statistics = collected("shared", embeddings, labels, 9)
    with pytest.raises(LabelError, match=r"0 to 3\b.*0 to 2"):
        statistics.add(embeddings[:2], torch.tensor([0, 3]))
    embeddings[1, 2] = torch.nan
    with pytest.raises(InputError, match="embedding 1"):
        statistics.add(embeddings[:2], labels[:2])
    with pytest.raises(ShapeError, match="4 dimensions.*5"):
        statistics.resize(dim=4)
