"""Objective: the base class of all losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, TypedDict

from torch import Tensor, nn

from mmcl.arguments import takes_tensors
from mmcl.errors import ConfigError
from mmcl.objectives.temperature import Temperature


class KernelOptions(TypedDict):
    """Options that :func:`~mmcl.objectives.weighted_info_nce` and its variants share."""

    temperature: Temperature
    block_size: int | None
    gather: bool


class Objective(nn.Module):
    """Base class of all objectives, a torch module with parameters, buffers and ``state_dict``.

    An objective lists the arguments of ``forward`` in ``takes``, in order. A trainer computes them and calls
    :meth:`of`, so that one trainer serves all objectives. The names are

    * ``a``, ``b``: embeddings of two sides (modalities or views), paired row by row, ``(batch, dim)``
    * ``views``: embeddings of K sides or views, ``(views, batch, dim)``
    * ``salient``: embeddings of the same views by a second, salient encoder, ``(views, batch, dim)``
    * ``is_target``: whether a sample has salient factors, boolean ``(batch,)``
    * ``features``: the views as one tensor, view after view, ``(views * batch, dim)``
    * ``labels``: class of each row, ``(batch,)``; with ``features``, of each of its rows
    * ``rows``: index of each sample in its data set, ``(batch,)``, for objectives with per-sample state
    * ``targets``: number to predict, of each row of ``features`` or ``predictions``, for regression
    * ``predictions``: predicted number of each row of the views, view after view
    * ``bags``: number of the bag of each sample, ``(batch,)``, if the data set has bags
    * ``is_support``: whether a row of ``features`` is of the support of an episode, boolean
    * ``yes``, ``no``: logits of the candidates of each query, ``(batch, candidates)``, the positive first
    * ``is_rehearsal``: whether a sample comes from the memory, boolean ``(batch,)``

    Arguments in ``optional`` are passed by name if they are available:

    * ``hard_negatives``: further rows that do not match a row of ``a``, ``(batch, negatives, dim)``

    No objective waits for a GPU, except to ``gather``. ``torch.compile(fullgraph=True)`` and ``torch.cuda.graph``
    capture each of them. On the CPU, an invalid value is an error that names the row. On a GPU and in compiled code it
    makes the loss NaN or infinite instead, and the training loop finds that. To find the row on a GPU, call
    ``torch.autograd.set_detect_anomaly(True)``. Pass labels, flags and temperatures as tensors on the device of the
    features. Lists, and tensors of other devices, are copied in each step.

    Args:
        temperature: greater than 0: a number, a scalar tensor, or a module that returns one, such as
            :class:`~mmcl.objectives.LearnableTemperature`. Parameters of the module are parameters of the objective.
        block_size, gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        InputError: when called, an argument is an array or a list where a tensor is expected.

    >>> from mmcl.objectives import CLIPLoss, LearnableTemperature
    >>> objective = CLIPLoss(LearnableTemperature(0.1))
    >>> objective.takes, [name for name, _ in objective.named_parameters()]
    (('a', 'b'), ['temperature.log_scale'])
    """

    takes: ClassVar[tuple[str, ...]] = ("a", "b")
    optional: ClassVar[tuple[str, ...]] = ()
    temperature: Temperature

    def __init_subclass__(cls, **settings: object) -> None:
        super().__init_subclass__(**settings)
        if "forward" in vars(cls):
            cls.forward = takes_tensors(cls.forward)

    def __init__(self, temperature: Temperature, *, block_size: int | None = None, gather: bool = False) -> None:
        super().__init__()
        if isinstance(temperature, Tensor) and not isinstance(temperature, nn.Parameter):
            self.register_buffer("temperature", temperature, persistent=False)  # so that .to() moves it
        else:
            self.temperature = temperature
        self.block_size, self.gather = block_size, gather

    @property
    def kernel(self) -> KernelOptions:
        """Keyword arguments for the functions of the kernel."""
        return {"temperature": self.temperature, "block_size": self.block_size, "gather": self.gather}

    def of(self, available: Mapping[str, Tensor | None]) -> Tensor:
        """Return the loss, given the arguments by name.

        Args:
            available: tensors by the names in ``takes``; further entries are ignored.

        Raises:
            ConfigError: an argument in ``takes`` is missing or None.

        >>> import torch
        >>> from mmcl.objectives import CLIPLoss
        >>> round(CLIPLoss(temperature=1.0).of({"a": torch.eye(2), "b": torch.eye(2), "labels": None}).item(), 4)
        0.3133
        """
        if missing := [name for name in self.takes if available.get(name) is None]:
            given = ", ".join(name for name, value in available.items() if value is not None)
            raise ConfigError(
                f"{type(self).__name__} needs '{missing[0]}', but only {given} are available: choose another "
                "objective, or data with this entry"
            )
        further = {name: available[name] for name in self.optional if available.get(name) is not None}
        return self(*(available[name] for name in self.takes), **further)

    def extra_repr(self) -> str:
        """Return the settings that ``repr`` shows."""
        shown = {name: value for name, value in vars(self).items() if isinstance(value, str | int | float)}
        return ", ".join(
            f"{name}={value!r}" for name, value in shown.items() if not name.startswith("_") and name != "training"
        )
