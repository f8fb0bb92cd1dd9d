"""Discriminator of QCRD, which scores the quality of a rationale for a question from 0 to 1, and its pre-training."""

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
    """Score rationales by an encoder, max pooling over tokens, and a two-layer network.

    ``D(x, r) = sigmoid(w2 relu(W1 max over tokens of encoder("x </s> r")))``, QCRD, Wang et al., arXiv 2405.13014,
    section 3.2. The paper does not specify the width and activation of the layers, nor the separator of question and
    rationale; these are our choices.

    Args:
        student: model whose encoder and tokenizer are copied; the copy of the encoder is trained.

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
            raise ShapeError(
                f"there are {len(questions)} questions for {len(rationales)} rationales, expected equal numbers"
            )
        pairs = [f"{question} {_END} {rationale}" for question, rationale in zip(questions, rationales, strict=True)]
        batch = self.reader.batch(pairs).to(next(self.parameters()).device)
        states = self.reader.embed(batch).float()
        pooled = states.masked_fill(~batch["source_mask"][:, :, None], -torch.inf).amax(1)
        scores: Tensor = self.layers(pooled).squeeze(1).sigmoid()
        return scores

    @torch.no_grad()
    def score(self, questions: Sequence[str], rationales: Sequence[str], batch_size: int = 128) -> Tensor:
        """Return scores ``(rationales,)`` on the CPU, computed in evaluation mode in batches of similar length."""
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
    """Adapter that lets TextToText hold an encoder alone."""

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
    """Train a discriminator in place to distinguish good from bad rationales of large models; return the losses.

    A question without a bad rationale gets a corrupted good one; see :func:`corrupted`. QCRD pre-trains for at most 500
    steps and corrupts rationales to have as many bad as good ones. It gives no learning rate and no share.

    Args:
        discriminator: trained in place, on its device.
        questions: question of each entry of ``voted``.
        voted: good and bad rationales.
        steps: steps of AdamW.
        batch_size: questions per step.
        learning_rate: learning rate of AdamW.
        share: share of the words that are masked or replaced.
        seed: seed of the random draws.

    Raises:
        ConfigError: several processes run the training.
        DataError: no question has a good rationale.
        TrainingError: a loss is not finite; names the step.
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
    losses: list[Tensor] = []
    for step in range(1, steps + 1):
        rows = draw.sample(usable, min(batch_size, len(usable)))
        good = [draw.choice(voted[row].positives) for row in rows]
        bad = [
            draw.choice(voted[row].negatives) if voted[row].negatives else corrupted(text, words, share, draw)
            for row, text in zip(rows, good, strict=True)
        ]
        batch = [questions[row] for row in rows]
        with update.located(partial("step {} of {}".format, step, steps)):
            scores = discriminator([*batch, *batch], [*good, *bad])
            loss = discriminator_loss(scores[: len(rows), None], scores[len(rows) :, None])
            update.backward(loss, "the loss of the discriminator")
            losses.append(loss.detach())
        update.update()
    update.means()  # checks the last losses
    discriminator.eval()
    return torch.stack(losses).tolist() if losses else []


def corrupted(text: str, words: Sequence[str], share: float, draw: random.Random, mask: str = "<unk>") -> str:
    """Return a rationale with a share of its words, at least one, masked or replaced at random.

    Args:
        text: rationale to corrupt.
        words: candidates for replacements.
        share: share of the words that are masked or replaced, each with equal probability.
        draw: random generator.
        mask: text of a masked word.

    >>> corrupted("one and two is three", ["four"], 0.4, random.Random(0))
    'one and two <unk> four'
    """
    corrupted_words = text.split()
    count = min(len(corrupted_words), max(1, round(share * len(corrupted_words))))
    for index in draw.sample(range(len(corrupted_words)), count):
        corrupted_words[index] = mask if draw.random() < 0.5 else draw.choice(words)
    return " ".join(corrupted_words)
