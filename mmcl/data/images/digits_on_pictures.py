"""Pictures with and without a handwritten digit drawn over them: emoji as background, MNIST digits as foreground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mmcl.config.numbers import Count
from mmcl.data.base import Source, checked_root
from mmcl.data.images.image_set import ImageSet
from mmcl.data.made_splits import by_class
from mmcl.errors import ConfigError, DataError, MissingDataError
from mmcl.files.plain_json import member, read_json

if TYPE_CHECKING:
    from torch import Tensor

_SIDE = 32  # pixels
_BRIGHTNESS = 0.6  # of the pictures, so that white digits are visible over them


class DigitsOnPictures(ImageSet):
    """Draw MNIST digits over pictures, for objectives that separate common and salient factors.

    Each picture is shown without a digit in one background sample, and with a digit in each of its target samples. The
    common factor is the picture's category, which is the label. The salient factor is the digit.

    Pictures are split by category at random: 10 % ``valid``, 20 % ``test``, the rest ``train``. Equal files are in one
    split. Digits are those of MNIST's split, each used once until all are used. Digits and their places depend on
    the seed and the split only. Pictures have 60 % of their brightness, so that white digits are visible.

    A sample has an ``image`` ``(3, 32, 32)`` in [0, 1], and the category as ``text``.

    Args:
        root: folder with ``captions.json``, a list of objects with ``image``, the path of a file in the folder, and
            ``category``, one of the nine of Unicode's emoji.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        mnist_root: folder of MNIST; None uses the folder that ``mmcl data ls`` shows.
        targets: number of target samples of each picture.
        seed: seed of digits and places.

    Attributes:
        is_target: whether each sample has a digit.
        digits: digit of each sample; -1 without one.
        factors: category and digit of each sample, by name.

    Raises:
        MissingDataError: a folder or file does not exist.
        DataError: the split does not exist, a file is invalid, a category is unknown, or no picture is in the split.
        ConfigError: ``targets`` is less than 1.
    """

    source: ClassVar[Source] = Source(
        name="digits_on_pictures",
        folder="emoji",
        marker=("captions.json",),
        owner="Twemoji, GitHub (gemoji) and MNIST",
        license="CC BY 4.0 (pictures), MIT (captions), CC BY-SA 3.0 (digits)",
        size="1,612 pictures, 4 MB, and MNIST",
        url="https://github.com/jdecked/twemoji and https://github.com/github/gemoji",
        note="9 categories of emoji, with and without an MNIST digit over them",
    )
    classes = (
        "Activities",
        "Animals & Nature",
        "Flags",
        "Food & Drink",
        "Objects",
        "People & Body",
        "Smileys & Emotion",
        "Symbols",
        "Travel & Places",
    )

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        mnist_root: str | Path | None = None,
        targets: Count = 1,
        seed: int = 0,
    ) -> None:
        import torch

        from mmcl.data.catalog import open_dataset

        self.root, self.split = checked_root(DigitsOnPictures, root, split), split
        if targets < 1:
            raise ConfigError(f"targets is {targets}, expected 1 or more target samples of each picture")
        pictures, labels = self._pictures()
        written = open_dataset("mnist", split, mnist_root)
        generator = torch.Generator().manual_seed(len(self.splits) * seed + self.splits.index(split))
        rows = torch.arange(len(pictures) * targets) % len(written)
        rows = torch.randperm(len(written), generator=generator)[rows]
        shifts = torch.randint(_SIDE - 28 + 1, (len(rows), 2), generator=generator)
        strokes = torch.zeros(len(rows), 1, _SIDE, _SIDE)
        for each, row, (down, right) in zip(strokes, rows.tolist(), shifts.tolist(), strict=True):
            each[:, down : down + 28, right : right + 28] = written[row]["image"]
        under = pictures.repeat(targets, 1, 1, 1)
        images = torch.cat([pictures, under + (1 - under) * strokes])
        self._hold((images * 255).round().byte().numpy(), labels * (targets + 1))
        self.digits = [-1] * len(pictures) + [written.labels[row] for row in rows.tolist()]

    def _pictures(self) -> tuple[Tensor, list[int]]:
        """Return the pictures of the split, ``(pictures, 3, side, side)``, and their categories."""
        import torch

        from mmcl.data.images.image_file import load_image

        path, names, files = self.root / "captions.json", [], []
        for number, each in enumerate(read_json(path, list), start=1):
            where = f"{path}, picture {number}"
            if not isinstance(each, dict):
                raise DataError(f"{where} is {each!r:.40}, expected an object with image and category")
            names.append(member(each, "category", str, where=where))
            if names[-1] not in self.classes:
                raise DataError(f"{where} has category '{names[-1]}', expected one of {', '.join(self.classes)}")
            files.append(self.root / member(each, "image", str, where=where))
            if not files[-1].is_file():
                raise MissingDataError(f"{where} is {files[-1]}, which does not exist: copy the folder again")
        contents = [sha256(file.read_bytes()).hexdigest() for file in files]
        splits = by_class(names, contents, ("valid", "test"), seed=0)
        chosen = [row for row, split in enumerate(splits) if split == self.split]
        if not chosen:
            raise DataError(f"{self.root} has {len(names)} pictures, but none in split '{self.split}': add pictures")
        pictures = [_BRIGHTNESS * load_image(files[row], _SIDE, over_black=True) for row in chosen]
        return torch.stack(pictures), [self.classes.index(names[row]) for row in chosen]

    @property
    def is_target(self) -> list[bool]:
        """Whether each sample has a digit."""
        return [digit >= 0 for digit in self.digits]

    @property
    def factors(self) -> Mapping[str, Sequence[int]]:
        """Category and digit of each sample; the digit is -1 where there is none."""
        return {"category": self.labels, "digit": self.digits}

    def __add__(self, other: Any) -> DigitsOnPictures:
        """Concatenate two splits; raises DataError if they belong to different data sets."""
        joined: DigitsOnPictures = super().__add__(other)
        joined.digits = self.digits + other.digits
        return joined
