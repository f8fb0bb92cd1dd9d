import math

import pytest
from avalanche.core import SupervisedPlugin

from mmcl.errors import ConfigError
from mmcl.strategies import BalancedDistillation, naive, wa
from mmcl.strategies.teacher import teacher_of


def softmax(scores):
    powers = [math.exp(score) for score in scores]
    return [each / sum(powers) for each in powers]


def slow(student, teacher, labels, old, share, temperature):
    """The weighted sum of cross-entropy and distillation, as loops over samples and classes."""
    cross_entropies, divergences = [], []
    for scores, target, label in zip(student, teacher, labels, strict=True):
        seen = [score for score in scores if score > -math.inf]
        cross_entropies.append(math.log(sum(math.exp(score - scores[label]) for score in seen)))
        own = softmax([scores[c] / temperature for c in old])
        soft = softmax([target[c] / temperature for c in old])
        divergences.append(sum(t * math.log(t / s) for t, s in zip(soft, own, strict=True)))
    count = len(labels)
    return (1 - share) * sum(cross_entropies) / count + share * sum(divergences) / count


class Losses(SupervisedPlugin):
    """Keeps the loss, both logits and the labels of each step."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def after_backward(self, strategy, **kwargs):
        if (teacher := teacher_of(strategy)) is not None:
            target = teacher(strategy.mbatch).logits
            found = (strategy.mb_output.tolist(), target.tolist(), strategy.mb_y.tolist())
            self.steps.append((strategy.loss.item(), *found))


def test_the_loss_equals_a_slow_loop(make, train, benchmark):
    steps = Losses()
    strategy = make(wa, memory_size=20, temperature=3.0, epochs=1, plugins=[steps])
    train(strategy, benchmark, 1)
    for experience in benchmark.train_stream[1:3]:
        steps.steps.clear()
        strategy.train(experience, eval_streams=[])
        old = sorted(experience.previous_classes)
        assert steps.steps
        for loss, student, teacher, labels in steps.steps:
            expected = slow(student, teacher, labels, old, len(old) / (len(old) + 2), 3.0)
            assert loss == pytest.approx(expected, rel=1e-4)


def test_faulty_settings_raise(make, make_seq2seq, sequence_benchmark):
    with pytest.raises(ConfigError, match=r"temperature is 0\.0"):
        make(wa, temperature=0.0)
    with pytest.raises(ConfigError, match="SLUSeq2Seq"):
        strategy = make_seq2seq(naive, plugins=[BalancedDistillation()])
        strategy.train(sequence_benchmark.train_stream[0], eval_streams=[])
