"""SLURP's sentences without recordings: requests in words, each with the intent that it has, and why."""

from __future__ import annotations

from typing import ClassVar

from mmcl.data.base import Source
from mmcl.data.speech.slurp import FILES, Sentence, Slurp, annotations_folder, intents, read_sentences
from mmcl.data.texts.exercises import Exercises, first_answer, label_of

ANNOTATORS = "annotation"  #: the teacher whose rationales are the entities that people marked


class SlurpText(Exercises):
    """Read SLURP's sentences: a request to a home assistant, answered by scenario and action, such as ``alarm set``.

    One exercise for each sentence, whatever number of times it was recorded; a sentence without a word is left out. The
    choices are the intents of all annotation files that are there. Beside the teachers that have a folder there is
    ``annotation``: of a sentence with entities it says which words are what, as people marked it ("five am is the time,
    this week is the date"), of others nothing. Arguments and errors are those of
    :class:`~mmcl.data.texts.exercises.Exercises`; completions of language models are what ``mmcl rationales`` writes.

    Attributes:
        superclasses: of each choice, its scenario.
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
    superclasses: tuple[str, ...]
    _sentences: list[Sentence]

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
        self._sentences = [sentence for sentence in read_sentences(folder / FILES[part]) if sentence.text]
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


def _marked(sentence: Sentence) -> str:
    said = [f"{entity.value} is the {entity.type.replace('_', ' ')}" for entity in sentence.entities]
    return f"{', '.join(said)}. So the answer is {sentence.intent}." if said else ""
