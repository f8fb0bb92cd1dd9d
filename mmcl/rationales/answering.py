"""Answers of a student, generated or chosen among candidates, and their accuracy."""

from __future__ import annotations

from typing import Literal

import torch

from mmcl.data.texts.exercises import Exercises
from mmcl.errors import ConfigError
from mmcl.models.text_to_text import TextToText
from mmcl.rationales.lessons import ANSWER, PREDICT
from mmcl.rationales.terms import Method

Answering = Literal["write", "choose"]
_EXERCISES_PER_BATCH = 64


def accuracy(
    student: TextToText, exercises: Exercises, method: Method, answering: Answering = "write", *, longest: int = 64
) -> float:
    """Return the accuracy of a student; equations are compared by value. Arguments are those of :func:`answers`."""
    predicted = answers(student, exercises, method, answering, longest=longest)
    right = exercises.match(predicted, [each.label for each in exercises.exercises])
    return sum(right) / len(right)


def answers(
    student: TextToText, exercises: Exercises, method: Method, answering: Answering = "write", *, longest: int = 64
) -> list[str]:
    """Return the answer of a student to each exercise.

    * ``write``: decode greedily, as the papers do. For ``single_task``, the answer is the text after the rationale.
    * ``choose``: take the choice with the smallest mean cross-entropy of its tokens, for students that cannot yet
      spell.

    Args:
        student: model to evaluate, on its device.
        exercises: exercises to answer; ``choose`` needs choices.
        method: method that the student was trained by.
        answering: ``"write"`` or ``"choose"``.
        longest: largest number of tokens of an answer; four times as many for ``single_task``, with its rationale.

    Raises:
        ConfigError: ``choose`` for exercises without choices, or for ``single_task``.
    """
    if answering == "choose":
        return _chosen(student, exercises, method)
    device = next(student.parameters()).device
    questions = [each.question for each in exercises.exercises]
    if method == "single_task":
        texts = student.write(questions, longest=4 * longest, device=device)
        return [text.rpartition(ANSWER)[2].strip() for text in texts]
    return student.write([PREDICT + question for question in questions], longest=longest, device=device)


@torch.no_grad()
def _chosen(student: TextToText, exercises: Exercises, method: Method) -> list[str]:
    if method == "single_task" or not all(each.choices for each in exercises.exercises):
        raise ConfigError(
            f"answering is 'choose' for {type(exercises).__name__} and method {method}, expected exercises with "
            "choices and a method other than single_task: set answering to 'write'"
        )
    device = next(student.parameters()).device
    was_training = student.training
    student.eval()
    chosen = [""] * len(exercises.exercises)
    order = sorted(range(len(chosen)), key=lambda row: len(exercises.exercises[row].question))
    for start in range(0, len(order), _EXERCISES_PER_BATCH):
        rows = order[start : start + _EXERCISES_PER_BATCH]
        batch = [exercises.exercises[row] for row in rows]
        choices = [choice for each in batch for choice in each.choices]
        question_of = [index for index, each in enumerate(batch) for _ in each.choices]
        inputs = student.batch([PREDICT + each.question for each in batch], choices, question_of)
        per_exercise = student(inputs.to(device)).losses.split([len(each.choices) for each in batch])
        for row, each, losses in zip(rows, batch, per_exercise, strict=True):
            chosen[row] = each.choices[int(losses.argmin())]
    student.train(was_training)
    return chosen
