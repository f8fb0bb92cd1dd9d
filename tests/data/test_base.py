import json
import logging
import os

import numpy as np
import pytest
import soundfile

from mmcl.data.base import Dataset, Entity, Source, SpeechDataset, Utterance
from mmcl.errors import AudioError, DataError, LabelError, MissingDataError

SOURCE = Source("tones", "tones", ("list.txt", "other.txt"), "Nobody", "CC0", "3 tones", "https://example.org/tones")


class Tones(SpeechDataset):
    """Three tones of 0.1, 0.2 and 0.3 s."""

    source = SOURCE
    splits = ("train", "test")
    labels_on_disk = (0, 1, 1)

    def _read(self):
        return ("low", "high"), [
            Utterance(f"tone{i}", self.root / f"{i}.wav", label, "" if label else "hum", "", (Entity("pitch", str(i)),))
            for i, label in enumerate(self.labels_on_disk)
        ]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "list.txt").touch()
    for i in range(3):
        soundfile.write(tmp_path / f"{i}.wav", 0.5 * np.sin(np.arange(1600 * (i + 1)) * 0.1), 16_000)
    return tmp_path


def test_implements_the_dataset_protocol(root):
    dataset = Tones(root, "train")
    assert isinstance(dataset, Dataset)
    assert len(dataset) == 3
    assert dataset.labels == [0, 1, 1]
    assert dataset.texts == ["hum", "high", "high"], "the words of the class stand in for a transcript"
    sample = dataset[1]
    assert sample["audio"].shape == (3200,)
    assert {key: value for key, value in sample.items() if key != "audio"} == {
        "id": "tone1",
        "label": 1,
        "text": "high",
        "entities": (("pitch", "1"),),
        "speaker": "",
    }


def test_root_may_start_at_the_home_folder(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root.parent))
    assert len(Tones(f"~/{root.name}", "test")) == 3


def test_long_recordings_are_skipped_with_one_warning(root, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = Tones(root, "train", max_seconds=0.2)
    assert [utterance.id for utterance in dataset.utterances] == ["tone0", "tone1"]
    assert dataset.labels == [0, 1]
    (record,) = caplog.records
    assert f"1 recordings longer than 0.2 s, first {root / '2.wav'}" in record.getMessage()


def test_max_seconds_applies_while_decoding(root):
    dataset = Tones(root, "train", max_seconds=0.2)
    assert len(dataset[1]["audio"]) == 3200
    soundfile.write(root / "1.wav", np.zeros(3201), 16_000)
    with pytest.raises(AudioError, match=r"1\.wav lasts 0\.2 s or more, expected at most 0\.2 s"):
        dataset[1]
    assert len((dataset + Tones(root, "test"))[1]["audio"]) == 3201, "of two bounds none is known"


def test_names_that_are_not_utf_8_are_shown_escaped(root, monkeypatch):
    os.rename(root / "0.wav", path := root / "caf\udce9.wav")
    spoken = Utterance("caf\udce9", path, 0, "un caf\udce9", "Jos\udce9", ())
    monkeypatch.setattr(Tones, "_read", lambda self: (("a caf\udce9", "tea"), [spoken]))
    dataset = Tones(root, "train")
    sample = dataset[0]
    assert len(sample.pop("audio")) == 1600
    json.dumps({**sample, "classes": dataset.classes}, ensure_ascii=False).encode()
    assert (sample["id"], sample["text"], dataset.classes[0]) == ("caf\\udce9", "un caf\\udce9", "a caf\\udce9")


def test_no_recordings_left_raises(root):
    with pytest.raises(DataError, match=r"no recordings in split 'train': check .* max_seconds=0.05"):
        Tones(root, "train", max_seconds=0.05)


def test_splits_are_concatenated(root):
    train, test = Tones(root, "train"), Tones(root, "test", max_seconds=0.1)
    joined = train + test
    assert (len(joined), len(train), joined.split) == (4, 3, "train+test")
    assert joined.labels == [0, 1, 1, 0]
    assert joined.texts == ["hum", "high", "high", "hum"]
    assert joined[3]["id"] == "tone0"


def test_concatenating_different_classes_raises(root):
    train, other = Tones(root, "train"), Tones(root, "test")
    other.classes = ("low", "shrill")
    with pytest.raises(DataError, match=r"\(train\) and .* \(test\) have 2 and 2 classes that are not the same"):
        train + other


def test_unknown_split(root):
    with pytest.raises(
        DataError, match=r"Tones has no split 'tset' \(did you mean 'test'\?\): expected .* train, test"
    ):
        Tones(root, "tset")


def test_missing_folder_says_where_to_get_it(tmp_path):
    with pytest.raises(MissingDataError) as caught:
        Tones(tmp_path / "nowhere", "train")
    message = str(caught.value)
    for part in (str(tmp_path / "nowhere"), "MMCL_DATA", "'tones'", "Nobody", "https://example.org/tones"):
        assert part in message
    assert "\n" not in message


def test_folder_of_something_else(tmp_path):
    with pytest.raises(MissingDataError, match=r"has no list\.txt or other\.txt; get it from Nobody"):
        Tones(tmp_path, "train")


def test_label_outside_the_classes(root, monkeypatch):
    monkeypatch.setattr(Tones, "labels_on_disk", (0, 1, 2))
    with pytest.raises(LabelError, match=r"2\.wav has label 2, expected 0 to 1"):
        Tones(root, "train")


def test_any_marker_identifies_the_folder(tmp_path):
    (tmp_path / "other.txt").touch()
    assert SOURCE.lack(tmp_path) == ""


def test_missing_folder_without_a_source_is_named(root):
    class Own(Tones):
        source = None

    assert len(Own(root, "train")) == 3
    with pytest.raises(MissingDataError, match=r"Own is missing: there is no folder .*nowhere, check the path"):
        Own(root / "nowhere", "train")
