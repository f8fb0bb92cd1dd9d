import pytest
import torch
from avalanche.core import SupervisedPlugin

from mmcl.errors import ConfigError
from mmcl.freeze import trainable_state
from mmcl.runs.checkpoint import load_checkpoint, save_checkpoint
from mmcl.strategies import coconut, naive, replay
from mmcl.strategies.distillation import AudioDistillation, TokenDistillation
from mmcl.strategies.rehearsal import Rehearsal
from mmcl.strategies.sequence_distillation import SequenceDistillation


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def memory_rows(strategy):
    return next(plugin for plugin in strategy.plugins if isinstance(plugin, Rehearsal)).rows


def test_a_sequence_is_decoded_for_exactly_the_rows_in_memory(make_seq2seq, sequence_benchmark, digit_sequences):
    plugin = SequenceDistillation(beams=3)
    strategy = make_seq2seq(replay, memory_size=20, plugins=[plugin], eval_batch_size=7, epochs=6)
    decode, modes = strategy.model.decode, []
    strategy.model.decode = lambda *args, **options: modes.append(strategy.model.training) or decode(*args, **options)
    for experience in sequence_benchmark.train_stream[:3]:
        strategy.train(experience, eval_streams=[])
        rows, model = memory_rows(strategy), strategy.model
        assert list(plugin.sequences) == rows and len(set(rows)) == 20
        assert model.training and modes == [False] * 3  # 20 samples, 7 at a time
        with torch.no_grad():
            model.eval()
            for row in rows:
                encoded = model.encode(digit_sequences[0].batch(torch.tensor([row])))
                assert plugin.sequences[row] == model.decode(encoded, beams=3)[0]
            model.train()
        modes.clear()
    assert len({model.tokenizer.decode(tokens).intent for tokens in plugin.sequences.values()}) > 1


def test_the_term_equals_a_slow_loop(make_seq2seq, train, sequence_benchmark, each_step, alone):
    plugin = SequenceDistillation(0.5, beams=2)
    strategy = make_seq2seq(replay, memory_size=30, plugins=[plugin], batch_size=2, epochs=1)
    train(strategy, sequence_benchmark, 1)
    sequences, steps = dict(plugin.sequences), []
    last = next(iter(sequences))
    sequences[last] = plugin.sequences[last] = [7, 8, strategy.model.tokenizer.end]  # one of another length

    def check(strategy, terms):
        model, batch, values = strategy.model, strategy.mbatch, []
        rows = batch["is_rehearsal"].nonzero().flatten().tolist()
        steps.append(len(rows))
        for row in rows:
            encoded = model.encode(alone(batch, row))
            tokens = sequences[int(batch["rows"][row])]
            for place, token in enumerate(tokens):
                logits = model.teacher_forced(encoded, torch.tensor([[*tokens[:place], 0]]))[0, -1]
                values.append(-torch.log_softmax(logits, dim=0)[token].item())
        if rows:
            assert terms["sequence_kd"] == pytest.approx(sum(values) / len(values), rel=1e-4)
            expected = terms["cross_entropy"] + 0.5 * terms["sequence_kd"]
            assert strategy.loss.item() == pytest.approx(expected, abs=1e-5)
        else:
            assert terms.keys() == {"cross_entropy", "loss"}

    each_step(strategy, sequence_benchmark.train_stream[1], check)
    assert set(steps) == {0, 1, 2}


def test_distillation_changes_training_unless_its_weight_is_zero(make_seq2seq, train, sequence_benchmark):
    def weights(*plugins):
        return train(make_seq2seq(replay, memory_size=20, dropout=0.1, plugins=plugins), sequence_benchmark, 3)

    plain = weights()
    assert equal(plain, weights(SequenceDistillation(0.0)))
    assert not equal(plain, weights(SequenceDistillation(1.0)))


def test_distillation_with_an_empty_memory_equals_naive(make_seq2seq, train, sequence_benchmark):
    one = train(make_seq2seq(naive), sequence_benchmark, 2)
    assert equal(
        one, train(make_seq2seq(replay, memory_size=0, plugins=[SequenceDistillation()]), sequence_benchmark, 2)
    )


def decoded(strategy):
    return next(plugin for plugin in strategy.plugins if isinstance(plugin, SequenceDistillation)).sequences


def all_of_them():
    return [AudioDistillation(), TokenDistillation(), SequenceDistillation(beams=2)]


class Saver(SupervisedPlugin):
    """Writes a checkpoint at one epoch of one experience."""

    def __init__(self, path, experience, epoch):
        super().__init__()
        self.path, self.at = path, (experience, epoch)

    def after_training_epoch(self, strategy, **kwargs):
        if (strategy.experience.current_experience, strategy.epoch) == self.at:
            save_checkpoint(self.path, strategy.state_dict())


@pytest.mark.parametrize(("experience", "epoch"), [(0, 1), (1, 2), (2, 1)])
def test_resumed_equals_uninterrupted(experience, epoch, make_seq2seq, train, sequence_benchmark, tmp_path):
    path = tmp_path / "state.safetensors"
    settings = {"memory_size": 20, "dropout": 0.1}
    whole = make_seq2seq(coconut, plugins=[*all_of_them(), Saver(path, experience, epoch)], **settings)
    expected = train(whole, sequence_benchmark, 3)

    resumed = make_seq2seq(coconut, seed=5, plugins=[*all_of_them(), Saver(path, 99, 0)], **settings)
    resumed.model.standardize(torch.randn(9, 64))  # overwritten by the checkpoint
    state = load_checkpoint(path)
    resumed.load_state_dict(state)
    for part in sequence_benchmark.train_stream[state["experience"] : 3]:
        resumed.train(part, eval_streams=[])
    trained = trainable_state(resumed.model)
    assert equal({name: expected[name] for name in trained}, trained)
    assert decoded(resumed) == decoded(whole) != {}


def test_coconut_with_all_distillations_decodes_intents_and_entities(make_seq2seq, train, sequence_benchmark):
    strategy = make_seq2seq(coconut, memory_size=40, plugins=all_of_them(), epochs=8)
    train(strategy, sequence_benchmark)
    strategy.eval(sequence_benchmark.test_stream)
    model, batch = strategy.model.eval(), sequence_benchmark.test_stream[0].source.batch(torch.arange(60))
    output = model(batch)
    accuracy = (output.logits.argmax(1) == batch["label"]).float().mean()
    assert accuracy > 0.3  # chance is 0.1
    entities = [frame.entities for frame in output.frames]
    assert sum(own == true for own, true in zip(entities, batch["entities"], strict=True) if true) > 6


def test_a_strategy_without_rehearsal_before_the_plugin_raises(make_seq2seq, sequence_benchmark):
    for plugins in ([SequenceDistillation()], [SequenceDistillation(), Rehearsal(20)]):
        with pytest.raises(ConfigError, match="sequence distillation.*memory"):
            make_seq2seq(naive, plugins=plugins).train(sequence_benchmark.train_stream[0])


def test_a_model_without_a_decoder_raises(make, benchmark):
    with pytest.raises(ConfigError, match="sequence distillation.*SLUClassifier.*SLUSeq2Seq"):
        make(replay, plugins=[SequenceDistillation()]).train(benchmark.train_stream[0])


def test_settings_out_of_range_raise():
    with pytest.raises(ConfigError, match="weight.*-1.0"):
        SequenceDistillation(-1.0)
    with pytest.raises(ConfigError, match="beams.*0"):
        SequenceDistillation(beams=0)
