"""Config sections of text pairs, and of the text tower that is trained on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from mmcl.config.model import StrictModel
from mmcl.sections.towers import TowerSection

if TYPE_CHECKING:
    from mmcl.config.checks import Checks
    from mmcl.data.texts.text_pairs import TextPairs

SplitName = Literal["train", "valid", "test"]


class TextDataSection(StrictModel):
    """Pairs, graded pairs or a collection of texts, and their splits."""

    options_of_name: ClassVar[tuple[str, ...]] = ("options",)

    name: str = Field(
        "cranfield",
        description="name of the data set: cranfield, sts, sick, or exercises such as slurp_text and cqa; table for a "
        "file of your own with columns query and passage, and optional negative, score and split",
    )
    root: str | None = Field(
        None, description="folder of the data set, or file for table; none: search MMCL_DATA and the cache"
    )
    train: str = Field("train", description="split to train on")
    valid: str = Field("valid", description="split for curves, and to fit the calibration on")
    test: str = Field("test", description="split to test on; use valid to choose settings")
    options: dict[str, Any] = Field({}, description="options of the data set, such as {columns: {query: anchor}}")

    def open(self, part: SplitName) -> TextPairs:
        """Open the split of a part; exercises become pairs of question and answer.

        Raises:
            ConfigError: ``table`` has no root, or the data set has no text pairs.
        """
        from mmcl.data import TextPairs, open_dataset
        from mmcl.data.catalog import check_options
        from mmcl.data.fingerprint import opened
        from mmcl.data.texts.exercises import Exercises
        from mmcl.data.texts.own_pairs import OwnPairs
        from mmcl.errors import ConfigError

        split: str = getattr(self, part)
        if self.name == "table":
            if self.root is None:
                raise ConfigError("data.root is none, expected a file or folder of your own: set data.root=FILE")
            check_options("table", OwnPairs, self.options)
            return opened(OwnPairs(self.root, split, **self.options), "table", split, root=self.root, **self.options)
        data: Any = open_dataset(self.name, split, self.root, **self.options)
        if isinstance(data, Exercises):
            questions = [each.question.partition("\nAnswer Choices:")[0] for each in data.exercises]
            return TextPairs(questions, [each.label for each in data.exercises])
        if not isinstance(data, TextPairs):
            raise ConfigError(
                f"data set {self.name} has no text pairs, expected one such as cranfield, sts, sick or slurp_text; or "
                "table for a file of your own"
            )
        return data

    def check(self, checks: Checks, key: str) -> TextPairs | None:
        """Open all splits; return that for training, None if one is faulty."""
        parts: tuple[SplitName, ...] = ("valid", "test", "train")
        found = [checks.attempt(key, lambda part=part: self.open(part)) for part in parts]  # type: ignore[misc]
        return None if any(each is None for each in found) else found[-1]


class TextTowerSection(TowerSection):
    """A text encoder and its projection head; see :class:`mmcl.models.TwoTower`."""

    modality: Literal["text"] = Field("text", description="modality of the input")
    name: str = Field(
        "words", description="text encoder: words (trained from scratch), or hub id or folder of a pretrained one"
    )
    head: Literal["none", "linear", "mlp", "attention", "reweighting", "residual"] = Field(
        "none", description="projection head on top of the encoder"
    )
