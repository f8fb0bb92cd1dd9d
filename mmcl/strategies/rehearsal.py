"""Rehearsal: a memory of samples of earlier classes, replayed with the new ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor

from mmcl import distributed
from mmcl.config.numbers import Size
from mmcl.config.whole_numbers import whole_numbers
from mmcl.data.attributes import attributes_of
from mmcl.data.base import Dataset, superclass_labels
from mmcl.data.fingerprint import digest_of, sample_digests
from mmcl.errors import CheckpointError, ConfigError, DataError
from mmcl.objectives.kernel.inputs import check_features, precise
from mmcl.objectives.kernel.unit import directions, rescaling
from mmcl.strategies.loader import BatchLoader

Selection = Literal["random", "herding"]


class Rehearsal(SupervisedPlugin):
    """Keep a class-balanced memory of samples, and shuffle it into the data of each experience.

    The memory holds ``memory_size`` samples in all, equally many of each class seen. When new classes arrive, each
    class gives up its last chosen samples. With ``by_superclass``, it holds equally many of each superclass, such as
    SLURP's scenarios, as in the code that COCONUT builds on.

    The memory is a list of row numbers. Its state has a digest of their samples, and is refused with other data.

    Args:
        memory_size: samples in memory, all classes together; 0 keeps none, None keeps all (joint training).
        selection: how samples are chosen: ``"random"``, or ``"herding"`` towards the mean embedding of the class
            (iCaRL, Rebuffi et al. 2017, algorithm 4).
        by_superclass: balance the memory by superclass.

    Raises:
        ConfigError: the memory is smaller than the number of classes in the stream; raised before training.
        CheckpointError: the rows of a loaded state are other samples in the current data.
    """

    def __init__(
        self, memory_size: Size | None = 50, selection: Selection = "random", *, by_superclass: bool = False
    ) -> None:
        super().__init__()
        if memory_size is not None and memory_size < 0:
            raise ConfigError(f"memory_size is {memory_size}, expected 0 or more, or None to keep everything")
        if selection not in ("random", "herding"):
            raise ConfigError(f"selection is {selection!r}, expected 'random' or 'herding'")
        self.memory_size = memory_size
        self.selection = selection
        self.by_superclass = by_superclass
        self.memory: dict[
            int, list[int]
        ] = {}  # label (of class or superclass) -> rows, best first; in order of arrival
        self._known: list[tuple[int, list[int], str]] = []  # label, rows and their digest, of a state that was loaded
        self._source: Any = None
        self._digests: list[bytes] = []  # of the samples of the source

    @property
    def rows(self) -> list[int]:
        """Rows in memory, class by class."""
        return [row for rows in self.memory.values() for row in rows]

    def before_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        """Refuse a memory that could not hold one sample of each class, or whose rows are other samples now."""
        if self._source is not strategy.experience.source:
            self._source, self._digests = strategy.experience.source, sample_digests(strategy.experience.source)
        self._check_samples()
        kind, units = "classes", len(strategy.experience.source.classes)
        if self.by_superclass:
            names = attributes_of(strategy.experience.source).superclasses
            kind, units = "superclasses", len(set(names))
            if not units:
                raise ConfigError("the data set has no superclasses to share the memory: expected by_superclass=False")
            arrivals = [{names[label] for label in part.group} for part in strategy.experience.origin_stream]
            twice = sorted(name for name in set(names) if sum(name in arrived for arrived in arrivals) > 1)
            if twice:  # the classes that arrive later would take the place of the earlier ones
                raise ConfigError(
                    f"superclass '{twice[0]}' arrives in more than one experience and cannot share the memory: make "
                    "the stream with by_superclass=True as well"
                )
        if self.memory_size and self.memory_size < units:
            raise ConfigError(
                f"memory_size is {self.memory_size}, smaller than the number of {kind}, {units}: "
                f"expected at least one sample for each of the {kind}, or 0 for no memory"
            )

    def after_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        """Add the memory to the experience."""
        strategy.rehearse(self.rows)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Choose samples of the new classes, and make room for them."""
        if self.memory_size == 0:
            return
        source, dataset = strategy.experience.source, strategy.experience.dataset
        rows, labels = torch.tensor(dataset.rows[:]), torch.tensor(dataset.targets[:])
        if self.by_superclass:
            labels = torch.tensor(superclass_labels(source.superclasses))[labels]
        # A class may have no sample to train on, where it arrives with others of its superclass.
        present = dict.fromkeys(labels.tolist()) if self.by_superclass else strategy.experience.group
        for label in present:
            if len(own := rows[labels == label]):
                self.memory[label] = distributed.broadcast_object(self._ranked(strategy, source, own))
        for (label, chosen), share in zip(self.memory.items(), self._shares(), strict=True):
            self.memory[label] = chosen[:share]

    def purge(self, rows: Sequence[int]) -> list[int]:
        """Take samples out of the memory, and return which of ``rows`` were in it; a class without any left is gone."""
        unwanted = set(whole_numbers(rows, "rows", error=DataError))
        taken = [row for row in self.rows if row in unwanted]
        left = {label: [row for row in own if row not in unwanted] for label, own in self.memory.items()}
        self.memory = {label: own for label, own in left.items() if own}
        return taken

    def _shares(self) -> list[int | None]:
        if self.memory_size is None:
            return [None] * len(self.memory)
        share, larger = divmod(self.memory_size, len(self.memory))
        return [share + (number < larger) for number in range(len(self.memory))]

    def _ranked(self, strategy: Any, source: Dataset, rows: Tensor) -> list[int]:
        if self.memory_size is None:
            return rows.tolist()
        if self.selection == "random":
            return rows[torch.randperm(len(rows))].tolist()
        embeddings = unit_embeddings(strategy.model, source, rows, strategy.eval_mb_size, strategy.device)
        return rows[herding(embeddings, limit=self.memory_size)].tolist()

    def state_dict(self, strategy: Any) -> dict[str, Any]:
        """The memory, as row numbers, with a digest of the samples of each label."""
        return {
            "labels": list(self.memory),
            "rows": list(self.memory.values()),
            "samples": [digest_of(self._digests, rows) for rows in self.memory.values()],
        }

    def load_state_dict(self, state: dict[str, Any], strategy: Any) -> None:
        """Take up a memory that :meth:`state_dict` gave; its samples are compared when training goes on."""
        self.memory = dict(zip(state["labels"], state["rows"], strict=True))
        if "samples" in state:  # older states do not say
            self._known = list(zip(state["labels"], state["rows"], state["samples"], strict=True))

    def _check_samples(self) -> None:
        for label, rows, digest in self._known:
            if digest_of(self._digests, rows) != digest:
                raise CheckpointError(
                    f"the memory holds {len(rows)} samples of label {label}, whose row numbers mean other samples in "
                    "this data: put the data back as they were when the state was made, or start training again"
                )
        self._known = []


def herding(embeddings: Tensor, limit: int) -> Tensor:
    """Order samples so that the mean of the first k is near the mean of all, for every k.

    Args:
        embeddings: ``(samples, dim)``.
        limit: how many to order.

    Returns:
        Indices ``(min(samples, limit),)``.

    Raises:
        ShapeError, InputError: embeddings that are not ``(samples, dim)``, or not finite.

    >>> herding(torch.tensor([[0.0], [1.0], [5.0]]), limit=2).tolist()  # mean 2: 1 is nearest, then (1 + 5) / 2
    [1, 2]
    """
    check_features(embeddings=embeddings)
    if embeddings.numel():
        (embeddings,) = precise(embeddings)
        embeddings = embeddings * rescaling(embeddings.abs().amax())
    mean = embeddings.mean(0)
    total = torch.zeros_like(mean)
    open_ = torch.ones(len(embeddings), dtype=torch.bool, device=embeddings.device)
    chosen: list[int] = []
    for count in range(1, min(limit, len(embeddings)) + 1):
        distances = (mean - (total + embeddings) / count).norm(dim=1).masked_fill(~open_, float("inf"))
        best = int(distances.argmin())
        chosen.append(best)
        open_[best] = False
        total = total + embeddings[best]
    return torch.tensor(chosen, dtype=torch.long)


@torch.no_grad()
def unit_embeddings(
    model: Any, source: Dataset, rows: Tensor | Sequence[int], batch_size: int, device: torch.device
) -> Tensor:
    """Return the model's unit-length embeddings of samples, in evaluation mode, ``(rows, dim)``."""
    was_training = model.training
    model.eval()
    loader = BatchLoader(source, torch.as_tensor(rows), batch_size=batch_size, shuffle=False)
    embeddings = torch.cat([directions(model.embed(batch.to(device))) for batch in loader])
    model.train(was_training)
    return embeddings
