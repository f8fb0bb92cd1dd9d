"""Size of what a strategy keeps between experiences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


def kept_bytes(strategy: MMCLTemplate) -> dict[str, int]:
    """Return the bytes that a strategy keeps between experiences, besides its model and teacher.

    ``exemplars`` is the size of the tensors of the samples in memory, as the data set gives them: audio, or cached
    features. ``statistics`` is the size of stored logits, class means and the like. They are the sums over plugins of
    the properties ``exemplar_bytes`` and ``statistics_bytes``.

    Args:
        strategy: strategy after training on an experience.
    """
    kinds = {"exemplars": "exemplar_bytes", "statistics": "statistics_bytes"}
    return {kind: sum(getattr(plugin, name, 0) for plugin in strategy.plugins) for kind, name in kinds.items()}
