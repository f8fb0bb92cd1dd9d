import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from mmcl.encoders import build_encoder
from mmcl.errors import CheckpointError, MissingDataError
from mmcl.models import SLUClassifier
from mmcl.sections.slu import (
    DISTILLATIONS,
    AudioSection,
    ClassifierSection,
    DataSection,
    KnowledgeDistillationSection,
    OptimizerSection,
    Seq2SeqSection,
    StrategyName,
    TextSection,
    check_strategies,
    frame_scores,
)


def test_data_of_several_splits_are_joined(data_dir):
    root = str(data_dir / "fsdd")
    train, test = DataSection(name="fsdd", root=root, train=("train", "valid"), test="test").build()
    parts = [DataSection(name="fsdd", root=root, train=split).build()[0] for split in ("train", "valid")]
    assert len(train) == sum(map(len, parts)) == 2700 and len(test) == 300
    ids = [{utterance.id for utterance in part.utterances} for part in (train, test)]
    assert ids[0].isdisjoint(ids[1])


def test_missing_data_say_where_they_are_looked_for(tmp_path):
    with pytest.raises(MissingDataError, match="data set fsdd is missing: .*nothing"):
        DataSection(name="fsdd", root=str(tmp_path / "nothing")).build()


def test_encoders_take_their_options():
    audio = AudioSection(name="cnn", pooling="mean_max", options={"dim": 16}).build()
    assert (audio.modality, audio.pooled_dim, audio.frozen) == ("audio", 32, False)
    assert TextSection(options={"dim": 12}).build().dim == 12


def test_the_optimizer_has_a_rate_of_its_own_for_the_encoder_and_skips_what_is_frozen():
    encoder = build_encoder("audio", "cnn", dim=8)
    model = SLUClassifier(encoder, hidden=4, text_encoder=build_encoder("text", "words", frozen=True))
    optimizer = OptimizerSection(learning_rate=1e-2, encoder_learning_rate=1e-4).build(model, encoder)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-4, 1e-2]
    grouped = [{id(p) for p in group["params"]} for group in optimizer.param_groups]
    assert grouped[0] == {id(p) for p in encoder.parameters()}
    assert grouped[1] == {id(p) for p in model.parameters() if p.requires_grad} - grouped[0]


def test_schedules():
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    assert OptimizerSection().scheduler() is None
    schedule = OptimizerSection(schedule="cosine").scheduler()(optimizer, 10)
    for _ in range(10):
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-9)


def test_strategies_are_named_alone_or_with_distillations():
    names = TypeAdapter(StrategyName)
    for name in ("offline", "coconut", "replay+sequence_kd", "coconut+audio_kd+token_kd"):
        assert names.validate_python(name) == name
    for name, message in (
        ("cocnut", "'cocnut' is not a strategy, did you mean 'coconut'?"),
        ("replay+sequnce_kd", "did you mean 'sequence_kd'?"),
        ("naive+token_kd", "'naive\\+token_kd' has no memory to distil with"),
    ):
        with pytest.raises(ValidationError, match=message.replace("?", "[?]")):
            names.validate_python(name)


@pytest.mark.parametrize(
    ("name", "model"), [("lwf", "seq2seq"), ("icarl", "seq2seq"), ("replay+token_kd", "classifier")]
)
def test_strategies_that_do_not_suit_the_model_are_refused(name, model):
    with pytest.raises(ValueError, match=f"strategy '{name.replace('+', '.')}'.* expected model: "):
        check_strategies(["naive", name], model)


def test_each_distillation_takes_its_own_weight():
    section = KnowledgeDistillationSection(audio_weight=2.0, token_weight=3.0, sequence_weight=4.0)
    assert [section.build(name).weight for name in DISTILLATIONS] == [2.0, 3.0, 4.0]


class Two:
    classes, labels, texts, entities = ("no", "yes"), [0, 1], ["no", "yes please"], [(), ()]

    def __len__(self):
        return 2


def test_a_tokenizer_is_trained_once_and_is_that_of_its_data(tmp_path):
    section, path = Seq2SeqSection(vocabulary=40), tmp_path / "tokenizer.json"
    trained = section.tokenizer(Two(), path)
    assert trained.intents == Two.classes and len(trained) <= 40
    assert section.tokenizer(Two(), path).fingerprint == trained.fingerprint
    other = Two()
    other.classes = ("no", "perhaps")
    with pytest.raises(CheckpointError, match="has 2 intents that are not the 2 classes of the data"):
        section.tokenizer(other, path)


def test_both_models_are_built_as_told(tmp_path):
    encoder = build_encoder("audio", "cnn", dim=16)
    tokenizer = Seq2SeqSection(vocabulary=40).tokenizer(Two(), tmp_path / "tokenizer.json")
    writer = Seq2SeqSection(dim=8, layers=1, heads=2, feedforward=8, projection=6, beams=3).build(encoder, tokenizer)
    assert (writer.beams, writer.audio_projection.out_features) == (3, 6)
    assert ClassifierSection(hidden=7).build(encoder).head.weight.shape == (0, 7)
    assert len(frame_scores("seq2seq")) == 1 and frame_scores("classifier") == []
