"""Inputs of a prediction: files, the files of folders, lines of text files, rows of tables, and texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from mmcl.data.folders import files_below
from mmcl.data.own_rows import SUFFIXES, OwnRow, all_rows, read_own
from mmcl.encoders.fused_views import SEVERAL_VIEWS
from mmcl.errors import ConfigError, DataError, MMCLError
from mmcl.files.plain_json import read_text
from mmcl.files.records import TABLE_SUFFIXES

AnswerT = TypeVar("AnswerT")


class PredictionInput(NamedTuple):
    """A file, a text or a row of a table to predict.

    Attributes:
        name: the path; path and line of a text or a row in a file; or the text itself.
        path: the file; None for a text or a row.
        text: the text.
        fault: why it cannot be read, if that is known already.
        row: the row; None for a file or a text.
    """

    name: str
    path: Path | None = None
    text: str = ""
    fault: str = ""
    row: OwnRow | None = None


class Answered(NamedTuple, Generic[AnswerT]):
    """An input with its answer; or None, and why it cannot be read."""

    name: str
    answer: AnswerT | None
    error: str = ""


def prediction_inputs(files: Sequence[str | Path], texts: Sequence[str], modality: str) -> list[PredictionInput]:
    """List the inputs for a model.

    A folder stands for all files below it that have a suffix of the modality. For a model of texts, each line of a file
    that is not blank is one text. For a model of several views or of numbers, each row of a table is one input, with
    the columns of :class:`~mmcl.data.LabelledTable`.

    Args:
        files: files and folders.
        texts: texts, for a model of texts.
        modality: ``"audio"``, ``"image"``, ``"text"`` or ``"views"``.

    Raises:
        ConfigError: there are no inputs, a folder has no files of the modality, or texts do not fit it.
        DataError: a folder cannot be read.
    """
    if texts and modality != "text":
        raise ConfigError(f"--text is for models of texts, but this model is for {modality}: name files instead")
    found = [PredictionInput(text, None, text) for text in texts]
    for file in map(Path, files):
        paths = _files_in(file, modality) if file.is_dir() else [file]
        for path in paths:
            reader = {"text": _lines, SEVERAL_VIEWS: _rows}.get(modality)
            found += reader(path) if reader else [PredictionInput(str(path), path)]
    if not found:
        example = '--text "turn on the lights", or a FILE with one text per line' if modality == "text" else "a FILE"
        raise ConfigError(f"there is nothing to predict: expected {example}")
    return found


def answer_all(
    inputs: Sequence[PredictionInput],
    answer: Callable[[PredictionInput], AnswerT],
    advance: Callable[[], None] = lambda: None,
) -> Iterator[Answered[AnswerT]]:
    """Answer inputs one after the other; those that cannot be read become errors.

    Args:
        inputs: the inputs.
        answer: function of an input.
        advance: called after each input.
    """
    for each in inputs:
        try:
            if each.fault:
                raise DataError(each.fault)
            yield Answered(each.name, answer(each))
        except MMCLError as error:
            yield Answered(each.name, None, str(error))
        advance()


def _files_in(folder: Path, modality: str) -> list[Path]:
    suffixes = TABLE_SUFFIXES if modality == SEVERAL_VIEWS else SUFFIXES[modality]
    found = [path for path in files_below(folder) if path.suffix.lower() in suffixes]
    if not found:
        raise ConfigError(f"{folder} has no files of {modality}, expected names that end in {', '.join(suffixes)}")
    return found


def _rows(path: Path) -> list[PredictionInput]:
    try:
        rows = list(all_rows(read_own(path, labelled=False)))
    except MMCLError as error:
        return [PredictionInput(str(path), path, fault=str(error))]
    return [PredictionInput(f"{path} {row.place}", row=row) for row in rows]


def _lines(path: Path) -> list[PredictionInput]:
    try:
        lines = read_text(path).split("\n")
    except MMCLError as error:
        return [PredictionInput(str(path), path, fault=str(error))]
    found = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    if not found:
        return [PredictionInput(str(path), path, fault=f"{path} has no text, expected one per line")]
    return [PredictionInput(f"{path} line {number}", None, line) for number, line in found]
