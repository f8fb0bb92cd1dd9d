import pytest

from mmcl.encoders import build_encoder
from mmcl.errors import CheckpointError, MissingDataError
from mmcl.sections.slu import ClassifierSection, DataSection, Seq2SeqSection


def test_training_splits_are_concatenated(data_dir):
    root = str(data_dir / "fsdd")
    train, test = DataSection(name="fsdd", root=root, train=("train", "valid"), test="test").build()
    parts = [DataSection(name="fsdd", root=root, train=split).build()[0] for split in ("train", "valid")]
    assert len(train) == sum(map(len, parts)) == 2700 and len(test) == 300
    ids = [{utterance.id for utterance in part.utterances} for part in (train, test)]
    assert ids[0].isdisjoint(ids[1])


def test_missing_data_raise_with_the_searched_folder(tmp_path):
    with pytest.raises(MissingDataError, match="fsdd.*nothing"):
        DataSection(name="fsdd", root=str(tmp_path / "nothing")).build()


class Two:
    classes, labels, texts, entities = ("no", "yes"), [0, 1], ["no", "yes please"], [(), ()]

    def __len__(self):
        return 2


def test_a_tokenizer_is_trained_once_and_checked_against_the_data(tmp_path):
    section, path = Seq2SeqSection(vocabulary=40), tmp_path / "tokenizer.json"
    trained = section.tokenizer(Two(), path)
    assert trained.intents == Two.classes and len(trained) <= 40
    assert section.tokenizer(Two(), path).fingerprint == trained.fingerprint
    other = Two()
    other.classes = ("no", "perhaps")
    with pytest.raises(CheckpointError, match="tokenizer.json.*2 intents.*2 classes"):
        section.tokenizer(other, path)


def test_both_models_are_built_with_their_settings(tmp_path):
    encoder = build_encoder("audio", "cnn", dim=16)
    tokenizer = Seq2SeqSection(vocabulary=40).tokenizer(Two(), tmp_path / "tokenizer.json")
    seq2seq = Seq2SeqSection(dim=8, layers=1, heads=2, feedforward=8, projection=6, beams=3).build(encoder, tokenizer)
    assert (seq2seq.beams, seq2seq.audio_projection.out_features) == (3, 6)
    assert ClassifierSection(hidden=7).build(encoder).head.weight.shape == (0, 7)
    untrained = ClassifierSection(hidden=7).build(encoder, trained=False)
    assert untrained.head.weight.shape == (0, 16) and untrained.text_encoder is None
    contrasting = ClassifierSection(hidden=7).build(encoder, trained=False, contrasts=True)
    assert contrasting.head.weight.shape == (0, 16) and contrasting.text_encoder is not None


def test_validation_data_are_those_that_the_run_does_not_use(data_dir):
    root = str(data_dir / "fsdd")
    section = DataSection(name="fsdd", root=root, train="train", test="test")
    train, _ = section.build()
    valid = section.validation(train.classes)
    assert len(valid.dataset) == 300 and not {each.path for each in valid.dataset.utterances} & {
        each.path for each in train.utterances
    }
    for used in ({"train": ("train", "valid")}, {"train": "train", "test": "valid"}):
        assert "valid" in DataSection(name="fsdd", root=root, **used).validation(train.classes).reason
