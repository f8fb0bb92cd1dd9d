"""SICK: pairs of sentences about everyday scenes with a relatedness from 1 to 5."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from mmcl.data.base import Source, checked_root
from mmcl.data.texts.text_pairs import TextPairs, source_file
from mmcl.errors import DataError
from mmcl.files.plain_csv import number
from mmcl.files.plain_json import read_text
from mmcl.text.words import tidy

_FILES = {"train": "SICK_train.txt", "valid": "SICK_trial.txt", "test": "SICK_test_annotated.txt"}
_HEADER = ["pair_ID", "sentence_A", "sentence_B", "relatedness_score", "entailment_judgment"]


class Sick(TextPairs):
    """Read SICK (Marelli et al., LREC 2014): pairs of sentences with a relatedness from 1 to 5.

    Args:
        root: folder of the three files.
        split: ``"train"``, ``"valid"`` (the trial data) or ``"test"``.

    Attributes:
        ids: id of each pair.

    Raises:
        MissingDataError: the folder or the file does not exist.
        DataError: the split does not exist, the header is another, a line has another number of cells or an empty
            sentence, or a score is not from 1 to 5.
    """

    source: ClassVar[Source] = Source(
        name="sick",
        folder="sick2014",
        marker=tuple(_FILES.values()),
        owner="Marco Marelli and others, University of Trento",
        license="CC BY-NC-SA 3.0",
        size="9,927 pairs of sentences, 1 MB",
        url="https://zenodo.org/records/2787612",
        note="pairs of sentences with a relatedness from 1 to 5",
    )

    def __init__(self, root: str | Path, split: str = "train") -> None:
        self.root, self.split = checked_root(type(self), root, split), split
        path = source_file(self.source, self.root / _FILES[split])
        header, *lines = read_text(path).rstrip("\n").split("\n")
        if header.split("\t") != _HEADER:
            raise DataError(f"{path} starts with {header!r:.80}, expected the columns {', '.join(_HEADER)}")
        texts: tuple[list[str], list[str], list[str]] = ([], [], [])  # ids, first and second sentences
        scores = []
        for line, text in enumerate(lines, start=2):
            cells = [tidy(cell) for cell in text.split("\t")]
            if len(cells) != len(_HEADER) or not all(cells):
                raise DataError(
                    f"{path} line {line} has {sum(map(bool, cells))} cells with text, expected {len(_HEADER)}: copy "
                    "the file again"
                )
            score = number(cells[3], f"{path} line {line} has score {cells[3]!r}")
            if not 1 <= score <= 5:
                raise DataError(f"{path} line {line} has score {score:g}, expected 1 to 5: copy the file again")
            for values, cell in zip(texts, cells, strict=False):
                values.append(cell)
            scores.append(score)
        self.ids = texts[0]
        super().__init__(*texts[1:], scores=scores)
