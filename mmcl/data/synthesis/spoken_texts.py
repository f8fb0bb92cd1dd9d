"""Texts to be spoken: SLURP's training text, frequent words and CommonsenseQA."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from mmcl.data.speech.slurp import FILES, annotations_folder, read_sentences
from mmcl.errors import MissingDataError
from mmcl.files.plain_json import member, parse_json, read_text
from mmcl.text.words import composed

TEXTS = ("slurp", "varied", "vocabulary", "commonsense_qa")
WORDS = 50_000  # most frequent ones of English, less those that are no words of three letters


def read_texts(names: Sequence[str], root: str | Path | None) -> dict[str, list[str]]:
    """Return the distinct texts of each name, none of them in two, none of them a sentence that SLURP tests with.

    Args:
        names: some of :data:`TEXTS`; of ``varied`` the texts are the words that are to be put into sentences.
        root: folder that holds ``slurp`` and ``rationales``; None for ``MMCL_DATA``.

    Raises:
        MissingDataError: a text or wordfreq is missing, or ``MMCL_DATA`` is not set where it is needed.
        DataError: a line of CommonsenseQA is no question.
    """
    place = root if root is not None else os.environ.get("MMCL_DATA")
    if place is None:
        raise MissingDataError(
            "the texts that are to be spoken are looked for in MMCL_DATA, which is not set: set it, or pass text_root"
        )
    folder = Path(place).expanduser()
    readers = {"slurp": _slurp, "varied": _vocabulary, "vocabulary": _vocabulary, "commonsense_qa": _commonsense_qa}
    tested = {
        sentence.text
        for split in ("valid", "test")
        for sentence in read_sentences(annotations_folder(folder / "slurp") / FILES[split])
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
            'wordfreq is not installed, whose words are to be spoken: pip install "mmcl[synth]", or leave out texts '
            "'vocabulary' and 'varied'"
        ) from error
    return (word for word in top_n_list("en", WORDS) if re.fullmatch(r"[a-z]{3,}", word))


def _text(path: Path) -> str:
    if not path.exists():
        raise MissingDataError(
            f"there is no {path}, whose text is to be spoken: set MMCL_DATA to the folder that holds it, or pass "
            "text_root"
        )
    return read_text(path)


def digest_of(texts: dict[str, list[str]]) -> str:
    """Return what tells texts from others in 16 characters."""
    return sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:16]
