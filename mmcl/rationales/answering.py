"""Answers of a student: what it writes, or which of the choices it finds likeliest, and how many are right."""

from __future__ import annotations

from typing import Literal

import torch

from mmcl.data.texts.exercises import Exercises
from mmcl.errors import ConfigError
from mmcl.models.text_to_text import TextToText
from mmcl.rationales.lessons import ANSWER, PREDICT
from mmcl.rationales.terms import Method

Answering = Literal["write", "choose"]
_TOGETHER = 64  # exercises


def accuracy(
    student: TextToText, exercises: Exercises, method: Method, answering: Answering = "write", *, longest: int = 64
) -> float:
    """Return the share of exercises that a student answers rightly, in words or, of equations, by what they come to."""
    given = answers(student, exercises, method, answering, longest=longest)
    right = exercises.match(given, [each.label for each in exercises.exercises])
    return sum(right) / len(right)


def answers(
    student: TextToText, exercises: Exercises, method: Method, answering: Answering = "write", *, longest: int = 64
) -> list[str]:
    """Return what a student answers.

    * ``write``: the likeliest tokens, as the papers measure; of ``single_task``, what follows its rationale.
    * ``choose``: the choice whose tokens have the smallest mean cross-entropy, for students that cannot yet spell.

    Args:
        student: where it is.
        exercises: to answer; with choices for ``choose``.
        method: that it was taught by.
        answering: how.
        longest: tokens of an answer at most; four times as many with a rationale before it.

    Raises:
        ConfigError: ``choose`` of exercises without choices, or by ``single_task``, whose answers follow a rationale.
    """
    if answering == "choose":
        return _chosen(student, exercises, method)
    device = next(student.parameters()).device
    alone = method == "single_task"
    asked = [("" if alone else PREDICT) + each.question for each in exercises.exercises]
    written = student.write(asked, longest=4 * longest if alone else longest, device=device)
    return [text.rpartition(ANSWER)[2].strip() if alone else text for text in written]


@torch.no_grad()
def _chosen(student: TextToText, exercises: Exercises, method: Method) -> list[str]:
    asked = exercises.exercises
    if method == "single_task" or not all(each.choices for each in asked):
        raise ConfigError(
            f"answering is 'choose', of {type(exercises).__name__} by {method}: expected exercises with choices and a "
            "method that answers before it explains; take 'write'"
        )
    device = next(student.parameters()).device
    was_training = student.training
    student.eval()
    given = [""] * len(asked)
    order = sorted(range(len(asked)), key=lambda row: len(asked[row].question))
    for start in range(0, len(order), _TOGETHER):
        together = [asked[row] for row in order[start : start + _TOGETHER]]
        rows = [row for row, each in enumerate(together) for _ in each.choices]
        choices = [choice for each in together for choice in each.choices]
        losses = student(student.batch([PREDICT + each.question for each in together], choices, rows).to(device)).losses
        per_exercise = losses.split([len(each.choices) for each in together])
        for row, each, found in zip(order[start : start + _TOGETHER], together, per_exercise, strict=True):
            given[row] = each.choices[int(found.argmin())]
    student.train(was_training)
    return given
