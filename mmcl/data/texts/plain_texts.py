"""PlainTexts: texts without classes, such as the documents of a collection, as a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from mmcl.errors import DataError

if TYPE_CHECKING:
    from mmcl.batch import Sample


class PlainTexts:
    """A list of texts as a data set, for caching their features and embedding them.

    Args:
        texts: the texts.

    Raises:
        DataError: there are no texts.

    >>> PlainTexts(["wing", "heat"])[1]
    {'id': '1', 'text': 'heat', 'label': 0}
    """

    classes: Sequence[str] = ("text",)
    modalities: ClassVar[Mapping[str, str]] = {"text": "text"}

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = list(texts)
        if not self.texts:
            raise DataError("there are 0 texts, expected at least 1: check the split of the data set")
        self.labels = [0] * len(self.texts)

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        return {"id": str(index), "text": self.texts[index], "label": 0}
