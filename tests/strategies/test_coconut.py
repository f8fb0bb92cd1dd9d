import math

import pytest
import torch
from avalanche.core import SupervisedPlugin

from mmcl.batch import Batch
from mmcl.encoders import build_encoder
from mmcl.errors import ConfigError
from mmcl.models import SLUClassifier
from mmcl.strategies import coconut, replay
from mmcl.strategies.teacher import teacher_of


class Terms(SupervisedPlugin):
    """Keeps the losses of every epoch."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def after_training_epoch(self, strategy, **kwargs):
        self.epochs.append((strategy.experience.current_experience, dict(strategy.losses)))


def test_coconut_with_zero_weights_equals_replay_bit_for_bit(make, train, benchmark):
    one = train(make(replay, memory_size=20), benchmark)
    other = train(make(coconut, memory_size=20, mm_weight=0.0, nspt_weight=0.0), benchmark)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_without_a_memory_the_loss_has_no_nspt_term(make, train, benchmark):
    terms = Terms()
    train(make(coconut, memory_size=0, plugins=[terms]), benchmark, 2)
    assert all(losses.keys() == {"cross_entropy", "mm", "loss"} for _, losses in terms.epochs)


@pytest.mark.parametrize("denominator", ["literal", "proper"])
def test_the_loss_is_the_weighted_sum_of_its_terms_in_each_experience(denominator, make, train, benchmark):
    terms = Terms()
    train(make(coconut, memory_size=40, denominator=denominator, batch_size=200, plugins=[terms]), benchmark, 3)
    weights = {0: 0.0, 1: 2 / 4, 2: 4 / 6}  # past / (past + new classes)
    for experience, losses in terms.epochs:
        assert ("nspt_audio" in losses) == ("nspt_text" in losses) == (experience > 0)
        nspt = losses.get("nspt_audio", 0.0) + losses.get("nspt_text", 0.0)
        expected = losses["cross_entropy"] + 0.1 * losses["mm"] + weights[experience] * nspt
        assert losses["loss"] == pytest.approx(expected, abs=1e-5)


def test_audio_embeddings_are_nearest_to_the_text_of_their_class(make, train, benchmark, digits):
    strategy = make(coconut, memory_size=40, mm_weight=1.0, epochs=10)
    train(strategy, benchmark)
    model, (_, test) = strategy.model.eval(), digits
    with torch.no_grad():
        audio = model.project_audio(model.embed(test.batch(torch.arange(len(test)))))
        text = model.project_text(Batch(text=test.classes))
        nearest = torch.cosine_similarity(audio[:, None], text[None], dim=2).argmax(1)
    assert (nearest == torch.tensor(test.labels)).float().mean() > 0.5  # chance is 0.1


def unit(vectors):
    return [vector / vector.norm() for vector in vectors]


@pytest.mark.parametrize("denominator", ["literal", "proper"])
def test_the_terms_of_a_sequence_to_sequence_model_equal_a_slow_loop(
    denominator, make_seq2seq, train, sequence_benchmark, each_step, alone
):
    """Reference: audio is the mean of the encoded steps, and text is the embedding of the intent's token.

    The anchors of MM are the new samples. The anchors of NSPT are the rehearsed samples; its positives are the
    teacher's.
    """
    settings = {"memory_size": 60, "temperature": 0.2, "mm_weight": 0.3, "nspt_weight": 0.7, "denominator": denominator}
    strategy = make_seq2seq(coconut, batch_size=4, epochs=1, **settings)
    train(strategy, sequence_benchmark, 1)
    steps = []

    def embeddings(model, batch):
        samples = [alone(batch, row) for row in range(batch.size)]
        tokens = [model.tokenizer.encode(model.frames(sample)[0])[0] for sample in samples]
        matrix = model.transformer.get_input_embeddings().weight
        audio = [model.audio_projection(model.encode(sample).sequence[0].mean(0)) for sample in samples]
        return unit(audio), unit([model.text_projection(matrix[token]) for token in tokens])

    def similarity(one, other):
        return (one @ other).item() / 0.2

    def check(strategy, terms):
        batch, labels = strategy.mbatch, strategy.mb_y.tolist()
        past = batch["is_rehearsal"].tolist()
        everyone = range(batch.size)
        student, teacher = embeddings(strategy.model, batch), embeddings(teacher_of(strategy), batch)
        steps.append(sum(past))

        mm = 0.0
        for k in (k for k in everyone if not past[k]):
            same = [i for i in everyone if labels[i] == labels[k]]
            for one, other in (student, student[::-1]):
                total = math.log(sum(math.exp(similarity(one[k], other[i])) for i in everyone))
                mm += sum(total - similarity(one[k], other[p]) for p in same) / len(same)
        expected = {"mm": mm / max(past.count(False), 1)}

        for name, own, taught in zip(("nspt_audio", "nspt_text"), student, teacher, strict=True):
            values = []
            for k in (k for k in everyone if past[k]):
                same = [i for i in everyone if labels[i] == labels[k]]
                if denominator == "literal":
                    below = [similarity(own[k], own[i]) for i in everyone]
                else:
                    below = [similarity(own[k], taught[i]) for i in same]
                    below += [similarity(own[k], own[i]) for i in everyone if i not in same]
                total = math.log(sum(math.exp(value) for value in below))
                values.append(sum(total - similarity(own[k], taught[p]) for p in same) / len(same))
            if values:
                expected[name] = sum(values) / len(values)
        assert ("nspt_audio" in terms) == ("nspt_text" in terms) == any(past)
        for name, value in expected.items():
            assert terms.get(name, 0.0) == pytest.approx(value, abs=1e-4), name
        weighted = 0.3 * expected["mm"] + 0.7 * (expected.get("nspt_audio", 0) + expected.get("nspt_text", 0))
        assert strategy.loss.item() == pytest.approx(terms["cross_entropy"] + weighted, abs=1e-4)

    each_step(strategy, sequence_benchmark.train_stream[1], check)
    assert {0, 1, 2} <= set(steps)


def test_a_sequence_to_sequence_model_with_zero_weights_equals_replay_bit_for_bit(
    make_seq2seq, train, sequence_benchmark
):
    one = train(make_seq2seq(replay, memory_size=20, dropout=0.1), sequence_benchmark, 3)
    other = make_seq2seq(coconut, memory_size=20, dropout=0.1, mm_weight=0.0, nspt_weight=0.0)
    other = train(other, sequence_benchmark, 3)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_teacher_is_frozen(make, train, benchmark):
    strategy = make(coconut, memory_size=40)
    train(strategy, benchmark, 1)
    teacher = teacher_of(strategy)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    strategy.train(benchmark.train_stream[1], eval_streams=[])
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert not teacher.training and all(p.grad is None and not p.requires_grad for p in teacher.parameters())


def test_a_model_without_a_text_encoder_raises(benchmark):
    encoder = build_encoder("audio", "cnn", pooling="mean_max", frozen=True)
    encoder.dim = 128
    model = SLUClassifier(encoder, hidden=8)
    strategy = coconut(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(ConfigError, match="text encoder"):
        strategy.train(benchmark.train_stream[0])


def test_settings_out_of_range_raise(make):
    with pytest.raises(ConfigError, match="mm_weight.*-0.1"):
        make(coconut, mm_weight=-0.1)
    with pytest.raises(ConfigError, match="denominator.*'both'"):
        make(coconut, denominator="both")
