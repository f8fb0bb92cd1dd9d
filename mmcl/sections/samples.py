"""Config section of the samples that a representation is learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mmcl.config.model import OneOrMore, StrictModel
from mmcl.config.signature import section_of
from mmcl.sections.slu import DataSection

if TYPE_CHECKING:
    from mmcl.data.base import Dataset
    from mmcl.data.paired import PairedDataset


@section_of("mmcl.data.episodes:EpisodicDataset", without=("first",))
class EpisodesSection(StrictModel):
    """Few-shot episodes to train on; see :class:`mmcl.data.episodes.EpisodicDataset`."""


class SamplesSection(DataSection):
    """A data set, its splits, and the selection of training samples."""

    held_out: OneOrMore[str] = Field((), description="classes that are not trained on, for few-shot episodes")
    long_tail: float | None = Field(
        None, gt=0, le=1, description="size of the rarest class as a share of the most frequent; none: all samples"
    )

    episodes: EpisodesSection | None = Field(
        None, description="batches that are few-shot episodes, in place of batch_size; none: shuffled samples"
    )

    def open(self, modality: Literal["audio", "image", "tabular", "text"]) -> tuple[Dataset, Dataset]:
        """Open the training data and the test data; exercises become texts with labels, and views of numbers one input.

        Raises:
            ConfigError: the samples lack ``modality``.
            DataError: the samples have no numbers, which ``tabular`` needs.
        """
        from mmcl.data import open_dataset
        from mmcl.data.modalities import check_modality
        from mmcl.data.tabular_view import TabularView
        from mmcl.sections.modalities import labelled

        parts = [open_dataset(self.name, split, self.root, **self.options) for split in self.train]
        opened: list[Dataset] = [self.join(parts), open_dataset(self.name, self.test, self.root, **self.options)]
        if modality == "tabular":
            opened = [TabularView(each) for each in opened]
        else:
            check_modality(opened[0], modality, f"data.name={self.name}")
        train, test = (labelled(each) for each in opened)
        return train, test

    def select(self, train: Dataset, seed: int) -> Dataset:
        """Return the training samples, without held-out classes and with a long tail, where these are set.

        Raises:
            ConfigError: a held-out class is unknown, or fewer than two classes remain.
        """
        from mmcl.data import Selection
        from mmcl.data.long_tail import long_tailed

        self.check_held_out(train.classes)
        chosen = train
        if self.held_out:
            rows = [row for row, label in enumerate(train.labels) if train.classes[label] not in self.held_out]
            chosen = Selection(train, rows)
        return chosen if self.long_tail is None else long_tailed(chosen, self.long_tail, seed=seed)

    def pairs(self, chosen: Dataset) -> PairedDataset:
        """Return selected samples as the trainer takes them, in episodes where these are set.

        Raises:
            DataError: too few classes have enough samples for an episode.
        """
        from mmcl.data import EpisodicDataset, PairedDataset

        return PairedDataset(chosen) if self.episodes is None else EpisodicDataset(chosen, **dict(self.episodes))

    def check_held_out(self, classes: Sequence[str]) -> None:
        """Check the held-out classes against those of a data set.

        Raises:
            ConfigError: one is unknown, or fewer than two classes remain.
        """
        from mmcl.errors import ConfigError
        from mmcl.text.suggest import did_you_mean

        for name in self.held_out:
            if name not in classes:
                raise ConfigError(f"data.held_out has '{name}', which is not a class, {did_you_mean(name, classes)}")
        if self.held_out and len(set(classes) - set(self.held_out)) < 2:
            raise ConfigError(
                f"data.held_out leaves out {len(set(self.held_out))} of {len(classes)} classes, expected to keep 2 or "
                "more: hold out fewer"
            )
