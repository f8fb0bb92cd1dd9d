import torch

from mmcl.data.samplers.length import length_batches


def test_every_row_is_in_one_batch_and_each_bucket_is_sorted():
    lengths = torch.randint(1, 400, (333,), generator=torch.Generator().manual_seed(0)).tolist()
    order = torch.randperm(333, generator=torch.Generator().manual_seed(1)).tolist()
    batches = length_batches(order, lengths, batch_size=8, bucket=4)
    assert sorted(row for rows in batches for row in rows) == list(range(333))
    assert [len(rows) for rows in batches] == [8] * 41 + [5]
    for start in range(0, len(batches), 4):
        sizes = [lengths[row] for rows in batches[start : start + 4] for row in rows]
        assert sizes == sorted(sizes)


def test_a_bucket_of_one_batch_keeps_the_rows_of_each_batch():
    batches = length_batches([4, 2, 0, 3, 1], [1, 2, 3, 4, 5], batch_size=2, bucket=1)
    assert batches == [[2, 4], [0, 3], [1]]


def test_rows_of_equal_length_keep_their_order():
    assert length_batches([3, 0, 2, 1], [7] * 4, batch_size=4, bucket=1) == [[3, 0, 2, 1]]
