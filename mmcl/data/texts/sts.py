"""Semantic textual similarity of SemEval, 2012 to 2015: pairs of sentences with a score from 0 to 5."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from mmcl.data.base import Source, checked_root, logger
from mmcl.data.texts.text_pairs import TextPairs, source_file
from mmcl.errors import DataError
from mmcl.files.plain_csv import number
from mmcl.files.plain_json import read_text
from mmcl.text.words import tidy

HIGHEST = 5.0  #: score of sentences with the same meaning

#: files of each split, without their suffix
FILES = {
    "train": (
        *("2012/MSRpar.train", "2012/SMTeuroparl.train", "2012/MSRpar.test", "2012/OnWN.test"),
        *("2012/SMTeuroparl.test", "2012/SMTnews.test", "2013/FNWN.test", "2013/OnWN.test", "2013/headlines.test"),
        *("2014/OnWN.test", "2014/deft-forum.test", "2014/deft-news.test", "2014/headlines.test", "2014/images.test"),
    ),
    "valid": ("2014/tweet-news.test",),
    "test": (
        *("2015/answers-forums.test", "2015/answers-students.test", "2015/belief.test", "2015/headlines.test"),
        "2015/images.test",
    ),
}


class Sts(TextPairs):
    """Read the tasks on semantic textual similarity of SemEval (Agirre et al., 2012 to 2015).

    The test split is 2015, the validation split the tweets of 2014, and all other files of earlier years are for
    training. Rows without a score were not annotated. They are skipped and counted.

    Args:
        root: folder with a folder of ``.tsv`` files for each year.
        split: ``"train"``, ``"valid"`` or ``"test"``.

    Attributes:
        sources: year and source of each pair, such as ``2015 headlines``.

    Raises:
        MissingDataError: the folder or a file does not exist.
        DataError: the split does not exist, a line is not score and two sentences, or a score is not from 0 to 5.
    """

    source: ClassVar[Source] = Source(
        name="sts",
        folder="sts",
        marker=("2015/headlines.test.tsv",),
        owner="SemEval tasks on semantic textual similarity, as collected by brmson",
        license="terms by source, some CC BY-SA",
        size="12,092 scored pairs of sentences, 3 MB",
        url="https://github.com/brmson/dataset-sts",
        note="pairs of sentences with a similarity from 0 to 5",
    )

    def __init__(self, root: str | Path, split: str = "train") -> None:
        self.root, self.split = checked_root(type(self), root, split), split
        first, second, scores, sources, skipped = [], [], [], [], 0
        for name in FILES[split]:
            path = source_file(self.source, self.root / f"{name}.tsv")
            for line, text in enumerate(read_text(path).rstrip("\n").split("\n"), start=1):
                score, *sentences = text.split("\t")
                if sentences and not score.strip():
                    skipped += 1
                    continue
                scores.append(_score(score, f"{path} line {line}"))
                if len(sentences) != 2 or not all(map(tidy, sentences)):
                    found = sum(map(bool, map(tidy, sentences)))
                    raise DataError(
                        f"{path} line {line} has {found} sentences after its score, expected 2 with words, "
                        "separated by tabs: copy the file again"
                    )
                first.append(tidy(sentences[0]))
                second.append(tidy(sentences[1]))
                sources.append(name.partition(".")[0].replace("/", " "))
        super().__init__(first, second, scores=scores, sources=sources)
        self.skipped = skipped
        if skipped:
            logger.warning("skipped %d pairs without a score in %s of %s", skipped, split, self.root)


def _score(cell: str, where: str) -> float:
    score = number(cell, f"{where} has score {cell!r}")
    if not 0 <= score <= HIGHEST:
        raise DataError(f"{where} has score {score:g}, expected 0 to {HIGHEST:g}: copy the file again")
    return score
