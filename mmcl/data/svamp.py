"""SVAMP: arithmetic in words, of Patel, Bhattamishra and Goyal."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from mmcl.data.base import Source
from mmcl.data.exercises import Exercises, field, first_answer
from mmcl.errors import DataError, InputError
from mmcl.metrics.answers import equation_match, evaluate

_TRAIN = 800  # of the 1,000, as they are permuted by numpy.random.RandomState(0)


class Svamp(Exercises):
    """Read SVAMP: a story and a question, answered by an equation such as ``( 76.0 - 25.0 )``.

    ``SVAMP.json`` of its authors, of which Distilling step-by-step trains on 800 problems and tests on 200. Arguments
    and errors are those of :class:`~mmcl.data.exercises.Exercises`. Of several equations that are joined by "and" the
    last is the answer, as the released parser has it.
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
        try:
            problems = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path} is no JSON ({error}): copy it again") from None
        order = np.random.RandomState(0).permutation(len(problems)).tolist()
        chosen = order[:_TRAIN] if part == "train" else order[_TRAIN:]
        where = f"a problem of {path}"
        return [
            (
                field(problems[row], "ID", where),
                f"{field(problems[row], 'Body', where)}\n{field(problems[row], 'Question', where)}",
                field(problems[row], "Equation", where),
                (),
            )
            for row in chosen
        ]

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
