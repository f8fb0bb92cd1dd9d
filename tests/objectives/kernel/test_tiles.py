import pytest
import torch

from mmcl.errors import InputError
from mmcl.objectives.kernel.tiles import Compared, tile_size, tiles


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def put_together(queries, keys, compared, size):
    whole = torch.full((len(queries), len(queries if keys is None else keys)), -torch.inf, dtype=torch.float64)
    seen = 0
    for rows, columns, tile in tiles(queries, keys, compared, size):
        whole[rows, columns] = tile
        seen += 1
    return whole, seen


@pytest.mark.parametrize("size", [1, 2, 3, 7, 9])
def test_tiles_cover_the_matrix(size):
    queries, keys = draw(7, 3), draw(5, 3, seed=1)
    assert torch.allclose(put_together(queries, keys, None, size)[0], queries @ keys.T)


def test_a_symmetric_matrix_yields_only_its_upper_tiles():
    queries = draw(6, 3)
    whole, seen = put_together(queries, None, None, 2)
    assert seen == 6  # of 9
    assert torch.allclose(whole.triu(), (queries @ queries.T).triu())


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("differ", ["none", "all", "some"])
def test_labels_determine_the_pairs_that_count(differ, size):
    queries, keys = draw(7, 3), draw(5, 3, seed=1)
    labels, key_labels = torch.tensor([0, 0, 1, 1, 4, 2, 0]), torch.tensor([0, 1, 1, 3, 9])
    flags = {"none": torch.zeros(5), "all": torch.ones(5), "some": torch.tensor([0, 1, 0, 1, 1])}[differ].bool()
    counts = (labels[:, None] == key_labels) != flags
    expected = (queries @ keys.T).masked_fill(~counts, -torch.inf)
    whole, _ = put_together(queries, keys, Compared(labels, key_labels, flags), size)
    assert torch.allclose(whole, expected)


def test_tiles_without_counting_pairs_are_skipped():
    labels = torch.arange(8)  # sorted: only the diagonal tiles hold equal labels
    same = Compared(labels, labels, torch.zeros(8, dtype=torch.bool))
    assert put_together(draw(8, 3), draw(8, 3, seed=1), same, 2)[1] == 4


@pytest.mark.parametrize("size", [2, 8])
def test_a_matrix_weights_the_pairs(size):
    queries, keys, weights = draw(7, 3), draw(5, 3, seed=1), draw(7, 5, seed=2).clamp(min=0)
    for matrix in (weights, weights > 0):
        whole, _ = put_together(queries, keys, Compared(matrix=matrix), size)
        assert torch.allclose(whole, queries @ keys.T + matrix.double().log())


def test_tile_size_depends_on_the_device_or_the_argument():
    assert tile_size(torch.device("cpu"), None) == 512 and tile_size(torch.device("cuda"), None) > 512
    with pytest.raises(InputError, match="block_size is -3"):
        tile_size(torch.device("cpu"), -3)
