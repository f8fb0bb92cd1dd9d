"""PredictingTower: the embeddings of a tower, with the predictions of its regressor in the last column."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmcl.batch import Batch
from mmcl.errors import ConfigError
from mmcl.models.tensor_towers import TensorTowers
from mmcl.models.two_tower import Tower, TwoTower


class PredictingTower(nn.Module):
    """Map a batch to embeddings and, in the last column, predictions, ``(batch, dim + 1)``.

    Both in one tensor go through everything that embeddings do, such as gradient caching and a momentum encoder.

    Args:
        tower: tower with a regressor; its modules are shared.

    Raises:
        ConfigError: the tower has no regressor.

    >>> from mmcl.encoders import build_encoder
    >>> from mmcl.models import TwoTower
    >>> model = TwoTower(build_encoder("tabular", "mlp", features=4, dim=16), dim=8)
    >>> model.add_regressor(torch.tensor([5.0, 7.0]))
    >>> PredictingTower(model.first)(Batch(tabular=torch.zeros(3, 4))).shape
    torch.Size([3, 9])
    """

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        if tower.regressor is None:
            raise ConfigError("the tower has no regressor, expected one: call add_regressor of the model first")
        self.encoder, self.head, self.regressor = tower.encoder, tower.head, tower.regressor

    def forward(self, batch: Batch) -> Tensor:
        """Return embeddings and predictions."""
        encoded = self.encoder.encode_batch(batch)
        return torch.cat([self.head(encoded), self.regressor(encoded.pooled)[:, None]], dim=1)


def towers_of(model: TwoTower | TensorTowers, takes: Sequence[str]) -> list[nn.Module]:
    """Return the towers of a model to train; a single one also predicts if its objective takes predictions.

    Args:
        model: the model.
        takes: inputs of the objective, by name.
    """
    if isinstance(model, TwoTower) and len(model.towers) == 1 and model.first.regressor is not None:
        return [PredictingTower(model.first)] if "predictions" in takes else list(model.towers)
    return list(model.towers)
