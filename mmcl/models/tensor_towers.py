"""TensorTowers: plain modules that embed tensors, as the towers of contrastive training."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mmcl.arguments import takes_tensors
from mmcl.batch import Batch
from mmcl.errors import ConfigError
from mmcl.models.tensor_classifier import run_on_batch


class TensorTower(nn.Module):
    """A module that embeds a tensor, called with a batch.

    Args:
        model: takes a tensor ``(batch, ...)`` and returns embeddings ``(batch, dim)``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @takes_tensors
    def forward(self, batch: Batch) -> Tensor:
        """Return embeddings ``(batch, dim)``.

        Raises:
            ConfigError: the model returned no tensor ``(batch, dim)``.
        """
        embeddings = run_on_batch(self.model, batch)
        if not isinstance(embeddings, Tensor) or embeddings.dim() != 2:
            shape = f" {tuple(embeddings.shape)}" if isinstance(embeddings, Tensor) else ""
            raise ConfigError(
                f"{type(self.model).__name__} returned a {type(embeddings).__name__}{shape}, expected embeddings "
                "(batch, dim)"
            )
        return embeddings


class TensorTowers(nn.Module):
    """One or two plain modules as towers.

    Args:
        models: a module for both sides, or a list with one module for each side.

    Attributes:
        towers: one :class:`TensorTower` for each module.

    Raises:
        ConfigError: there are not one or two modules.

    >>> len(TensorTowers([nn.Linear(8, 4), nn.Linear(6, 4)]).towers)
    2
    """

    def __init__(self, models: nn.Module | Sequence[nn.Module]) -> None:
        super().__init__()
        given = [models] if isinstance(models, nn.Module) else list(models)
        if len(given) not in (1, 2) or not all(isinstance(each, nn.Module) for each in given):
            kinds = ", ".join(type(each).__name__ for each in given)
            raise ConfigError(f"the towers are [{kinds}], expected one or two modules, or a TwoTower")
        self.towers = nn.ModuleList(map(TensorTower, given))
