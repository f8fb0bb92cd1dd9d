"""GrowingHead: a linear classifier that adds output columns for new classes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mmcl.arguments import takes_tensors
from mmcl.config.whole_numbers import class_labels


class ArrivedClasses:
    """The classes that have arrived, found from logits: those of other classes are minus infinity.

    They are searched in the first batch only, because a search waits for a GPU.

    >>> ArrivedClasses()(torch.tensor([[0.5, float("-inf"), 2.0]]))
    tensor([0, 2])
    """

    def __init__(self) -> None:
        self._found: Tensor | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the labels of the classes, given logits ``(batch, classes)`` of the same model in each call."""
        if self._found is None:
            self._found = (~logits.isneginf()).any(0).nonzero().flatten()
        return self._found


class GrowingHead(nn.Module):
    """Linear classifier that adds columns as classes arrive; the column index is the label.

    Growing keeps the weights of existing classes. Columns below the largest label that belong to unseen classes are
    masked. Their logit is minus infinity, which excludes them from softmax and prediction.

    Attributes:
        seen: classes that have arrived, boolean ``(classes,)``.

    >>> head = GrowingHead(4)
    >>> head.grow([2])
    >>> head(torch.zeros(1, 4)).shape, head.seen.tolist()
    (torch.Size([1, 3]), [False, False, True])
    """

    seen: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(0, dim))
        self.bias = nn.Parameter(torch.empty(0))
        self.register_buffer("seen", torch.empty(0, dtype=torch.bool))
        self._all_seen = True

    def grow(self, labels: Iterable[int]) -> None:
        """Add the columns of ``labels``; existing columns are unchanged.

        Raises:
            LabelError: a label is negative or not an integer.
        """
        labels = class_labels(labels)
        self._resize(max([len(self.seen), *(label + 1 for label in labels)]))
        self.seen[torch.tensor(labels, dtype=torch.long, device=self.seen.device)] = True
        self._all_seen = bool(self.seen.all())

    def reset_parameters(self) -> None:
        """Reinitialize the weights of all columns at random."""
        fresh = nn.Linear(self.weight.shape[1], len(self.seen), device=self.weight.device, dtype=self.weight.dtype)
        with torch.no_grad():
            self.weight.copy_(fresh.weight)
            self.bias.copy_(fresh.bias)

    @takes_tensors
    def forward(self, embedding: Tensor) -> Tensor:
        """Return logits ``(batch, classes)`` of embeddings ``(batch, dim)``."""
        logits = nn.functional.linear(embedding, self.weight, self.bias)
        return logits if self._all_seen else logits.masked_fill(~self.seen, float("-inf"))

    def _resize(self, size: int) -> None:
        added = size - len(self.seen)
        if added <= 0:
            return
        fresh = nn.Linear(self.weight.shape[1], added, device=self.weight.device, dtype=self.weight.dtype)
        self.weight = nn.Parameter(torch.cat([self.weight.detach(), fresh.weight.detach()]))
        self.bias = nn.Parameter(torch.cat([self.bias.detach(), fresh.bias.detach()]))
        self.seen = torch.cat([self.seen, self.seen.new_zeros(added)])

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        # A saved head may have a different number of columns: resize before torch compares the shapes.
        saved = state_dict.get(f"{prefix}seen")
        if saved is not None and saved.shape != self.seen.shape:
            self.weight = nn.Parameter(self.weight.new_empty(len(saved), self.weight.shape[1]))
            self.bias = nn.Parameter(self.bias.new_empty(len(saved)))
            self.seen = self.seen.new_empty(len(saved))
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._all_seen = bool(self.seen.all())
