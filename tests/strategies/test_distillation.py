import math

import pytest
import torch
from avalanche.core import SupervisedPlugin

from mmcl.errors import ConfigError
from mmcl.objectives import logit_distillation
from mmcl.strategies import coconut, lwf, naive, replay
from mmcl.strategies.distillation import AudioDistillation, TokenDistillation
from mmcl.strategies.teacher import teacher_of


def test_lwf_with_zero_weight_equals_naive_bit_for_bit(make, train, benchmark):
    one, other = train(make(naive), benchmark), train(make(lwf, weight=0.0), benchmark)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_teacher_is_the_model_before_the_experience_and_does_not_change(make, benchmark):
    strategy = make(lwf)
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    teacher = teacher_of(strategy)
    before = {name: value.clone() for name, value in strategy.model.state_dict().items()}
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())

    watched = []

    class Watcher(SupervisedPlugin):
        def after_backward(self, strategy, **kwargs):
            watched.append((teacher.training, any(p.grad is not None for p in teacher.parameters())))

    strategy.plugins.append(Watcher())
    strategy.train(benchmark.train_stream[1], eval_streams=[])
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert set(watched) == {(False, False)}


def test_logits_are_distilled_over_the_classes_the_teacher_knows(make, benchmark):
    strategy, terms = make(lwf, temperature=3.0), []
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    old = sorted(benchmark.train_stream[0].group)
    teacher = teacher_of(strategy)

    class Watcher(SupervisedPlugin):
        def after_backward(self, strategy, **kwargs):
            target = teacher(strategy.mbatch).logits[:, old]
            expected = logit_distillation(strategy.mb_output[:, old], target, 3.0).item()
            seen = strategy.losses["distillation"] - sum(terms)
            terms.append(seen)
            assert seen == pytest.approx(expected, abs=1e-5)

        def before_training_epoch(self, strategy, **kwargs):
            terms.clear()

    strategy.plugins.append(Watcher())
    strategy.train(benchmark.train_stream[1], eval_streams=[])
    assert len(terms) > 1


def test_settings_out_of_range_raise(make):
    with pytest.raises(ConfigError, match="weight.*-1.0"):
        make(lwf, weight=-1.0)
    with pytest.raises(ConfigError, match="temperature.*0.0"):
        make(lwf, temperature=0.0)


def after_the_first(make_seq2seq, train, benchmark, *plugins, **settings):
    """A replay strategy after training on the first experience, with two samples per step."""
    settings = {"memory_size": 30, "batch_size": 2, "epochs": 1, **settings}
    strategy = make_seq2seq(replay, plugins=plugins, **settings)
    train(strategy, benchmark, 1)
    return strategy


def rehearsed(batch):
    return batch["is_rehearsal"].nonzero().flatten().tolist()


def next_token(model, batch, tokens):
    """Log-probabilities of the next token, ``(vocabulary,)``."""
    return torch.log_softmax(model.teacher_forced(model.encode(batch), torch.tensor([[*tokens, 0]]))[0, -1], dim=0)


def test_audio_and_token_distillation_equal_a_slow_loop(make_seq2seq, train, sequence_benchmark, each_step, alone):
    plugins = AudioDistillation(0.5), TokenDistillation(0.25)
    strategy = after_the_first(make_seq2seq, train, sequence_benchmark, *plugins)
    steps = []

    def check(strategy, terms):
        model, teacher, batch = strategy.model, teacher_of(strategy), strategy.mbatch
        rows = rehearsed(batch)
        steps.append(len(rows))
        if not rows:
            assert terms.keys() == {"cross_entropy", "loss"}
            return
        squares, divergences = [], []
        for row in rows:
            sample = alone(batch, row)
            student, taught = model.encode(sample).sequence[0], teacher.encode(sample).sequence[0]
            squares += [
                (s - t) ** 2 for s, t in zip(student.flatten().tolist(), taught.flatten().tolist(), strict=True)
            ]
            (frame,) = model.frames(sample)
            tokens = model.tokenizer.encode(frame)
            for place in range(len(tokens)):
                ours, theirs = (next_token(one, sample, tokens[:place]).tolist() for one in (model, teacher))
                divergences.append(sum(math.exp(t) * (t - s) for s, t in zip(ours, theirs, strict=True)))
        audio, token = sum(squares) / len(squares), sum(divergences) / len(divergences)
        assert terms["audio_kd"] == pytest.approx(audio, rel=1e-3, abs=1e-6)
        assert terms["token_kd"] == pytest.approx(token, rel=1e-3, abs=1e-6)
        expected = terms["cross_entropy"] + 0.5 * terms["audio_kd"] + 0.25 * terms["token_kd"]
        assert strategy.loss.item() == pytest.approx(expected, abs=1e-5)

    each_step(strategy, sequence_benchmark.train_stream[1], check)
    assert set(steps) == {0, 1, 2}


def test_the_cross_entropy_is_the_mean_over_tokens(make_seq2seq, train, sequence_benchmark, each_step, alone):
    def check(strategy, terms):
        model, batch, values = strategy.model, strategy.mbatch, []
        for row in range(2):
            sample = alone(batch, row)
            (frame,) = model.frames(sample)
            tokens = model.tokenizer.encode(frame)
            values += [-next_token(model, sample, tokens[:place])[token].item() for place, token in enumerate(tokens)]
        assert terms["cross_entropy"] == pytest.approx(sum(values) / len(values), abs=1e-4)

    strategy = make_seq2seq(naive, batch_size=2, epochs=1)
    each_step(strategy, sequence_benchmark.train_stream[0], check)


@pytest.mark.parametrize("kind", [AudioDistillation, TokenDistillation])
def test_distillation_changes_training_unless_its_weight_is_zero(kind, make_seq2seq, train, sequence_benchmark):
    def weights(*plugins):
        return train(make_seq2seq(replay, memory_size=20, dropout=0.1, plugins=plugins), sequence_benchmark, 3)

    plain, zero, one = weights(), weights(kind(0.0)), weights(kind(1.0))
    assert plain.keys() == zero.keys() and all(torch.equal(plain[name], zero[name]) for name in plain)
    assert any(not torch.equal(plain[name], one[name]) for name in plain)


@pytest.mark.parametrize("kind", [AudioDistillation, TokenDistillation])
def test_distillation_without_rehearsal_equals_naive(kind, make_seq2seq, train, sequence_benchmark):
    one = train(make_seq2seq(naive), sequence_benchmark, 2)
    other = train(make_seq2seq(naive, plugins=[kind()]), sequence_benchmark, 2)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("kind", "name"), [(AudioDistillation, "audio"), (TokenDistillation, "token")])
def test_a_model_without_a_decoder_raises(kind, name, make, benchmark):
    with pytest.raises(ConfigError, match=f"{name}.*SLUClassifier.*SLUSeq2Seq"):
        make(coconut, plugins=[kind()]).train(benchmark.train_stream[0])


def test_negative_weights_raise():
    with pytest.raises(ConfigError, match="audio.*-1.0"):
        AudioDistillation(-1.0)
    with pytest.raises(ConfigError, match="token.*-0.5"):
        TokenDistillation(-0.5)
