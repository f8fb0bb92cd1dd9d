"""Natural language inference: e-SNLI and round 1 of ANLI."""

from __future__ import annotations

from typing import ClassVar

from mmcl.data.base import Source
from mmcl.data.texts.exercises import Exercises, field, first_answer, label_of

_LABELS = ("entailment", "neutral", "contradiction")


class _Pairs(Exercises):
    """Pairs of premise and hypothesis, joined by the end token of T5's tokenizer."""

    own_valid: ClassVar[bool] = True
    before_answer: ClassVar[str]
    file: ClassVar[str]

    def prompt(self, question: str) -> str:
        premise, _, hypothesis = question.partition("</s>")
        return (
            "Explain in one or two sentences whether the premise entails the hypothesis, contradicts it, or is "
            f'neutral. Then end with the words "{self.before_answer}" and one of: {", ".join(_LABELS)}.\n\n'
            f"Premise: {premise}\nHypothesis: {hypothesis}\n"
        )

    def _read(self, part: str) -> list[tuple[str, str, str, tuple[str, ...]]]:
        read: list[tuple[str, str, str, tuple[str, ...]]] = []
        for number, (where, row) in enumerate(self._lines(f"{self.file}_{part}.json"), start=1):
            pair = f"{field(row, 'premise', where)}</s>{field(row, 'hypothesis', where)}"
            id = field(row, "uid", where) if "uid" in row else f"{part}-{number}"
            read.append((id, pair, field(row, "label", where), _LABELS))
        return read

    @classmethod
    def parse(cls, completion: str) -> tuple[str, str | None]:
        text, answer = first_answer(completion, "Premise:", cls.before_answer)
        return text, label_of(answer)


class Esnli(_Pairs):
    """Read e-SNLI: premise and hypothesis; the answer is entailment, neutral or contradiction.

    Arguments and errors are those of :class:`~mmcl.data.texts.exercises.Exercises`.
    """

    source: ClassVar[Source | None] = Source(
        name="esnli",
        folder="rationales/esnli",
        marker=("esnli_train.json", "esnli_test.json"),
        owner="Oana-Maria Camburu and others; completions: Distilling step-by-step",
        license="MIT",
        size="569,033 pairs, 400 MB",
        url="https://github.com/google-research/distilling-step-by-step",
        note="inference between sentences, with rationales",
    )
    before_answer: ClassVar[str] = "Answer:"
    file: ClassVar[str] = "esnli"


class Anli(_Pairs):
    """Read round 1 of adversarial NLI, a harder variant of :class:`Esnli` with the same format.

    Arguments and errors are those of :class:`~mmcl.data.texts.exercises.Exercises`.
    """

    source: ClassVar[Source | None] = Source(
        name="anli",
        folder="rationales/anli1",
        marker=("anli1_train.json", "anli1_test.json"),
        owner="Yixin Nie and others; completions: Distilling step-by-step",
        license="CC BY-NC 4.0",
        size="18,946 pairs, 20 MB",
        url="https://github.com/google-research/distilling-step-by-step",
        note="inference between sentences, with rationales",
    )
    before_answer: ClassVar[str] = "So the answer is"
    file: ClassVar[str] = "anli1"
