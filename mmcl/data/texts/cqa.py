"""CommonsenseQA (Talmor et al.): questions with five choices."""

from __future__ import annotations

from typing import ClassVar

from mmcl.data.base import Source
from mmcl.data.texts.exercises import Exercises, field, first_answer, label_of
from mmcl.files.plain_json import member
from mmcl.text.words import composed


class Cqa(Exercises):
    """Read CommonsenseQA: questions with five choices; the answer is the text of one choice.

    Arguments and errors are those of :class:`~mmcl.data.texts.exercises.Exercises`.
    """

    source: ClassVar[Source | None] = Source(
        name="cqa",
        folder="rationales/cqa",
        marker=("cqa_train.json",),
        owner="Alon Talmor and others; explanations and completions: CoS-E, Distilling step-by-step",
        license="CC BY-SA 4.0",
        size="10,962 questions, 10 MB",
        url="https://github.com/google-research/distilling-step-by-step",
        note="common sense, with rationales",
    )

    instruction: ClassVar[str] = (
        'Explain in one or two sentences which choice fits best, and why. Then end with the words "So the answer is" '
        "and the choice, such as: So the answer is (b) river bank."
    )

    def _read(self, part: str) -> list[tuple[str, str, str, tuple[str, ...]]]:
        read = []
        for where, row in self._lines(f"cqa_{part}.json"):
            choices = tuple(map(composed, member(row, "choices", list, of=str, where=where)))
            listed = "".join(f"\n({chr(97 + place)}) {choice}" for place, choice in enumerate(choices))
            question = f"{field(row, 'question', where)}\nAnswer Choices:{listed}"
            read.append((field(row, "id", where), question, field(row, "answer", where), choices))
        return read

    @classmethod
    def parse(cls, completion: str) -> tuple[str, str | None]:
        text, answer = first_answer(completion, "Q:", "So the answer is")
        return text, label_of(answer)
