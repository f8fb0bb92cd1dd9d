"""Objective: the base of all losses, a torch module that states what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from mmcl.errors import ConfigError
from mmcl.objectives.temperature import Temperature


class Objective(nn.Module):
    """Base of all objectives: parameters, buffers and ``state_dict`` as in every torch module.

    An objective lists in ``takes`` what ``forward`` takes, in order. A trainer computes these and hands them over by
    :meth:`of`, so that one trainer serves all objectives. The names are

    ================  ============================================================================================
    ``a``, ``b``      embeddings of two sides, paired row by row: two modalities, or two views; ``(batch, dim)``
    ``views``         embeddings of K sides or views, ``(views, batch, dim)``
    ``features``      the same in one tensor, view after view, ``(views * batch, dim)``
    ``labels``        class of each row, ``(batch,)``; next to ``features``, of each of its rows
    ``rows``          number of each sample in its data set, ``(batch,)``, for state that is kept per sample
    ``is_rehearsal``  whether a sample comes from the memory, boolean ``(batch,)``
    ================  ============================================================================================

    Args:
        temperature: greater than 0: a number, a tensor of no dimensions, or a module that returns one, such as
            :class:`~mmcl.objectives.LearnableTemperature`. Parameters of a module are parameters of the objective.
        block_size, gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    >>> from mmcl.objectives import CLIPLoss, LearnableTemperature
    >>> objective = CLIPLoss(LearnableTemperature(0.1))
    >>> objective.takes, [name for name, _ in objective.named_parameters()]
    (('a', 'b'), ['temperature.log_scale'])
    """

    takes: ClassVar[tuple[str, ...]] = ("a", "b")
    temperature: Temperature

    def __init__(self, temperature: Temperature, *, block_size: int | None = None, gather: bool = False) -> None:
        super().__init__()
        if isinstance(temperature, Tensor) and not isinstance(temperature, nn.Parameter):
            self.register_buffer("temperature", temperature, persistent=False)  # moved by .to(), as a parameter is
        else:
            self.temperature = temperature
        self.block_size, self.gather = block_size, gather

    @property
    def kernel(self) -> dict[str, Any]:
        """The arguments that the kernel's functions share."""
        return {"temperature": self.temperature, "block_size": self.block_size, "gather": self.gather}

    def of(self, available: Mapping[str, Any]) -> Tensor:
        """Return the loss of what the objective takes, given by name.

        Raises:
            ConfigError: something that it takes is not available.

        >>> import torch
        >>> from mmcl.objectives import CLIPLoss
        >>> round(CLIPLoss(temperature=1.0).of({"a": torch.eye(2), "b": torch.eye(2), "labels": None}).item(), 4)
        0.3133
        """
        if missing := [name for name in self.takes if available.get(name) is None]:
            there = ", ".join(name for name, value in available.items() if value is not None)
            raise ConfigError(
                f"{type(self).__name__} takes '{missing[0]}', which is not available; available: {there}. "
                "Choose another objective, or data that has it"
            )
        loss: Tensor = self(*(available[name] for name in self.takes))
        return loss

    def extra_repr(self) -> str:
        """Settings, as ``repr`` shows them."""
        shown = {name: value for name, value in vars(self).items() if isinstance(value, str | int | float)}
        return ", ".join(
            f"{name}={value!r}" for name, value in shown.items() if not name.startswith("_") and name != "training"
        )
