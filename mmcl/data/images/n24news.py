"""N24News: news of the New York Times, each with an image and a text, from 24 sections."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, ClassVar

from mmcl.data.base import Source
from mmcl.data.class_names import merged_names
from mmcl.data.images.image_text import Described, ImageTextDataset
from mmcl.errors import ConfigError, DataError, MissingDataError
from mmcl.files.plain_json import member, read_json
from mmcl.text.suggest import nearest
from mmcl.text.words import tidy

TEXT_FIELDS = ("headline", "caption", "abstract", "body")
_FILES = {"train": "nytimes_train.json", "valid": "nytimes_dev.json", "test": "nytimes_test.json"}


class N24News(ImageTextDataset):
    """Read N24News in either layout of its owner.

    One layout is ``news/nytimes_{train,dev,test}.json`` with ``imgs/<image_id>.jpg``. The other is
    ``nytimes_dataset.json`` with ``images/<image_id>.jpg``; it has no splits and is split 80 / 10 / 10 % by a hash of
    the image id.

    Args:
        root: folder of the data set.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        text: text of a sample: ``"headline"``, ``"caption"``, ``"abstract"`` or ``"body"``.
        size: see :class:`~mmcl.data.images.image_text.ImageTextDataset`, also for errors.
    """

    source: ClassVar[Source | None] = Source(
        name="n24news",
        folder="N24News",
        marker=("news", "nytimes_dataset.json"),
        owner="Zhen Wang and others",
        license="none is stated",
        size="61,218 news, 24 sections",
        url="https://github.com/billywzh717/N24News",
        note="24 sections of a newspaper, from image and text",
    )

    def __init__(self, root: Any, split: str = "train", *, text: str = "headline", size: int = 224) -> None:
        if text not in TEXT_FIELDS:
            raise ConfigError(f"text is '{text}'{nearest(text, TEXT_FIELDS)}, expected one of {', '.join(TEXT_FIELDS)}")
        self.text = text
        super().__init__(root, split, size=size)

    def _read(self) -> tuple[list[str], list[Described]]:
        parted = self.root / "news" / _FILES[self.split]
        whole = self.root / "nytimes_dataset.json"
        path, images = (parted, self.root / "imgs") if parted.exists() else (whole, self.root / "images")
        if not path.exists():
            raise MissingDataError(f"neither {parted} nor {whole} exists: copy one from its source")
        rows: list[tuple[str, str, str]] = []
        for number, each in enumerate(read_json(path, list), start=1):
            where = f"{path}, news {number}"
            if not isinstance(each, dict):
                raise DataError(f"{where} is {each!r:.40}, expected an object with image_id, section and {self.text}")
            without = self.text in each and each[self.text] is None  # some news lack a text
            text = "" if without else member(each, self.text, str, where=where)
            id = member(each, "image_id", int if isinstance(each.get("image_id"), int) else str, where=where)
            rows.append((str(id), tidy(text), member(each, "section", str, where=where)))
        called = merged_names((name for _, _, name in rows), path)
        rows = [(id, text, called[name]) for id, text, name in rows]
        names = list(called.values())
        if path == whole:
            rows = [row for row in rows if _split(row[0]) == self.split]
        return names, [Described(images / f"{number}.jpg", text, name) for number, text, name in rows]


def _split(name: str) -> str:
    place = int.from_bytes(sha256(name.encode()).digest()[:4], "big") % 10
    return {0: "test", 1: "valid"}.get(place, "train")
