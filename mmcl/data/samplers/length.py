"""Batches of samples of similar length, which need little padding."""

from __future__ import annotations

from collections.abc import Sequence


def length_batches(order: Sequence[int], lengths: Sequence[float], *, batch_size: int, bucket: int) -> list[list[int]]:
    """Return batches of rows of similar length.

    Rows are taken from ``order`` in buckets of ``bucket`` batches. Each bucket is sorted by length and split into
    batches. Shuffle ``order`` beforehand and the batches afterwards for a random sampler.

    Args:
        order: rows in the order in which they enter buckets.
        lengths: length of each row, indexed by row.
        batch_size: samples per batch; the last batch may be smaller.
        bucket: number of batches that are sorted together.

    >>> length_batches([0, 1, 2, 3], [5, 50, 6, 60], batch_size=2, bucket=2)
    [[0, 2], [1, 3]]
    """
    size = bucket * batch_size
    buckets = [sorted(order[start : start + size], key=lengths.__getitem__) for start in range(0, len(order), size)]
    return [rows[start : start + batch_size] for rows in buckets for start in range(0, len(rows), batch_size)]
