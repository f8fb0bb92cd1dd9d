import numpy as np
import pytest
import torch
from waits import elsewhere

from mmcl.errors import InputError, ShapeError
from mmcl.metrics.similarity_structure import similarity_structure


def draw(rows=60, dim=8, seed=0):
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


def slow(first, second):
    cosine = torch.nn.functional.cosine_similarity
    pairs = [(i, j) for i in range(len(first)) for j in range(len(first)) if i != j]
    return (
        [float(cosine(second[i], second[j], dim=0)) for i, j in pairs],
        [float(cosine(first[i], second[j], dim=0)) for i, j in pairs],
    )


def test_matches_a_slow_loop():
    first, second = draw() + 0.5 * draw(seed=1), draw(seed=1)
    found, (within, across) = similarity_structure(first, second), slow(first, second)
    assert found["correlation"] == pytest.approx(np.corrcoef(within, across)[0, 1], abs=1e-6)
    edges = np.array(found["edges"])
    clipped = [np.clip(values, edges[0], edges[-1] - 1e-6) for values in (within, across)]
    counts, _, _ = np.histogram2d(*clipped, bins=[edges, edges])
    assert np.abs(counts - np.array(found["counts"])).sum() <= 4 and counts.sum() == 60 * 59
    for centre, mean in zip(found["centres"], found["means"], strict=True):
        inside = [a for w, a in zip(*(clipped[0], across), strict=True) if abs(w - centre) < 0.015]
        assert mean == pytest.approx(np.mean(inside), abs=0.02)


def test_correlation_detects_shared_structure():
    second = draw()
    assert similarity_structure(3 * second, second)["correlation"] == pytest.approx(1.0)
    assert abs(similarity_structure(draw(seed=5), second)["correlation"]) < 0.1
    assert similarity_structure(torch.ones(6, 3), torch.ones(6, 3))["correlation"] == 0.0


def test_unpaired_sides_raise():
    with pytest.raises(ShapeError):
        similarity_structure(draw(5), draw(6))


def test_one_pair_and_constants_have_correlation_0():
    for first, second in ((torch.ones(1, 3), torch.ones(1, 3)), (torch.ones(6, 3), 0.1 * torch.ones(6, 3))):
        found = similarity_structure(first, second)
        assert found["correlation"] == 0.0 and found["means"] == found["means"]


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_norms_do_not_matter(scale):
    rows = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    exact = similarity_structure(rows, rows.flip(1))["correlation"]
    assert similarity_structure(scale * rows, rows.flip(1))["correlation"] == pytest.approx(exact, abs=1e-6)


def test_values_are_checked_at_once_on_every_device():
    rows = torch.eye(3).index_fill(0, torch.tensor([1]), torch.nan)
    with elsewhere(), pytest.raises(InputError, match="second: row 1 .*nan"):
        similarity_structure(torch.eye(3), rows)
