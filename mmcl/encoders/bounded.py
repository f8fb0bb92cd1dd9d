"""Memory limit for networks built from untrusted descriptions, relative to the size of their weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from mmcl.errors import DataError, MMCLError

# Factory operators of aten, and the index of the argument with the size.
_FACTORIES = {"empty": 0, "empty_strided": 0, "zeros": 0, "ones": 0, "full": 0, "rand": 0, "randn": 0, "hann_window": 0}
_FACTORIES |= {"new_empty": 1, "new_zeros": 1, "new_ones": 1, "new_full": 1, "linspace": 2}
_SPARE_NUMBERS = 2**21  # 8 MB for tensors without saved weights, such as filters and position tables
_SPARE_TENSORS = 20_000


class Sizes(NamedTuple):
    """Number of tensors, and of the numbers in all of them."""

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
    """Refuse to build a network that is far larger than the weights it will load.

    The limit is 4 times the weights plus a constant.

    Args:
        sizes: sizes of the weights.
        where: the description of the network, as errors should name it.
        error: type of the error to raise.

    Raises:
        DataError: (or ``error``) if the network allocates more numbers or tensors.

    >>> from torch import nn
    >>> with bounded(Sizes(2, 20), "config.json"):
    ...     _ = nn.Linear(2**20, 2**20)
    Traceback (most recent call last):
    ...
    mmcl.errors.DataError: config.json needs at least 1,099,511,627,776 numbers, but its weights have 20: ...
    """
    with _Bounded(sizes, where, error):
        yield


class _Bounded(TorchDispatchMode):
    def __init__(self, sizes: Sizes, where: object, error: type[MMCLError]) -> None:
        super().__init__()
        self.sizes, self.where, self.error = sizes, where, error
        self.tensors, self.numbers = 0, 0

    def __torch_dispatch__(
        self,
        func: OpOverload[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name in _FACTORIES and len(args) > _FACTORIES[name]:
            size = args[_FACTORIES[name]]
            self._count(prod(size) if isinstance(size, list | tuple) else int(size))
        elif name == "arange":
            start, end, step = (0, *args[:1], 1) if len(args) == 1 else (*args[:2], args[2] if len(args) > 2 else 1)
            self._count(int((end - start) / step))
        return func(*args, **(kwargs or {}))

    def _count(self, numbers: int) -> None:
        self.tensors, self.numbers = self.tensors + 1, self.numbers + numbers
        for unit, needed, known, spare in (
            ("numbers", self.numbers, self.sizes.numbers, _SPARE_NUMBERS),
            ("tensors", self.tensors, self.sizes.tensors, _SPARE_TENSORS),
        ):
            if needed > 4 * known + spare:
                raise self.error(
                    f"{self.where} needs at least {needed:,} {unit}, but its weights have {known:,}: copy the model "
                    "again from its source"
                )
