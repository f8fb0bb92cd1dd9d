"""N24News: news of the New York Times as an image and a text, of 24 sections."""

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

TEXTS = ("headline", "caption", "abstract", "body")
_FILES = {"train": "nytimes_train.json", "valid": "nytimes_dev.json", "test": "nytimes_test.json"}


class N24News(ImageTextDataset):
    """Read N24News: ``news/nytimes_train.json`` (``_dev``, ``_test``) and ``imgs/<image_id>.jpg``, or all news in
    ``nytimes_dataset.json`` and ``images/<image_id>.jpg``, as its owner's two downloads have it.

    The latter has no splits: 80 / 10 / 10 % by a hash of the image's name.

    Args:
        root: the folder.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        text: which text stands beside the image: ``"headline"``, ``"caption"``, ``"abstract"`` or ``"body"``.
        size: of the images, see :class:`~mmcl.data.images.image_text.ImageTextDataset`, as are the errors.
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
        if text not in TEXTS:
            raise ConfigError(f"text is '{text}'{nearest(text, TEXTS)}, expected one of {', '.join(TEXTS)}")
        self.text = text
        super().__init__(root, split, size=size)

    def _read(self) -> tuple[list[str], list[Described]]:
        parted = self.root / "news" / _FILES[self.split]
        whole = self.root / "nytimes_dataset.json"
        path, images = (parted, self.root / "imgs") if parted.exists() else (whole, self.root / "images")
        if not path.exists():
            raise MissingDataError(f"there is neither {parted} nor {whole}: copy one from its source")
        rows: list[tuple[str, str, str]] = []
        for number, each in enumerate(read_json(path, list), start=1):
            where = f"{path}, news {number}"
            if not isinstance(each, dict):
                raise DataError(f"{where} is {each!r:.40}, expected an object with image_id, section and {self.text}")
            without = self.text in each and each[self.text] is None  # as some news are
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
