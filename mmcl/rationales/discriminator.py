"""Discriminator: how good a rationale is for its question, as a number from 0 to 1."""

from __future__ import annotations

import random
from collections.abc import Sequence
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from mmcl import distributed
from mmcl.config.numbers import Count, Factor, Positive, Size
from mmcl.errors import DataError, ShapeError
from mmcl.models.text_to_text import TextToText
from mmcl.objectives.qcrd import discriminator_loss
from mmcl.rationales.voting import Voted
from mmcl.training.step import TrainingStep

_END = "</s>"


class Discriminator(nn.Module):
    """Score a rationale by an encoder, the maximum over its tokens, and two layers.

    ``D(x, r) = sigmoid(w2 relu(W1 max over tokens of encoder("x </s> r")))``; QCRD, Wang et al., arXiv 2405.13014,
    section 3.2. Readings, where the paper does not say: width and non-linearity of the layers, and how question and
    rationale are joined.

    Args:
        student: whose encoder and tokenizer are copied; the encoder is trained further here.

    >>> student = TextToText.from_scratch(["two and two is four"] * 3, vocabulary=60, dim=16, layers=1, heads=2)
    >>> Discriminator(student)(["two and two", "two"], ["is four", "is two"]).shape
    torch.Size([2])
    """

    def __init__(self, student: TextToText) -> None:
        super().__init__()
        self.reader = TextToText(_Encoder(deepcopy(student.model.encoder)), student.tokenizer, longest=student.longest)
        dim = int(student.model.config.d_model)
        self.layers = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 1))

    def forward(self, questions: Sequence[str], rationales: Sequence[str]) -> Tensor:
        """Return scores within [0, 1], ``(rationales,)``."""
        if len(questions) != len(rationales):
            raise ShapeError(f"there are {len(questions)} questions for {len(rationales)} rationales, expected as many")
        pairs = [f"{question} {_END} {rationale}" for question, rationale in zip(questions, rationales, strict=True)]
        batch = self.reader.batch(pairs).to(next(self.parameters()).device)
        states = self.reader.embed(batch).float()
        pooled = states.masked_fill(~batch["source_mask"][:, :, None], -torch.inf).amax(1)
        scores: Tensor = self.layers(pooled).squeeze(1).sigmoid()
        return scores

    @torch.no_grad()
    def score(self, questions: Sequence[str], rationales: Sequence[str], batch_size: int = 128) -> Tensor:
        """Return scores in evaluation mode, ``(rationales,)``, on the CPU; those of nearly one length together."""
        was_training = self.training
        self.eval()
        order = sorted(range(len(questions)), key=lambda row: len(questions[row]) + len(rationales[row]))
        scores = torch.zeros(len(questions))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            scores[rows] = self([questions[row] for row in rows], [rationales[row] for row in rows]).cpu()
        self.train(was_training)
        return scores


class _Encoder(nn.Module):
    """An encoder where a whole model is expected."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder


def pretrain_discriminator(
    discriminator: Discriminator,
    questions: Sequence[str],
    voted: Sequence[Voted],
    *,
    steps: Size = 500,
    batch_size: Count = 32,
    learning_rate: Positive = 5e-5,
    share: Factor = 0.3,
    seed: int = 0,
) -> list[float]:
    """Train a discriminator in place to tell good from bad rationales of large models; return the losses.

    A question without a bad rationale gets one from a good one by :func:`corrupted`. QCRD pre-trains for at most 500
    steps, with words masked or replaced to have as many bad as good rationales. It does not print rates and shares.

    Args:
        discriminator: trained in place, on its device.
        questions: one for each entry of ``voted``.
        voted: good and bad rationales.
        steps: steps of AdamW.
        batch_size: questions per step.
        learning_rate: learning rate of AdamW.
        share: share of the words that are masked or replaced.
        seed: seed of the random draws.

    Raises:
        ConfigError: several processes run it.
        DataError: no question has a good rationale.
        TrainingError: a loss that is not finite; says in which step.
    """
    usable = [row for row, each in enumerate(voted) if each.positives]
    if not usable:
        raise DataError("0 questions have a good rationale, expected some to pre-train the discriminator on")
    distributed.check_single_process("pre-training of a discriminator")
    draw = random.Random(seed)
    words = [word for row in usable for text in voted[row].positives for word in text.split()]
    optimizer = torch.optim.AdamW(discriminator.parameters(), lr=learning_rate, fused=True)
    update = TrainingStep(optimizer, advice="lower its learning rate")
    discriminator.train()
    losses = []
    for step in range(1, steps + 1):
        rows = draw.sample(usable, min(batch_size, len(usable)))
        good = [draw.choice(voted[row].positives) for row in rows]
        bad = [
            draw.choice(voted[row].negatives) if voted[row].negatives else corrupted(text, words, share, draw)
            for row, text in zip(rows, good, strict=True)
        ]
        asked = [questions[row] for row in rows]
        with update.located(partial("step {} of {}".format, step, steps)):
            scores = discriminator([*asked, *asked], [*good, *bad])
            loss = discriminator_loss(scores[: len(rows), None], scores[len(rows) :, None])
            losses.append(update.backward(loss, "the loss of the discriminator"))
        update.update()
    discriminator.eval()
    return losses


def corrupted(text: str, words: Sequence[str], share: float, draw: random.Random, mask: str = "<unk>") -> str:
    """Return a rationale of which a share of the words, one at least, is masked or replaced by others.

    >>> corrupted("one and two is three", ["four"], 0.4, random.Random(0))
    'one and two <unk> four'
    """
    own = text.split()
    for place in draw.sample(range(len(own)), min(len(own), max(1, round(share * len(own))))):
        own[place] = mask if draw.random() < 0.5 else draw.choice(words)
    return " ".join(own)
