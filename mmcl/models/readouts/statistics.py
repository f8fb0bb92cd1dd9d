"""ClassStatistics: counts, sums and second moments of embeddings, from which closed-form classifiers are computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from mmcl.errors import InputError, LabelError, ShapeError

MomentKind = Literal["none", "shared", "class", "diagonal"]


class ClassStatistics(nn.Module):
    """Sufficient statistics of embeddings by class, in float64.

    With n_c samples x of class c, the statistics are

        counts_c = n_c,   sums_c = sum x,   moments = sum x x^T

    All are sums over samples. They do not depend on the order of samples or on batches, and those of several processes
    add up. Embeddings are float32, so the cancellation in ``moments - n m m^T`` stays below their own rounding.

    Args:
        kind: second moments to keep: none, one matrix ``shared`` by all classes ``(dim, dim)``, a matrix for each
            ``class`` ``(classes, dim, dim)``, or only the ``diagonal`` of each class ``(classes, dim)``.

    Attributes:
        counts: number of samples, ``(classes,)``.
        sums: sum of the embeddings, ``(classes, dim)``.
        moments: second moments; None for ``none``.

    >>> statistics = ClassStatistics("shared")
    >>> statistics.resize(classes=2, dim=1)
    >>> statistics.add(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1]))
    >>> statistics.means().tolist(), statistics.within().tolist()
    ([[2.0], [5.0]], [[2.0]])
    """

    counts: Tensor
    sums: Tensor
    moments: Tensor | None

    def __init__(self, kind: MomentKind = "none") -> None:
        super().__init__()
        self.kind = kind
        shape = {"none": None, "shared": (0, 0), "class": (0, 0, 0), "diagonal": (0, 0)}[kind]
        self.register_buffer("counts", torch.zeros(0, dtype=torch.long))
        self.register_buffer("sums", torch.zeros(0, 0, dtype=torch.double))
        self.register_buffer("moments", None if shape is None else torch.zeros(shape, dtype=torch.double))

    @property
    def dim(self) -> int:
        """Dimension of the embeddings; 0 before the first."""
        return self.sums.shape[1]

    def resize(self, classes: int = 0, dim: int = 0) -> None:
        """Add classes, and set the dimension if it is not known yet; statistics of existing classes are kept.

        Raises:
            ShapeError: the embeddings have another dimension.
        """
        if dim and self.dim and dim != self.dim:
            raise ShapeError(f"embeddings have {dim} dimensions, expected {self.dim} as in the statistics so far")
        classes, dim = max(classes, len(self.counts)), dim or self.dim
        self.counts = _padded(self.counts, (classes,))
        self.sums = _padded(self.sums, (classes, dim))
        if self.moments is not None:
            shapes = {"shared": (dim, dim), "class": (classes, dim, dim), "diagonal": (classes, dim)}
            self.moments = _padded(self.moments, shapes[self.kind])

    def reset(self) -> None:
        """Forget all samples."""
        for buffer in self.buffers():
            buffer.zero_()

    @torch.no_grad()
    def add(self, embeddings: Tensor, labels: Tensor) -> None:
        """Add samples.

        Args:
            embeddings: ``(batch, dim)``.
            labels: ``(batch,)``.

        Raises:
            LabelError: a label is outside the classes.
            InputError: an embedding is not finite.
        """
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.counts):
            raise LabelError(
                f"labels are {int(labels.min())} to {int(labels.max())}, expected 0 to {len(self.counts) - 1}: "
                "grow the read-out first"
            )
        if not bool(embeddings.isfinite().all()):
            row = int((~embeddings.isfinite().all(1)).nonzero()[0])
            raise InputError(f"embedding {row} of the batch is not finite: check the sample, or the encoder's weights")
        embeddings = embeddings.to(self.sums)
        self.counts += torch.bincount(labels, minlength=len(self.counts))
        self.sums.index_add_(0, labels, embeddings)
        if self.moments is None:
            return
        if self.kind == "shared":
            self.moments.addmm_(embeddings.T, embeddings)
        elif self.kind == "diagonal":
            self.moments.index_add_(0, labels, embeddings.square())
        else:  # the outer products of all samples at once would not fit into memory
            for label in labels.unique().tolist():
                own = embeddings[labels == label]
                self.moments[label].addmm_(own.T, own)

    def means(self) -> Tensor:
        """Return the mean of each class, ``(classes, dim)``; zero for a class without samples."""
        return self.sums / self.counts.clamp(min=1)[:, None]

    def grand_mean(self) -> Tensor:
        """Return the mean of all samples, ``(dim,)``."""
        return self.sums.sum(0) / self.counts.sum().clamp(min=1)

    def within(self, labels: Tensor | slice = slice(None)) -> Tensor:
        """Return the scatter of samples about the means of their classes, in the shape of ``moments``.

        Args:
            labels: classes of the result, for moments by class.
        """
        if self.moments is None:
            raise ValueError("statistics without second moments have no scatter")
        means = self.means()
        if self.kind == "shared":
            return self.moments - self.sums.T @ means
        if self.kind == "diagonal":
            return (self.moments - self.sums * means)[labels].clamp(min=0)
        return torch.baddbmm(self.moments[labels], self.sums[labels, :, None], means[labels, None, :], alpha=-1)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        resize_buffers(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)


def resize_buffers(module: nn.Module, state: Mapping[str, Tensor], prefix: str) -> None:
    """Give the buffers of a module the shapes of a state that is about to be loaded."""
    for name, buffer in module.named_buffers(recurse=False):
        saved = state.get(f"{prefix}{name}")
        if saved is not None and saved.shape != buffer.shape:
            setattr(module, name, buffer.new_empty(saved.shape))


def _padded(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a tensor with zeros added at the end of each dimension."""
    if tensor.shape == shape:
        return tensor
    padded = tensor.new_zeros(shape)
    padded[tuple(slice(size) for size in tensor.shape)] = tensor
    return padded
