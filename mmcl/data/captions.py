"""User data with captions: recordings or images with one text each, from a CSV or a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mmcl.data.audio_formats import AUDIO_SUFFIXES
from mmcl.data.base import Utterance, short_enough
from mmcl.data.folders import files_below
from mmcl.data.images.image_file import load_image
from mmcl.errors import ConfigError, DataError, MissingDataError
from mmcl.files.plain_csv import other_delimiter, read_table
from mmcl.files.plain_json import read_text
from mmcl.text.escape import encodable
from mmcl.text.suggest import nearest
from mmcl.text.words import tidy, visible

if TYPE_CHECKING:
    from mmcl.batch import Sample

_SUFFIXES = {
    "audio": AUDIO_SUFFIXES,
    "image": (".jpg", ".jpeg", ".png", ".webp"),
}


class Captions:
    """Read recordings or images with a text each; all samples have the same class.

    A CSV has a header with a column ``audio`` or ``image`` (paths relative to the CSV) and a column ``text``. A folder
    has files such as ``0001.flac`` or ``0001.jpg`` at any depth, each with its text in ``0001.txt`` in the same folder,
    as in archives of webdataset.

    Args:
        path: CSV file or folder.
        size: images are resized so that the shorter side has ``size`` pixels, then center-cropped to a square.
        max_seconds: skip longer recordings; None keeps all.

    Attributes:
        modality: ``"audio"`` or ``"image"``.

    Raises:
        MissingDataError: ``path`` or a listed file does not exist; the message counts them.
        DataError: there are no pairs, a text is missing or empty, both modalities occur, or an image is damaged (on
            access).
        AudioError: a file is not audio (on access).
        ConfigError: ``size`` is less than 1.

    >>> import tempfile
    >>> from torchvision.utils import save_image
    >>> folder = Path(tempfile.mkdtemp())
    >>> save_image(__import__("torch").rand(3, 40, 60), folder / "1.png")
    >>> _ = (folder / "1.txt").write_text("noise")
    >>> data = Captions(folder, size=32)
    >>> data.modality, data.texts, data[0]["image"].shape
    ('image', ['noise'], torch.Size([3, 32, 32]))
    """

    classes = ("caption",)

    def __init__(self, path: str | Path, *, size: int = 224, max_seconds: float | None = None) -> None:
        if size < 1:
            raise ConfigError(f"size is {size}, expected at least 1 pixel")
        self.path = Path(path).expanduser()
        self.size, self.max_seconds = size, max_seconds
        if not self.path.exists():
            raise MissingDataError(f"{self.path} does not exist: expected a CSV file, or a folder of files and texts")
        pairs = list(_folder(self.path) if self.path.is_dir() else _csv(self.path))
        if not pairs:
            raise DataError(
                f"{self.path} has no pairs: expected rows of a CSV, or a folder of files "
                f"({', '.join(suffix for each in _SUFFIXES.values() for suffix in each)}) with a .txt of the same name"
            )
        kinds = {kind for kind, _, _ in pairs}
        if len(kinds) > 1:
            raise DataError(f"{self.path} has recordings and images, expected one of them: split it into two")
        self.modality = kinds.pop()
        if absent := [file for _, file, _ in pairs if not file.is_file()]:
            raise MissingDataError(
                f"{len(absent)} of {len(pairs)} files listed in {self.path} do not exist, first {absent[0]}: "
                "paths are relative to the CSV"
            )
        if self.modality == "audio":
            said = [Utterance(encodable(file.stem), file, 0, text) for _, file, text in pairs]
            self.utterances = said if max_seconds is None else short_enough(said, max_seconds)
            pairs = [("audio", utterance.path, utterance.text) for utterance in self.utterances]
        self.files = [file for _, file, _ in pairs]
        self.texts = [text for _, _, text in pairs]
        self.labels = [0] * len(pairs)

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> Sample:
        file, text = self.files[index], self.texts[index]
        if self.modality == "image":
            return {"id": encodable(file.stem), "image": load_image(file, self.size), "text": text, "label": 0}
        from mmcl.data.audio import load_audio

        return {
            "id": encodable(file.stem),
            "audio": load_audio(file, max_seconds=self.max_seconds),
            "text": text,
            "label": 0,
        }


def _csv(path: Path) -> Iterator[tuple[str, Path, str]]:
    table = read_table(path, (*_SUFFIXES, "text"))
    kinds = [kind for kind in _SUFFIXES if kind in table.columns]
    if len(kinds) != 1 or "text" not in table.columns:
        names = table.header
        hint = next((nearest(name, names) for name in ("audio", "image", "text") if name not in names), "")
        raise DataError(
            f"{path} has columns {', '.join(names) or 'none'}{hint}, expected audio or image, and text"
            f"{other_delimiter(names)}"
        )
    for line, row in table.rows:
        if not row[kinds[0]].strip():
            raise DataError(f"{path} has an empty cell in line {line}, column {kinds[0]}: fill it in")
        yield kinds[0], path.parent / row[kinds[0]], _text(row["text"], f"line {line} of {path}")


def _folder(folder: Path) -> Iterator[tuple[str, Path, str]]:
    for path in files_below(folder):
        kind = next((kind for kind, suffixes in _SUFFIXES.items() if path.suffix.lower() in suffixes), None)
        if kind is None:
            continue
        caption = path.with_suffix(".txt")
        if not caption.exists():
            raise DataError(f"{path} has no text: expected {caption.name} in the same folder")
        yield kind, path, _text(read_text(caption), str(caption))


def _text(text: str, where: str) -> str:
    if not visible(text):
        raise DataError(f"{where} has no text, expected words: fill it in, or remove it")
    return tidy(text)
