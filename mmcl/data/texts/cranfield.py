"""Cranfield: abstracts on aerodynamics, queries, and judgements in four grades."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from mmcl.data.base import Source, checked_root
from mmcl.data.texts.collection import Collection
from mmcl.data.texts.text_pairs import source_file
from mmcl.errors import DataError
from mmcl.files.plain_json import read_text
from mmcl.text.words import tidy

# Neighbouring queries share documents, so each split has queries in a row.
_LAST = {"train": 120, "valid": 155, "test": 225}
_WORST = 4  # grades are 1 (a complete answer) to 4 (minimum interest); gains are 4 to 1
_RECORD = re.compile(r"^\.I +([0-9]+)[ \r]*$", re.MULTILINE)
_FIELD = re.compile(r"^\.([A-Z])[ \r]*$", re.MULTILINE)


class Cranfield(Collection):
    """Read the Cranfield collection (Cleverdon, 1967): 1,400 abstracts, 225 queries, 1,837 judgements.

    All documents are searched in every split. A document is its title and its text, without the title that texts
    repeat. Queries are numbered by their order in the file, as in the judgements. Queries 1 to 120 are for training,
    121 to 155 for validation and 156 to 225 for testing.

    Grades 1 to 4 become gains 4 to 1. Other grades, such as 5 and -1, mark documents of no interest; they have gain 0.
    Two documents have no text. They are skipped, with their judgement.

    Args:
        root: folder of ``cran.all.1400``, ``cran.qry`` and ``cranqrel``.
        split: ``"train"``, ``"valid"`` or ``"test"``.

    Raises:
        MissingDataError: the folder or a file does not exist.
        DataError: the split does not exist, a file is not as expected, or a judgement is of an unknown document.
    """

    source: ClassVar[Source] = Source(
        name="cranfield",
        folder="cranfield",
        marker=("cran.all.1400",),
        owner="Cyril Cleverdon, hosted by the University of Glasgow",
        license="no formal licence",
        size="1,400 abstracts and 225 queries, 2 MB",
        url="https://ir.dcs.gla.ac.uk/resources/test_collections/cran",
        note="abstracts on aerodynamics to search, with judged queries",
    )

    def __init__(self, root: str | Path, split: str = "train") -> None:
        self.root, self.split = checked_root(type(self), root, split), split
        documents = {
            id: _document(text) for id, text in _records(source_file(self.source, self.root / "cran.all.1400"))
        }
        queries = _records(source_file(self.source, self.root / "cran.qry"))
        numbers = list(_LAST)
        before = _LAST[numbers[numbers.index(split) - 1]] if split != "train" else 0
        chosen = range(before + 1, _LAST[split] + 1)
        judged = _judgements(source_file(self.source, self.root / "cranqrel"), len(queries))
        super().__init__(
            documents,
            {str(number): tidy(_fields(text)["W"]) for number, (_, text) in enumerate(queries, 1) if number in chosen},
            [(query, document, gain) for query, document, gain in judged if int(query) in chosen],
            f"{self.root} in split '{split}'",
        )


def _records(path: Path) -> list[tuple[str, str]]:
    """Return the id and the content of each record."""
    _, *parts = _RECORD.split(read_text(path))
    records = list(zip(parts[::2], parts[1::2], strict=True))
    if faulty := [id for id, text in records if "W" not in _fields(text)]:
        raise DataError(f"{path} has no text (.W) in record {faulty[0]}: copy the file again")
    if not records:
        raise DataError(f"{path} has no records, expected lines such as .I 1: copy the file again")
    return records


def _fields(record: str) -> dict[str, str]:
    """Return the fields of a record; markers within the text, as in documents 240 and 576, are not fields."""
    before, _, text = record.partition("\n.W")
    _, *parts = _FIELD.split(before)
    fields = dict(zip(parts[::2], parts[1::2], strict=True))
    return {**fields, "W": _FIELD.sub("", text)} if "\n.W" in record else fields


def _document(record: str) -> str:
    fields = _fields(record)
    title, text = tidy(fields.get("T", "")), tidy(fields["W"])
    return f"{title} {text.removeprefix(title).strip()}".strip()


def _judgements(path: Path, queries: int) -> list[tuple[str, str, int]]:
    """Return query, document and gain of each line."""
    found = []
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        cells = text.split()
        if len(cells) != 3 or not all(re.fullmatch("-?[0-9]+", cell) for cell in cells):
            raise DataError(f"{path} line {line} is {text!r:.60}, expected query, document and grade: copy it again")
        query, document, grade = cells
        if not 1 <= int(query) <= queries:
            raise DataError(f"{path} line {line} has query {query}, expected 1 to {queries}: copy the file again")
        found.append((query, document, _WORST + 1 - int(grade) if 1 <= int(grade) <= _WORST else 0))
    return found
