"""ThreadPool: threads for jobs in C code, whose waiting jobs are dropped after an interruption."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any


class ThreadPool(ThreadPoolExecutor):
    """A :class:`~concurrent.futures.ThreadPoolExecutor` that ends at once if its ``with`` block raises.

    Jobs that have not started are then cancelled. The base class would run all of them first, if Ctrl+C arrives while
    jobs are handed over.

    >>> with ThreadPool(2) as pool:
    ...     list(pool.map(abs, [-1, 2]))
    [1, 2]
    """

    def __exit__(self, kind: type[BaseException] | None, *raised: Any) -> None:
        self.shutdown(wait=True, cancel_futures=kind is not None)
