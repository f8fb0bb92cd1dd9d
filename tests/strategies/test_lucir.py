import math

import pytest
import torch
from avalanche.core import SupervisedPlugin

from mmcl.errors import ConfigError
from mmcl.strategies import LUCIR, lucir
from mmcl.strategies.teacher import teacher_of


def cosine(one, other):
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(sum(a * a for a in one)) / math.sqrt(sum(b * b for b in other))


def slow(step, old, new, settings):
    """The three terms, as loops over samples and classes."""
    weight, scale, embeddings, targets, labels, rehearsed = step
    entropies, kept, ranked = [], [], []
    for embedding, target, label, is_rehearsal in zip(embeddings, targets, labels, rehearsed, strict=True):
        cosines = {c: cosine(weight[c], embedding) for c in [*old, *new]}
        entropies.append(math.log(sum(math.exp(scale * (each - cosines[label])) for each in cosines.values())))
        kept.append(1 - cosine(embedding, target))
        if is_rehearsal:
            hardest = sorted((cosines[c] for c in new), reverse=True)[: settings["negatives"]]
            ranked.append(sum(max(settings["margin"] - cosines[label] + each, 0) for each in hardest))
    loss = sum(entropies) / len(entropies)
    loss += settings["forget_weight"] * math.sqrt(len(old) / len(new)) * sum(kept) / len(kept)
    return loss + settings["margin_weight"] * (sum(ranked) / len(ranked) if ranked else 0)


class Steps(SupervisedPlugin):
    """Keeps what the loss of each step is computed from."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def after_backward(self, strategy, **kwargs):
        if (teacher := teacher_of(strategy)) is None:
            return
        plugin = next(each for each in strategy.plugins if isinstance(each, LUCIR))
        tensors = (strategy.model.head.weight, plugin.scale, strategy.output.embedding, teacher.embed(strategy.mbatch))
        found = [each.tolist() for each in (*tensors, strategy.mb_y, strategy.mbatch["is_rehearsal"])]
        self.steps.append((strategy.loss.item(), found))


@pytest.mark.parametrize("negatives", [1, 2, 5])
def test_the_loss_equals_a_slow_loop(negatives, make, train, benchmark):
    settings = {"forget_weight": 2.0, "margin_weight": 0.7, "margin": 0.6, "negatives": negatives}
    steps = Steps()
    strategy = make(lucir, memory_size=30, batch_size=8, epochs=1, plugins=[steps], **settings)
    train(strategy, benchmark, 1)
    for experience in benchmark.train_stream[1:3]:
        steps.steps.clear()
        strategy.train(experience, eval_streams=[])
        assert steps.steps
        for loss, step in steps.steps:
            expected = slow(step, sorted(experience.previous_classes), sorted(experience.group), settings)
            assert loss == pytest.approx(expected, rel=1e-4)


def test_the_model_predicts_the_class_of_the_largest_cosine(make, train, benchmark, digits):
    strategy = make(lucir, memory_size=30)
    train(strategy, benchmark, 3)
    batch, head = digits[1].batch(torch.arange(60)), strategy.model.head
    torch.testing.assert_close(head.weight[head.seen].norm(dim=1), torch.ones(6))
    assert not head.bias.any()
    output = strategy.model.eval()(batch)
    for embedding, logits in zip(output.embedding.tolist(), output.logits, strict=True):
        cosines = {c: cosine(head.weight[c].tolist(), embedding) for c in head.seen.nonzero()[:, 0].tolist()}
        assert max(cosines, key=cosines.get) == int(logits.argmax())


def test_the_scale_is_trained_and_saved(make, train, benchmark):
    strategy = make(lucir, memory_size=30, scale=4.0)
    train(strategy, benchmark, 2)
    scale = next(each for each in strategy.plugins if isinstance(each, LUCIR)).scale
    assert scale.item() != 4.0
    other = make(lucir, memory_size=30, scale=9.0)
    other.load_state_dict(strategy.state_dict())
    assert torch.equal(next(each for each in other.plugins if isinstance(each, LUCIR)).scale, scale)


def test_faulty_settings_raise(make):
    with pytest.raises(ConfigError, match="negatives 0"):
        make(lucir, negatives=0)
