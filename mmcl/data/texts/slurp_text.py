"""SLURP's sentences without recordings, with the intent as the answer and entities as rationales."""

from __future__ import annotations

from typing import ClassVar

from mmcl.data.base import Source
from mmcl.data.speech.slurp import ANNOTATION_FILES, Slurp, SlurpSentence, annotations_folder, intents, read_sentences
from mmcl.data.texts.exercises import Exercises, first_answer, label_of

ANNOTATORS = "annotation"  #: teacher whose rationales are the annotated entities


class SlurpText(Exercises):
    """Read SLURP's sentences: requests to a home assistant; the answer is scenario and action, such as ``alarm set``.

    There is one exercise per sentence, however often it was recorded; sentences without a word are skipped. The choices
    are the intents of all annotation files that exist. The additional teacher ``annotation`` turns annotated entities
    into a rationale ("five am is the time, this week is the date"), which is empty for sentences without entities.
    Arguments and errors are those of :class:`~mmcl.data.texts.exercises.Exercises`. ``mmcl rationales`` writes
    completions of language models.

    Attributes:
        superclasses: scenario of each choice.
    """

    source: ClassVar[Source | None] = Source(
        name="slurp_text",
        folder="slurp",
        marker=Slurp.source.marker,
        owner="Emotech and Heriot-Watt University",
        license="CC BY 4.0",
        size="about 16,500 sentences, 30 MB",
        url="https://github.com/pswietojanski/slurp",
        note="sentences of 60 intents, with entities as rationales",
    )
    own_valid: ClassVar[bool] = True
    _sentences: list[SlurpSentence]

    def prompt(self, question: str) -> str:
        return (
            'Say in one sentence which words of the request show what the person wants. Then end with the words "So '
            f'the answer is" and one of: {", ".join(self.exercises[0].choices)}.\n\nQ: {question}\nA:'
        )

    def _read(self, part: str) -> list[tuple[str, str, str, tuple[str, ...]]]:
        folder = annotations_folder(self.root)
        scenario_of = intents(folder)
        choices = tuple(sorted(scenario_of))
        self.superclasses = tuple(scenario_of[name] for name in choices)
        self._sentences = [sentence for sentence in read_sentences(folder / ANNOTATION_FILES[part]) if sentence.text]
        return [(sentence.id, sentence.text, sentence.intent, choices) for sentence in self._sentences]

    def _teachers(self, part: str) -> list[str]:
        return [ANNOTATORS, *super()._teachers(part)]

    def _completions(self, teacher: str, part: str, count: int) -> list[str]:
        return (
            list(map(_marked, self._sentences)) if teacher == ANNOTATORS else super()._completions(teacher, part, count)
        )

    @classmethod
    def parse(cls, completion: str) -> tuple[str, str | None]:
        text, answer = first_answer(completion, "Q:", "So the answer is")
        return text, label_of(answer)


def _marked(sentence: SlurpSentence) -> str:
    said = [f"{entity.value} is the {entity.type.replace('_', ' ')}" for entity in sentence.entities]
    return f"{', '.join(said)}. So the answer is {sentence.intent}." if said else ""
