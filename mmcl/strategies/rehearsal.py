"""Rehearsal: a memory of samples of earlier classes, replayed with the new ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor

from mmcl import distributed
from mmcl.arguments import takes_tensors
from mmcl.config.numbers import Count, Size
from mmcl.config.whole_numbers import whole_numbers
from mmcl.data.attributes import attributes_of
from mmcl.data.avalanche_streams import rows_of
from mmcl.data.base import Dataset, superclass_labels
from mmcl.data.fingerprint import digest_of, sample_digests
from mmcl.errors import CheckpointError, ConfigError, DataError
from mmcl.objectives.kernel.inputs import check_features, precise, require_finite
from mmcl.objectives.kernel.unit import directions, rescaling
from mmcl.strategies.kept_memory import sample_bytes
from mmcl.strategies.loader import BatchLoader
from mmcl.strategies.memory_budget import MemoryBudget, equal_shares

if TYPE_CHECKING:
    from avalanche.benchmarks.scenarios import CLExperience

    from mmcl.strategies.template import MMCLTemplate

ExemplarSelection = Literal["random", "herding"]


class Rehearsal(SupervisedPlugin):
    """Keep a class-balanced memory of samples, and shuffle it into the data of each experience.

    The memory holds ``memory_size`` samples in all, equally many of each class seen. When new classes arrive, each
    class drops the samples that were selected last. With ``by_superclass``, it holds equally many of each superclass,
    such as SLURP's scenarios, as in the code that COCONUT builds on. If a class arrives again, as where domains arrive,
    random selection draws from all its samples so far, as a reservoir does.

    With ``memory_bytes``, the memory holds as many samples as fit, with the logits that a plugin stores for them. Then
    ``memory_size`` becomes the largest number that can fit. Samples of variable length count with their own size.

    The memory is a list of row numbers. Its state has a digest of their samples, and cannot be loaded with other data.

    Args:
        memory_size: samples in memory, all classes together; 0 keeps none, None keeps all (joint training).
        selection: selection of samples: ``"random"``, or ``"herding"`` towards the mean embedding of the class
            (iCaRL, Rebuffi et al. 2017, algorithm 4).
        by_superclass: balance the memory by superclass.
        memory_bytes: size of the memory in bytes of samples and stored logits, in place of memory_size; None: no limit.

    Raises:
        ConfigError: the memory is too small for a sample of each class in the stream; raised before training.
        CheckpointError: the rows of a loaded state are other samples in the current data.
    """

    def __init__(
        self,
        memory_size: Size | None = 50,
        selection: ExemplarSelection = "random",
        *,
        by_superclass: bool = False,
        memory_bytes: Count | None = None,
    ) -> None:
        super().__init__()
        if memory_size is not None and memory_size < 0:
            raise ConfigError(f"memory_size is {memory_size}, expected 0 or more, or None to keep all samples")
        if memory_bytes is not None and memory_bytes < 1:
            raise ConfigError(f"memory_bytes is {memory_bytes}, expected 1 or more, or None for no limit in bytes")
        if selection not in ("random", "herding"):
            raise ConfigError(f"selection is {selection!r}, expected 'random' or 'herding'")
        self.memory_size = memory_size
        self.selection = selection
        self.by_superclass = by_superclass
        self.memory_bytes = memory_bytes
        # Label of a class or superclass -> rows, best first; labels in order of arrival.
        self.memory: dict[int, list[int]] = {}
        self._loaded: list[
            tuple[int, list[int], str]
        ] = []  # label, rows and their digest, to be compared with the data
        self._source: Dataset | None = None
        self._digests: list[bytes] = []  # one for each sample of the source
        self._budget: MemoryBudget | None = None

    @property
    def rows(self) -> list[int]:
        """Row numbers in memory, class by class."""
        return [row for rows in self.memory.values() for row in rows]

    def kept_bytes(self) -> int:
        """Return the bytes of the samples in memory."""
        return 0 if self._source is None else sample_bytes(self._source, self.rows)

    def before_train_dataset_adaptation(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Check that the memory fits every class, and that loaded rows are still the same samples."""
        if self._source is not strategy.experience.source:
            self._source, self._digests = strategy.experience.source, sample_digests(strategy.experience.source)
            if self.memory_bytes is not None:
                self._budget = MemoryBudget(self.memory_bytes, self._source, strategy.plugins)
                self.memory_size = self._budget.most
        self._check_samples()
        unit, count = "classes", len(strategy.experience.source.classes)
        if self.by_superclass:
            names = attributes_of(strategy.experience.source).superclasses
            unit, count = "superclasses", len(set(names))
            if not count:
                raise ConfigError("the data set has no superclasses: expected by_superclass=False")
            arrivals = [{names[label] for label in part.group} for part in strategy.experience.origin_stream]
            repeated = sorted(name for name in set(names) if sum(name in arrived for arrived in arrivals) > 1)
            if repeated:  # classes that arrive later would replace the earlier ones
                raise ConfigError(
                    f"superclass '{repeated[0]}' arrives in more than one experience: expected one, make the stream "
                    "with by_superclass=True"
                )
        if self._budget is not None:
            self._budget.require(count, unit)
        elif self.memory_size and self.memory_size < count:
            raise ConfigError(
                f"memory_size is {self.memory_size} for {count} {unit}: expected at least {count}, or 0 for no memory"
            )

    def after_train_dataset_adaptation(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Add the memory to the training data of the experience."""
        strategy.rehearse(self.rows)

    def after_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Select samples of the new classes, and reduce the other classes to their share."""
        if self.memory_size == 0:
            return
        source, experience = strategy.experience.source, strategy.experience
        rows, labels = torch.tensor(rows_of(experience)), torch.tensor(experience.dataset.targets[:])
        if self.by_superclass:
            labels = torch.tensor(superclass_labels(source.superclasses))[labels]
        # A class that arrives with its superclass may have no training samples.
        present = dict.fromkeys(labels.tolist()) if self.by_superclass else experience.group
        for label in present:
            if len(own := rows[labels == label]):
                # A class arrives again where domains arrive, or where boundaries are blurred.
                earlier = torch.tensor([] if self.by_superclass else self.memory.get(label, []), dtype=torch.long)
                seen = _samples_before(experience, label) if len(earlier) else 0
                self.memory[label] = distributed.broadcast_object(self._ranked(strategy, source, own, earlier, seen))
        for (label, selected), share in zip(self.memory.items(), self._shares(), strict=True):
            self.memory[label] = selected[:share]

    def purge(self, rows: Sequence[int]) -> list[int]:
        """Remove samples from the memory, and return those of ``rows`` that it held.

        A class without remaining samples is removed.
        """
        unwanted = set(whole_numbers(rows, "rows", error=DataError))
        removed = [row for row in self.rows if row in unwanted]
        left = {label: [row for row in own if row not in unwanted] for label, own in self.memory.items()}
        self.memory = {label: own for label, own in left.items() if own}
        return removed

    def _shares(self) -> list[int | None]:
        if self.memory_size is None:
            return [None] * len(self.memory)
        count = self.memory_size if self._budget is None else self._budget.fitting(self.memory)
        return [*equal_shares(count, len(self.memory))]

    def _ranked(self, strategy: MMCLTemplate, source: Dataset, new: Tensor, earlier: Tensor, seen: int) -> list[int]:
        """Return rows of a class, best first: new ones, and those in memory, which stand for ``seen`` samples."""
        rows = torch.cat([earlier, new])
        if self.memory_size is None:
            return rows.tolist()
        if self.selection == "random":
            if not len(earlier):
                return rows[torch.randperm(len(rows))].tolist()
            weights = torch.tensor([max(seen / len(earlier), 1.0)] * len(earlier) + [1.0] * len(new))
            return rows[torch.multinomial(weights, len(rows))].tolist()
        embeddings = unit_embeddings(strategy.model, source, rows, strategy.eval_mb_size, strategy.device)
        return rows[herding(embeddings, limit=self.memory_size)].tolist()

    def state_dict(self, strategy: MMCLTemplate) -> dict[str, Any]:
        """Return the row numbers in memory, with a digest of the samples of each label."""
        return {
            "labels": list(self.memory),
            "rows": list(self.memory.values()),
            "samples": [digest_of(self._digests, rows) for rows in self.memory.values()],
        }

    def load_state_dict(self, state: dict[str, Any], strategy: MMCLTemplate) -> None:
        """Restore the memory; its samples are compared with the data when training resumes."""
        self.memory = dict(zip(state["labels"], state["rows"], strict=True))
        if "samples" in state:  # older states have no digests
            self._loaded = list(zip(state["labels"], state["rows"], state["samples"], strict=True))

    def _check_samples(self) -> None:
        for label, rows, digest in self._loaded:
            if digest_of(self._digests, rows) != digest:
                raise CheckpointError(
                    f"the memory has {len(rows)} samples of label {label}, but their rows hold other samples in this "
                    "data: restore the data that the state was saved with, or start training again"
                )
        self._loaded = []


def _samples_before(experience: CLExperience, label: int) -> int:
    """Return the number of samples of a class in earlier experiences of the stream."""
    earlier = getattr(experience, "origin_stream", ())[: experience.current_experience]
    return sum(list(each.dataset.targets).count(label) for each in earlier)


@takes_tensors
def herding(embeddings: Tensor, limit: int) -> Tensor:
    """Order samples so that the mean of the first k is near the mean of all, for every k.

    Args:
        embeddings: ``(samples, dim)``.
        limit: largest number of samples to order.

    Returns:
        Indices ``(min(samples, limit),)``.

    Raises:
        ShapeError: embeddings are not ``(samples, dim)``.
        InputError: embeddings are not finite.

    >>> herding(torch.tensor([[0.0], [1.0], [5.0]]), limit=2).tolist()  # mean 2: 1 is nearest, then (1 + 5) / 2
    [1, 2]
    """
    check_features(embeddings=embeddings)
    require_finite(embeddings=embeddings)
    if embeddings.numel():
        (embeddings,) = precise(embeddings)
        embeddings = embeddings * rescaling(embeddings.abs().amax())
    mean = embeddings.mean(0)
    total = torch.zeros_like(mean)
    available = torch.ones(len(embeddings), dtype=torch.bool, device=embeddings.device)
    selected: list[int] = []
    for count in range(1, min(limit, len(embeddings)) + 1):
        distances = (mean - (total + embeddings) / count).norm(dim=1).masked_fill(~available, float("inf"))
        best = int(distances.argmin())
        selected.append(best)
        available[best] = False
        total = total + embeddings[best]
    return torch.tensor(selected, dtype=torch.long)


def memory_of(strategy: MMCLTemplate) -> Rehearsal:
    """Return the memory of a strategy.

    Raises:
        ConfigError: it has none.
    """
    for plugin in strategy.plugins:
        if isinstance(plugin, Rehearsal):
            return plugin
    raise ConfigError("the strategy has no memory: put a Rehearsal plugin before this one")


@torch.no_grad()
def unit_embeddings(
    model: Any, source: Dataset, rows: Tensor | Sequence[int], batch_size: int, device: torch.device
) -> Tensor:
    """Return a model's unit-length embeddings of samples in evaluation mode, ``(rows, dim)``."""
    was_training = model.training
    model.eval()
    loader = BatchLoader(source, torch.as_tensor(rows), batch_size=batch_size, shuffle=False)
    embeddings = torch.cat([directions(model.embed(batch.to(device))) for batch in loader])
    model.train(was_training)
    return embeddings
