"""SimLAP: learning from arbitrary pairs of classes, each compared in a gated subspace."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mmcl.config.numbers import Count
from mmcl.errors import ConfigError, InputError, ShapeError
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import check_paired, checks_values, poisoned, precise
from mmcl.objectives.kernel.labels import labels_of
from mmcl.objectives.kernel.pairs import SameLabel
from mmcl.objectives.kernel.row_blocks import masked_logsumexp, sum_of_blocks
from mmcl.objectives.kernel.tiles import tile_size
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.memory import whole
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, temperature_of

PairClasses = Literal["arbitrary", "identical", "distinct"]
GateOrder = Literal["before", "after"]
Average = Literal["anchors", "pairs"]


class ClassPairGate(nn.Module):
    """Weights in (0, 1) of each dimension for a pair of classes.

    ::

        g(a, b) = sigmoid(MLP((e_a + e_b) / 2)),   MLP = ReLU, BatchNorm, Linear, ReLU, BatchNorm, Linear

    with e a learned embedding of each class. Without ``fuse``, g(a, b) = sigmoid(MLP(e_a)) sigmoid(MLP(e_b)). The gate
    is symmetric.

    Args:
        classes: number of classes.
        dim: number of dimensions to weight.
        embedding: dimension of a class's embedding.
        hidden: width of the hidden layer.
        fuse: average the two embeddings first.

    Raises:
        InputError: a size that is not an integer of 1 or more.

    >>> gate = ClassPairGate(classes=10, dim=6).eval()
    >>> gate(torch.tensor([0, 1]), torch.tensor([2, 1])).shape
    torch.Size([2, 6])
    """

    def __init__(self, classes: int, dim: int, embedding: int = 512, hidden: int = 1024, *, fuse: bool = True) -> None:
        super().__init__()
        self.classes, self.dim, self.fuse = whole("classes", classes), whole("dim", dim), fuse
        self.embeddings = nn.Embedding(classes, embedding)
        self.mlp = nn.Sequential(
            nn.ReLU(),
            nn.BatchNorm1d(embedding),
            nn.Linear(embedding, hidden),
            nn.ReLU(),
            nn.BatchNorm1d(hidden),
            nn.Linear(hidden, dim),
        )

    def forward(self, classes: Tensor, others: Tensor) -> Tensor:
        """Return the gate of each pair of classes, ``(batch, dim)``.

        Args:
            classes, others: the two classes of each pair, ``(batch,)``.

        Raises:
            InputError: a class that the gate does not know. On devices whose values are not checked at once, its gate
                is NaN.
            ShapeError: fewer than two pairs in training, which batch normalization needs.
        """
        if self.training and len(classes) < 2:
            raise ShapeError(f"got {len(classes)} pair for a gate in training, expected 2 or more: use a larger batch")
        one, other = (self.embeddings(self._known(each)) for each in (classes, others))
        if self.fuse:
            gates = self.mlp((one + other) / 2).sigmoid()
        else:
            gates = self.mlp(one).sigmoid() * self.mlp(other).sigmoid()
        if checks_values(classes, others):
            return gates
        lowest, highest = torch.minimum(classes, others), torch.maximum(classes, others)
        return poisoned(gates, ((lowest >= 0) & (highest < self.classes))[:, None])

    def _known(self, classes: Tensor) -> Tensor:
        if checks_values(classes) and len(classes):
            low, high = (int(each) for each in classes.aminmax())
            if low < 0 or high >= self.classes:
                raise InputError(
                    f"the gate knows classes 0 to {self.classes - 1}, got {low if low < 0 else high}: set classes to "
                    "the number of classes"
                )
        return classes.clamp(0, self.classes - 1)


class SimLAPLoss(Objective):
    """Pull samples of any two classes together, in dimensions that a learned gate chooses for the two classes.

    Anchor i has class y_i and a pair class b_i. With g_i = g(y_i, b_i) its :class:`ClassPairGate`, z and k the
    unit-length embeddings of the two views, P_i the keys of class b_i and N_i those of neither y_i nor b_i::

        s_in   = sum_d g_id^2 z_id k_nd / temperature
        loss_i = 1/|P_i| sum_{p in P_i} [ log( exp(s_ip) + sum_{n in N_i} exp(s_in) ) - s_ip ]

    The result is the mean over anchors; one without positives counts 0. Each positive is contrasted alone. With gates
    of 1, identical pairs and unique labels, the loss is InfoNCE in one direction.

    Wu et al. 2024 (arXiv 2410.18200, SimLAP, first named Hydra), as in the authors' two-view code. Differs from it:
    division by |P_i| without the added 1e-6, and no option that subtracts the similarity without gate. Their one-view
    code divides the sum by all positives (``average="pairs"``). Whether rows are scaled to unit length before or after
    the gate is open in the paper; the code does so before, and has the other in a comment (``normalized="after"``).

    Args:
        temperature: greater than 0; the authors' code learns it, starting at 0.1.
        classes: number of classes that the gate knows; labels are from 0 to ``classes - 1``.
        dim: dimension of the embeddings.
        pair_classes: ``"arbitrary"`` pairs each anchor with the class of a random sample in the batch, ``"identical"``
            with its own class, ``"distinct"`` with a random other class.
        normalized: scale rows to unit length ``"before"`` or ``"after"`` the gate.
        average: mean over ``"anchors"`` or over all ``"pairs"``.
        fuse: average the embeddings of the two classes before the gate's layers.
        gated: False for gates of 1, which is the loss without the method, for comparison.
        block_size: number of anchors per block; None for automatic.
        gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, LabelError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; views that are
            not paired, or of another ``dim``; a class that the gate does not know; an unknown option.

    >>> views, labels = torch.eye(6), torch.arange(6)
    >>> loss = SimLAPLoss(classes=10, dim=6)(views, views, labels)
    >>> loss.shape
    torch.Size([])
    """

    takes = ("a", "b", "labels")

    def __init__(
        self,
        temperature: Temperature = 0.1,
        classes: Count = 1000,
        dim: Count = 128,
        pair_classes: PairClasses = "arbitrary",
        normalized: GateOrder = "before",
        average: Average = "anchors",
        fuse: bool = True,
        gated: bool = True,
        *,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)
        choices = {
            "pair_classes": (pair_classes, ("arbitrary", "identical", "distinct")),
            "normalized": (normalized, ("before", "after")),
            "average": (average, ("anchors", "pairs")),
        }
        for name, (value, known) in choices.items():
            if value not in known:
                raise ConfigError(f"{name} is {value!r}, expected one of {', '.join(known)}")
        self.pair_classes, self.normalized, self.average = pair_classes, normalized, average
        self.gate, self.gated = ClassPairGate(classes, dim, fuse=fuse), gated

    def forward(self, a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of paired views ``(batch, dim)`` and their labels ``(batch,)``, with random pair classes."""
        labels = labels_of("labels", labels, len(a), a.device)
        if self.pair_classes == "arbitrary":
            pairs = labels[torch.randperm(len(labels), device=labels.device)]
        elif self.pair_classes == "distinct" and self.gate.classes > 1:
            pairs = (labels + torch.randint_like(labels, 1, self.gate.classes)) % self.gate.classes
        else:
            pairs = labels
        return self.of_pairs(a, b, labels, pairs)

    def of_pairs(self, a: Tensor, b: Tensor, labels: Tensor, pair_labels: Tensor) -> Tensor:
        """Return the loss of given pair classes.

        Args:
            a, b: ``(batch, dim)`` each.
            labels: class of each sample, ``(batch,)``.
            pair_labels: pair class b_i of each sample, ``(batch,)``.
        """
        check_paired(a=a, b=b)
        tile_size(a.device, self.block_size)
        labels = labels_of("labels", labels, len(a), a.device)
        pair_labels = labels_of("pair_labels", pair_labels, len(a), a.device)
        if a.shape[1] != self.gate.dim:
            raise ShapeError(f"embeddings have dim {a.shape[1]} and the gate {self.gate.dim}: set dim to that of both")
        scale = 1 / temperature_of(self.temperature)
        with torch.autocast(a.device.type, enabled=False):
            queries, keys = precise(a, b)
            gates = self.gate(labels, pair_labels).to(queries) if self.gated else torch.ones_like(queries)
            queries, keys, key_labels = unit(queries), unit(keys), labels
            if self.gather:
                processes = Processes.of(keys)
                keys, key_labels = processes.gather(keys), processes.gather(labels)
            if self.normalized == "before":
                queries = gates.square() * queries * scale
            else:
                queries = gates * unit(gates * queries) * scale
            positives = SameLabel(pair_labels, key_labels).row_sums(queries)
            total = sum_of_blocks(
                self._block_loss, [queries, gates, labels, pair_labels, positives], [keys, key_labels], self.block_size
            )
            if self.average == "anchors":
                return total / max(len(keys), 1)
            every = processes.stack(positives.sum()).sum() if self.gather else positives.sum()
            return total / every.clamp(min=1)

    def _block_loss(
        self,
        start: int,
        queries: Tensor,
        gates: Tensor,
        labels: Tensor,
        pair_labels: Tensor,
        positives: Tensor,
        keys: Tensor,
        key_labels: Tensor,
    ) -> Tensor:
        similarities = queries @ keys.T
        if self.normalized == "after":  # |g k|^2 is a product of squares
            squares = gates.square() @ keys.square().T
            similarities = similarities * squares.clamp(min=torch.finfo(squares.dtype).tiny).rsqrt()
        paired = pair_labels[:, None] == key_labels
        others = ~paired & (labels[:, None] != key_labels)
        negatives = masked_logsumexp(similarities, others)[:, None]
        losses = torch.logaddexp(negatives - similarities, torch.zeros_like(similarities))
        losses = losses * (paired & others.any(1, keepdim=True))  # without negatives, the loss is log 1
        weights = 1 / positives.clamp(min=1) if self.average == "anchors" else torch.ones_like(positives)
        return (losses.sum(1) * weights).sum()
