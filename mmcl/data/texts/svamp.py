"""SVAMP (Patel, Bhattamishra and Goyal): arithmetic word problems."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from mmcl.data.base import Source
from mmcl.data.texts.exercises import Exercises, field, first_answer
from mmcl.errors import DataError, InputError
from mmcl.files.plain_json import read_json
from mmcl.metrics.answers import equation_match, evaluate

_TRAIN = 800  # of 1,000 problems, permuted by numpy.random.RandomState(0)


class Svamp(Exercises):
    """Read SVAMP: a story and a question; the answer is an equation such as ``( 76.0 - 25.0 )``.

    Reads the authors' ``SVAMP.json``. As in Distilling step-by-step, 800 problems are for training and 200 for test.
    If "and" joins several equations in a completion, the last one is the answer, as in the released parser. Arguments
    and errors are those of :class:`~mmcl.data.texts.exercises.Exercises`.
    """

    source: ClassVar[Source | None] = Source(
        name="svamp",
        folder="rationales/svamp",
        marker=("SVAMP.json",),
        owner="Arkil Patel and others; completions: Distilling step-by-step",
        license="MIT",
        size="1,000 problems, 1 MB",
        url="https://github.com/arkilpatel/SVAMP and https://github.com/google-research/distilling-step-by-step",
        note="arithmetic in words, with rationales",
    )

    instruction: ClassVar[str] = (
        'Explain in one or two sentences how the problem is solved. Then end with the words "The answer is" and an '
        "equation of the numbers of the problem in parentheses, not worked out, such as: The answer is ( 8.0 - 3.0 )."
    )

    def _read(self, part: str) -> list[tuple[str, str, str, tuple[str, ...]]]:
        path = self.root / "SVAMP.json"
        problems = read_json(path, list)
        for number, problem in enumerate(problems, start=1):
            if not isinstance(problem, dict):
                raise DataError(f"{path}, problem {number} is {problem!r:.40}, expected an object: copy the file again")
            _check_equation(problem, f"{path}, problem {number}")
        order = np.random.RandomState(0).permutation(len(problems)).tolist()
        chosen = order[:_TRAIN] if part == "train" else order[_TRAIN:]
        read: list[tuple[str, str, str, tuple[str, ...]]] = []
        for row in chosen:
            problem, where = problems[row], f"{path}, problem {row + 1}"
            question = f"{field(problem, 'Body', where)}\n{field(problem, 'Question', where)}"
            read.append((field(problem, "ID", where), question, field(problem, "Equation", where), ()))
        return read

    @classmethod
    def parse(cls, completion: str) -> tuple[str, str | None]:
        text, answer = first_answer(completion, "Q:", "The answer is")
        found = re.search(r"\(.*\)", (answer or "").replace("\n", " "))
        if found is None:
            return text, None
        equation = found[0]
        if " and " in equation:
            equation = equation.rpartition(" and ")[2]
            equation = equation.removesuffix(")" * max(0, equation.count(")") - equation.count("(")))
        try:
            evaluate(equation)
        except InputError:
            return text, None
        return text, equation

    @classmethod
    def same(cls, answer: str) -> str | float:
        return round(evaluate(answer), 6)

    @classmethod
    def match(cls, answers: Sequence[str], labels: Sequence[str]) -> list[bool]:
        return equation_match(answers, labels)


def _check_equation(problem: dict[str, Any], where: str) -> None:
    """Check that a label can be evaluated, since answers are compared by value."""
    equation = field(problem, "Equation", where)
    try:
        evaluate(equation)
    except InputError as error:
        raise DataError(f"{where} has no valid equation ({error}): correct it, or copy the file again") from None
