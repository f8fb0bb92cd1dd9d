"""Optional attributes of data sets, with defaults for those that a data set lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from mmcl.data.base import Entity, Utterance


@dataclass(frozen=True)
class DatasetAttributes:
    """Optional attributes of a data set; a data set without one of them has its default.

    Attributes:
        superclasses: superclass of each class, such as SLURP's scenarios.
        entities: entities of each sample, in spoken order.
        speakers: speaker of each sample.
        lengths: number of time steps of each sample, ``(samples,)``.
        bags: number of the bag of each sample, for objectives over bags.
        is_target: whether each sample has salient factors; background samples have none.
        factors: values of factors of each sample by name, for probes; -1 where a sample lacks the factor.
        targets: number to predict of each sample, for regression.
        modalities: modality of each view.
        features: size of each view that is a vector of numbers.
        image_shape: channels, height and width of the images; None to look at the first one.
        utterances: the recordings, if samples are recordings.
        described: images with their text and class name, if samples are described images.
        files: file of each sample.
        negative_views: number of views of each sample, the last ones, that are hard negatives of the first.
        exercises: the exercises, if samples are exercises.
        texts_apart: True if no text should occur in two splits.
        arrays: tensors or lists in memory, indexed by sample, that identify samples by content.
        held: function that returns arrays in memory, indexed by sample, for finding equal samples in two splits.
    """

    superclasses: Sequence[str] = ()
    entities: Sequence[tuple[Entity, ...]] | None = None
    speakers: Sequence[str] | None = None
    lengths: Tensor | None = None
    bags: Sequence[int] | Tensor | None = None
    is_target: Sequence[bool] | None = None
    factors: Mapping[str, Sequence[int]] = field(default_factory=dict)
    targets: Sequence[float] | None = None
    modalities: Mapping[str, str] = field(default_factory=dict)
    features: Mapping[str, int] = field(default_factory=dict)
    image_shape: tuple[int, int, int] | None = None
    utterances: Sequence[Utterance] | None = None
    described: Sequence[Any] | None = None
    files: Sequence[Path] | None = None
    exercises: Sequence[Any] | None = None
    texts_apart: bool = False
    negative_views: int = 0
    arrays: Sequence[Sequence[Any] | Tensor] = ()
    held: Callable[[], list[NDArray[np.generic]]] | None = None


def attributes_of(dataset: object) -> DatasetAttributes:
    """Return the optional attributes of a data set, with defaults for those that it lacks.

    >>> class Commands:
    ...     classes, superclasses = ("lights on", "play"), ("home", "music")
    >>> attributes_of(Commands()).superclasses, attributes_of(Commands()).speakers
    (('home', 'music'), None)
    """
    found = {each.name: getattr(dataset, each.name, None) for each in fields(DatasetAttributes)}
    return DatasetAttributes(**{name: value for name, value in found.items() if value is not None})


def values_by_sample(dataset: Any) -> dict[str, list[Any]]:
    """Return the attributes of a data set that hold one string or number per sample, such as the speakers.

    Labels, ids and attributes of empty strings only are left out. Attributes of a torch data set within an adapter
    count too.

    >>> class Noisy:
    ...     labels, noise = [0, 1], (10, 20)
    >>> values_by_sample(Noisy())
    {'noise': [10, 20]}
    """
    found, inner, samples = {}, getattr(dataset, "data", None), len(dataset.labels)
    for holder in (dataset, *([] if inner is None or isinstance(inner, list | tuple) else [inner])):
        public = {name for name in (*getattr(holder, "__dict__", ()), *vars(type(holder))) if not name.startswith("_")}
        for name in sorted(public - {"labels", "targets", "ids", "classes"}):
            values: Any = getattr(holder, name, None)
            values = values.tolist() if getattr(values, "ndim", 0) == 1 else values
            if not isinstance(values, list | tuple) or len(values) != samples:
                continue
            if all(isinstance(value, str | int | float) for value in values) and any(value != "" for value in values):
                found[name] = list(values)
    return found
