"""Training loop of rationale distillation, for all five methods."""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from typing import Any, get_args

import torch

from mmcl import distributed
from mmcl.data.fingerprint import digest_of
from mmcl.data.texts.exercises import Exercises
from mmcl.errors import CheckpointError, ConfigError, DataError
from mmcl.files.loading import check_same, entry, load_state, plain_state, snapshot
from mmcl.models.text_to_text import TextToText
from mmcl.rationales.answering import Answering, accuracy
from mmcl.rationales.discriminator import Discriminator, pretrain_discriminator
from mmcl.rationales.lessons import EXPLAIN, Lesson, batches_by_length, lessons_of
from mmcl.rationales.recipe import Recipe
from mmcl.rationales.terms import Losses, Method, batch_losses
from mmcl.rationales.voting import vote_all
from mmcl.seeding import random_state, set_random_state
from mmcl.text.suggest import nearest
from mmcl.training.step import TrainingStep

_WHAT = "the state of the distillation"
_SAMPLING_BATCH = 256  # generating short texts takes as long for a large batch as for a small one


class Distillation:
    """Train a student on lessons.

    Iterating trains one epoch at a time and yields the mean of each loss term.

    In ``qcrd``, an epoch is taken to be an iteration of the paper. After each epoch the student's state is stored. Bad
    rationales are sampled from the state of ``delay`` epochs ago, or from the earliest, and the weight of L_D decays.
    In the first epoch, only minority answers of large models are bad rationales.

    Args:
        student: model to train in place, on its device.
        lessons: training samples; see :func:`~mmcl.rationales.lessons.lessons_of`.
        method: see :func:`~mmcl.rationales.terms.batch_losses`.
        recipe: settings of the training; None for the defaults.
        discriminator: pre-trained discriminator, for ``qcrd`` only.
        seed: seed of the order of lessons and of the choice of lessons to sample for.

    Attributes:
        epoch: number of finished epochs.
        seconds: seconds spent in ``"training"`` and in ``"sampling"``.

    Raises:
        ConfigError: the method is unknown, ``qcrd`` has no discriminator or another method has one, or several
            processes run the training.
        DataError: there are no lessons, or none with a rationale although the method needs them.
        TrainingError: a loss is not finite.
    """

    def __init__(
        self,
        student: TextToText,
        lessons: list[Lesson],
        method: Method = "qcrd",
        recipe: Recipe | None = None,
        *,
        discriminator: Discriminator | None = None,
        seed: int = 0,
    ) -> None:
        if method not in get_args(Method):
            known = get_args(Method)
            raise ConfigError(f"method is '{method}'{nearest(method, known)}, expected one of {', '.join(known)}")
        if not lessons or (method != "finetune" and not any(each.rationale or each.positives for each in lessons)):
            what = "rationales" if lessons else "lessons"
            raise DataError(f"there are 0 {what}, expected at least 1 for method '{method}'")
        if (method == "qcrd") != (discriminator is not None):
            found = "no discriminator" if discriminator is None else "a discriminator"
            raise ConfigError(f"method '{method}' got {found}, expected one for qcrd and none for other methods")
        distributed.check_single_process("rationale distillation")
        self.student, self.lessons, self.method = student, lessons, method
        self.recipe = recipe or Recipe()
        self.discriminator = discriminator
        self._digest = digest_of([repr(each).encode() for each in lessons])
        self.epoch = 0
        self.seconds = {"training": 0.0, "sampling": 0.0}
        self._draw = random.Random(seed)
        self._sampled = [""] * len(lessons)
        self._snapshots: deque[dict[str, torch.Tensor]] = deque(maxlen=self.recipe.delay)
        parameters = list(student.parameters()) + (list(discriminator.parameters()) if discriminator else [])
        self.optimizer = torch.optim.AdamW(parameters, lr=self.recipe.learning_rate, weight_decay=0.0, fused=True)
        batches = math.ceil(len(lessons) / self.recipe.batch_size)
        self._batches = min(batches, self.recipe.epoch_batches or batches)
        steps = self.recipe.epochs * math.ceil(self._batches / self.recipe.accumulate)
        self._step = TrainingStep(
            self.optimizer,
            scheduler=torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: max(0.0, 1 - step / steps)),
            clip_norm=self.recipe.clip_norm,
            accumulate=self.recipe.accumulate,
            precision=self.recipe.precision,
            device=next(student.parameters()).device,
        )

    def __iter__(self) -> Iterator[dict[str, float]]:
        while self.epoch < self.recipe.epochs:
            yield self._train_epoch()

    def _train_epoch(self) -> dict[str, float]:
        started = time.monotonic()
        batches = batches_by_length(self.lessons, self.recipe.batch_size, self._draw)[: self._batches]
        if self._snapshots:
            self._sample(self._snapshots[0], [row for batch in batches for row in batch])
        sampled = time.monotonic()
        self.student.train()
        if self.discriminator is not None:
            learns = self.epoch % self.recipe.train_discriminator_every == 0
            self.discriminator.train(learns).requires_grad_(learns)
        self._step.reset()
        for number, rows in enumerate(batches, start=1):
            with self._step.located(partial("epoch {}, step {} of {}".format, self.epoch + 1, number, len(batches))):
                terms = self._terms(rows)
                loss = torch.stack([weight * value.float() for value, weight in terms.values()]).sum()
                for name, (value, _) in terms.items():
                    self._step.note(name, value)
                self._step.backward(loss, terms=terms)
            self._step.update(last=number == len(batches))
        if self.method == "qcrd":
            self._snapshots.append({name: each.detach().clone() for name, each in self.student.state_dict().items()})
        self.epoch += 1
        self.seconds["sampling"] += sampled - started
        self.seconds["training"] += time.monotonic() - sampled
        return self._step.means()

    def _terms(self, rows: list[int]) -> Losses:
        with self._step.autocast():
            return batch_losses(
                self.method,
                self.student,
                [self.lessons[row] for row in rows],
                [self._sampled[row] for row in rows],
                self.recipe.weights,
                discriminator=self.discriminator,
                epoch=self.epoch,
            )

    def _sample(self, state: Mapping[str, torch.Tensor], rows: list[int]) -> None:
        """Sample bad rationales for some of these lessons from an earlier state of the student."""
        rows = self._draw.sample(rows, max(1, round(self.recipe.refresh * len(rows))))
        current = {name: each.detach().clone() for name, each in self.student.state_dict().items()}
        load_state(self.student, state, "the earlier student")
        texts = self.student.write(
            [EXPLAIN + self.lessons[row].question for row in rows],
            temperature=self.recipe.temperature,
            longest=self.recipe.sample_length,
            batch_size=max(_SAMPLING_BATCH, self.recipe.batch_size),
            device=next(self.student.parameters()).device,
        )
        self.student.load_state_dict(current)
        for row, text in zip(rows, texts, strict=True):
            self._sampled[row] = "" if text in self.lessons[row].positives else text

    def state_dict(self) -> dict[str, Any]:
        """Return the state needed to resume training after this epoch, as tensors, numbers and strings."""
        version, words, gauss = self._draw.getstate()
        return {
            "epoch": self.epoch,
            "samples": self._digest,
            "settings": self._settings(),
            "seconds": dict(self.seconds),
            "student": snapshot(self.student.state_dict()),
            "discriminator": None if self.discriminator is None else snapshot(self.discriminator.state_dict()),
            **self._step.state_dict(),
            "snapshots": list(self._snapshots),
            "sampled": list(self._sampled),
            "order": [version, list(words), gauss],
            "random": random_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state returned by :meth:`state_dict`.

        Raises:
            CheckpointError: the student, discriminator, optimizer, method, recipe or lessons of the state are others,
                or its epoch is beyond the last.
        """
        epoch, sampled, random = (entry(state, name, _WHAT) for name in ("epoch", "sampled", "random"))
        if epoch > self.recipe.epochs:
            raise CheckpointError(f"{_WHAT} has epoch {epoch}, expected at most {self.recipe.epochs}: set more epochs")
        if state.get("samples") not in (None, self._digest):
            raise CheckpointError(
                f"the {len(self.lessons)} lessons are not those of {_WHAT}: restore the data, or train from the start"
            )
        check_same(state.get("settings"), self._settings(), _WHAT)
        if len(sampled) != len(self.lessons):
            raise CheckpointError(f"{_WHAT} has {len(sampled)} lessons, expected {len(self.lessons)}")
        discriminator = entry(state, "discriminator", _WHAT)
        if (discriminator is None) != (self.discriminator is None):
            found, expected = ("no", "one") if discriminator is None else ("a", "none")
            raise CheckpointError(f"{_WHAT} has {found} discriminator, expected {expected}: use the same method")
        load_state(self.student, entry(state, "student", _WHAT), f"{_WHAT}: the student")
        if self.discriminator is not None:
            load_state(self.discriminator, discriminator, f"{_WHAT}: the discriminator")
        if "step" in state:  # format of version 0.1
            state = {**state, "scheduler": {**plain_state(self._step.scheduler), "last_epoch": state["step"]}}
        self._step.load_state_dict(state, _WHAT)
        self.epoch, self.seconds = epoch, dict(entry(state, "seconds", _WHAT))
        self._snapshots.clear()
        self._snapshots.extend(entry(state, "snapshots", _WHAT))
        self._sampled = list(sampled)
        version, words, gauss = entry(state, "order", _WHAT)
        self._draw.setstate((version, tuple(words), gauss))
        set_random_state(random)

    def _settings(self) -> dict[str, Any]:
        """Settings that must be equal in a restored state."""
        return {"method": self.method, "lessons": len(self.lessons), **asdict(self.recipe)}


def distill_rationales(
    student: TextToText,
    data: Exercises,
    *,
    method: Method = "qcrd",
    valid: Exercises | None = None,
    recipe: Recipe | None = None,
    discriminator: Discriminator | None = None,
    use_label: bool = False,
    answering: Answering = "write",
    seed: int = 0,
    on_epoch: Callable[[Distillation], None] | None = None,
) -> TextToText:
    """Train a student on exercises with rationales of large models, and return it with the weights of the best epoch.

    Args:
        student: model to train in place.
        data: training exercises with rationales.
        method: ``finetune``, ``single_task``, ``dss``, ``mi`` or ``qcrd``; see
            :func:`~mmcl.rationales.terms.batch_losses`.
        valid: exercises whose accuracy selects the best epoch; None takes the last epoch.
        recipe: settings of the training; None for the defaults.
        discriminator: pre-trained discriminator for ``qcrd``; None pre-trains one with the student's encoder.
        use_label: see :func:`~mmcl.rationales.voting.vote`.
        answering: how ``valid`` is answered; see :func:`~mmcl.rationales.answering.answers`.
        seed: seed of the order of lessons and of the pre-training; weights and sampling follow torch's generator.
        on_epoch: called after each epoch with the :class:`Distillation`.

    Raises:
        ConfigError, DataError, TrainingError: see :class:`Distillation`.
    """
    if method == "qcrd" and discriminator is None:
        discriminator = Discriminator(student)
        voted, _ = vote_all(data, use_label=use_label)
        pretrain_discriminator(discriminator, [each.question for each in data.exercises], voted, seed=seed)
    lessons = lessons_of(data, use_label=use_label)
    trainer = Distillation(student, lessons, method, recipe, discriminator=discriminator, seed=seed)
    best, best_state = -1.0, None
    for _ in trainer:
        if valid is not None and (found := accuracy(student, valid, method, answering)) > best:
            best, best_state = found, deepcopy(student.state_dict())
        if on_epoch is not None:
            on_epoch(trainer)
    if best_state is not None:
        student.load_state_dict(best_state)
    return student.eval()
