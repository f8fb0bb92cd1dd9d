"""Texts for synthetic speech: SLURP's training text, frequent words and CommonsenseQA."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from mmcl.data.speech.slurp import ANNOTATION_FILES, annotations_folder, read_sentences
from mmcl.errors import MissingDataError
from mmcl.files.plain_json import member, parse_json, read_text
from mmcl.text.words import composed

TEXT_SOURCES = ("slurp", "varied", "vocabulary", "commonsense_qa")
WORDS = 50_000  # most frequent English words, before those of fewer than three letters are dropped


def read_texts(names: Sequence[str], root: str | Path | None) -> dict[str, list[str]]:
    """Return the distinct texts of each name, without duplicates across names and without SLURP's test sentences.

    Args:
        names: some of :data:`TEXT_SOURCES`; ``varied`` returns words that are later inserted into sentences.
        root: folder that holds ``slurp`` and ``rationales``; None for ``MMCL_DATA``.

    Raises:
        MissingDataError: a text or wordfreq is missing, or ``root`` is None and ``MMCL_DATA`` is not set.
        DataError: a line of CommonsenseQA is malformed.
    """
    place = root if root is not None else os.environ.get("MMCL_DATA")
    if place is None:
        raise MissingDataError(
            "the texts for synthetic speech are searched in MMCL_DATA, which is not set: set it, or pass text_root"
        )
    folder = Path(place).expanduser()
    readers = {"slurp": _slurp, "varied": _vocabulary, "vocabulary": _vocabulary, "commonsense_qa": _commonsense_qa}
    tested = {
        sentence.text
        for split in ("valid", "test")
        for sentence in read_sentences(annotations_folder(folder / "slurp") / ANNOTATION_FILES[split])
    }
    taken, found = set(tested), {}
    for name in names:
        found[name] = [text for text in dict.fromkeys(readers[name](folder)) if text not in taken]
        if name != "varied":
            taken |= set(found[name])
    return found


def _slurp(folder: Path) -> Iterator[str]:
    for line in _text(folder / "slurp" / "lm.txt").splitlines():
        if text := " ".join(composed(line).split()):
            yield text


def _commonsense_qa(folder: Path) -> Iterator[str]:
    path = folder / "rationales" / "cqa" / "cqa_train.json"
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        question = parse_json(line, where=where)
        texts = [
            member(question, "question", str, where=where),
            *member(question, "choices", list, of=str, where=where),
        ]
        for text in texts:
            if any(map(str.isalpha, text)):
                yield " ".join(composed(text).replace('"', "").split())


def _vocabulary(folder: Path) -> Iterator[str]:
    try:
        from wordfreq import top_n_list
    except ImportError as error:
        raise MissingDataError(
            'wordfreq, the source of words, is not installed: pip install "mmcl[synth]", or leave out texts '
            "'vocabulary' and 'varied'"
        ) from error
    return (word for word in top_n_list("en", WORDS) if re.fullmatch(r"[a-z]{3,}", word))


def _text(path: Path) -> str:
    if not path.exists():
        raise MissingDataError(
            f"there is no file {path} with text to speak: set MMCL_DATA to the folder that holds it, or pass text_root"
        )
    return read_text(path)


def texts_digest(texts: dict[str, list[str]]) -> str:
    """Return a digest of texts, 16 characters."""
    return sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:16]
