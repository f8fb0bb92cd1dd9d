"""Linear probes of the factors of samples, in the spaces of a common and a salient encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmcl.data.attributes import attributes_of
from mmcl.metrics.linear_probe import linear_probe
from mmcl.models.two_tower import PooledFeatures, TwoTower, embed_rows

_SPACES = ("", ", salient")


def factor_probes(model: TwoTower, train: Any, test: Any, *, device: str = "cpu") -> dict[str, float]:
    """Return accuracies of linear probes that predict each factor of the samples from each tower.

    Probes use the samples that have the factor. ``digit probe`` is on the features of the first tower's encoder, and
    ``digit probe, head`` on its head's output. ``digit probe, salient`` and so on are those of the second tower, if it
    embeds the same modality.

    Args:
        model: trained model.
        train, test: samples to train probes on and to measure on; without ``factors``, there are no probes.
        device: device that samples are embedded on.
    """
    factors, wanted = attributes_of(train).factors, attributes_of(test).factors
    if not factors:
        return {}
    found = {}
    for tower, space in zip(model.towers, _SPACES, strict=False):
        if tower.modality != model.first.modality:
            continue
        parts: dict[str, nn.Module] = {space: PooledFeatures(tower.encoder), f"{space}, head": tower}
        for name, part in parts.items():
            known, asked = (embed_rows(part, data, device=device) for data in (train, test))
            for factor, values in factors.items():
                accuracy = linear_probe(*_having(known, values), *_having(asked, wanted[factor]))
                found[f"{factor} probe{name}"] = accuracy
    return found


def _having(embeddings: Tensor, values: Sequence[int]) -> tuple[Tensor, list[int]]:
    """Return the samples that have a factor, whose value is not -1, with their values."""
    labels = torch.tensor(list(values))
    return embeddings[labels >= 0], labels[labels >= 0].tolist()
