import pytest
import torch
from torch import nn

from mmcl.encoders import build_encoder
from mmcl.errors import MissingDataError
from mmcl.models import SLUClassifier
from mmcl.sections import AudioSection, DataSection, OptimizerSection, TextSection


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
