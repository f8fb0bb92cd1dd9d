"""UPMC Food-101: images of 101 dishes, each with the title of the web page it comes from."""

from __future__ import annotations

from hashlib import sha256
from typing import ClassVar

from mmcl.data.base import Source
from mmcl.data.class_names import merged_names
from mmcl.data.images.image_text import Described, ImageTextDataset
from mmcl.errors import DataError
from mmcl.files.plain_csv import read_rows
from mmcl.text.words import tidy


class Food101(ImageTextDataset):
    """Read UPMC Food-101: ``texts/{train,test}_titles.csv`` with image name, title and class per line, and images
    ``images/{train,test}/<class>/<name>``.

    There is no official validation split: 7.5 % of the training images, about 5,000, chosen by a hash of their name,
    are used.
    Arguments and errors are those of :class:`~mmcl.data.images.image_text.ImageTextDataset`.
    """

    source: ClassVar[Source | None] = Source(
        name="food101",
        folder="food101",
        marker=("texts",),
        owner="LIP6, Sorbonne (UPMC)",
        license="none is stated",
        size="90,704 images, 101 dishes",
        url="http://visiir.lip6.fr",
        note="101 dishes, from image and title",
    )

    def _read(self) -> tuple[list[str], list[Described]]:
        part = "test" if self.split == "test" else "train"
        path = self.root / "texts" / f"{part}_titles.csv"
        rows: list[tuple[str, str, str]] = []
        for line, row in read_rows(path):
            if len(row) != 3 or not all(cell.strip() for cell in row):
                raise DataError(f"{path} has {row[:4]} in line {line}, expected image, title and class")
            rows.append((row[0], tidy(row[1]), row[2]))
        called = merged_names((name.replace("_", " ") for _, _, name in rows), path)
        if part == "train":
            rows = [row for row in rows if _is_valid(row[0]) == (self.split == "valid")]
        folder = self.root / "images" / part
        return list(called.values()), [
            Described(folder / name / image, title, called[name.replace("_", " ")]) for image, title, name in rows
        ]


def _is_valid(image: str) -> bool:
    return int.from_bytes(sha256(image.encode()).digest()[:4], "big") % 1000 < 75
