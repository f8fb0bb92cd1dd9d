"""Networks of unknown sizes: what they ask for is compared with the weights that there are, before it is given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mmcl.errors import DataError, MMCLError

# aten operators that make a tensor of a size, and where among their arguments that size is
_MAKERS = {"empty": 0, "empty_strided": 0, "zeros": 0, "ones": 0, "full": 0, "rand": 0, "randn": 0, "hann_window": 0}
_MAKERS |= {"new_empty": 1, "new_zeros": 1, "new_ones": 1, "new_full": 1, "linspace": 2}
_SPARE = 2**21  # numbers beside the weights, such as filters and tables of positions: 8 MB
_SPARE_TENSORS = 20_000


class Sizes(NamedTuple):
    """How many tensors there are, and how many numbers in all of them."""

    tensors: int
    numbers: int

    @classmethod
    def of(cls, tensors: Iterable[Tensor]) -> Sizes:
        """Count tensors.

        >>> import torch
        >>> Sizes.of([torch.zeros(2, 3), torch.zeros(4)])
        Sizes(tensors=2, numbers=10)
        """
        numbers = [tensor.numel() for tensor in tensors]
        return cls(len(numbers), sum(numbers))


@contextmanager
def bounded(sizes: Sizes, where: object, *, error: type[MMCLError] = DataError) -> Iterator[None]:
    """Build a network that is to take the weights of a file, and refuse one that is far larger than these.

    Args:
        sizes: of the weights.
        where: names the description of the network in the error.
        error: its type.

    Raises:
        DataError: (of that type) more numbers or tensors are asked for.

    >>> from torch import nn
    >>> with bounded(Sizes(2, 20), "config.json"):
    ...     _ = nn.Linear(2**20, 2**20)
    Traceback (most recent call last):
    ...
    mmcl.errors.DataError: config.json asks for 1,099,511,627,776 numbers or more, and its weights have 20: ...
    """
    with _Bounded(sizes, where, error):
        yield


class _Bounded(TorchDispatchMode):
    def __init__(self, sizes: Sizes, where: object, error: type[MMCLError]) -> None:
        super().__init__()
        self.sizes, self.where, self.error = sizes, where, error
        self.tensors, self.numbers = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name in _MAKERS and len(args) > _MAKERS[name]:
            size = args[_MAKERS[name]]
            self._count(prod(size) if isinstance(size, list | tuple) else int(size))
        elif name == "arange":
            start, end, step = (0, *args[:1], 1) if len(args) == 1 else (*args[:2], args[2] if len(args) > 2 else 1)
            self._count(int((end - start) / step))
        return func(*args, **(kwargs or {}))

    def _count(self, numbers: int) -> None:
        self.tensors, self.numbers = self.tensors + 1, self.numbers + numbers
        for what, asked, known, spare in (
            ("numbers", self.numbers, self.sizes.numbers, _SPARE),
            ("tensors", self.tensors, self.sizes.tensors, _SPARE_TENSORS),
        ):
            if asked > 4 * known + spare:
                raise self.error(
                    f"{self.where} asks for {asked:,} {what} or more, and its weights have {known:,}: copy the model "
                    "again from its source"
                )
