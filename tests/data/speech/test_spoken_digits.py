from collections import Counter

import numpy as np
import pytest
import soundfile

from mmcl.data.speech.spoken_digits import SpokenDigits
from mmcl.errors import DataError
from mmcl.unlearning.removal import speakers_of


@pytest.fixture
def root(tmp_path):
    (tmp_path / "recordings").mkdir()
    for digit in (0, 7):
        for speaker in ("george", "theo"):
            for index in (0, 4, 5, 9, 10, 49):
                path = tmp_path / "recordings" / f"{digit}_{speaker}_{index}.wav"
                soundfile.write(path, 0.2 * np.sin(np.arange(800) * 0.3), 8_000)
    return tmp_path


def test_splits_by_index(root):
    indices = {}
    for split in ("train", "valid", "test"):
        utterances = SpokenDigits(root, split).utterances
        indices[split] = {int(utterance.id.split("_")[2]) for utterance in utterances}
        assert len(utterances) == 8
    assert indices == {"train": {10, 49}, "valid": {5, 9}, "test": {0, 4}}


def test_sample(root):
    dataset = SpokenDigits(root, "test", speakers=("theo",))
    assert dataset.classes == ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    assert dataset.labels == [0, 0, 7, 7]
    sample = dataset[2]
    assert (sample["id"], sample["text"], sample["speaker"]) == ("7_theo_0", "seven", "theo")
    assert sample["audio"].shape == (1600,), "8 kHz became 16 kHz"


def test_speakers_are_listed_per_recording(root):
    dataset = SpokenDigits(root, "test", speakers="theo") + SpokenDigits(root, "test", speakers="george")
    assert dataset.speakers == [utterance.speaker for utterance in dataset.utterances]
    assert speakers_of(dataset) == dataset.speakers and set(dataset.speakers) == {"theo", "george"}


def test_single_speaker_as_string(root):
    assert {utterance.speaker for utterance in SpokenDigits(root, speakers="george").utterances} == {"george"}


def test_unknown_speaker(root):
    with pytest.raises(DataError, match=r"no speaker 'teo' \(did you mean 'theo'\?\): expected some of george, theo"):
        SpokenDigits(root, speakers=("george", "teo"))


def test_unparsable_file_name_raises(root):
    (root / "recordings" / "seven.wav").write_bytes(b"")
    with pytest.raises(DataError, match=r"seven\.wav is not named like a recording, expected \{digit\}_\{speaker\}"):
        SpokenDigits(root)


def test_empty_folder(tmp_path):
    (tmp_path / "recordings").mkdir()
    with pytest.raises(DataError, match="has no recordings in split 'train'"):
        SpokenDigits(tmp_path)


def test_real_copy(data_dir):
    seen = set()
    for split, size in (("train", 2_400), ("valid", 300), ("test", 300)):
        dataset = SpokenDigits(data_dir / "fsdd", split)
        assert len(dataset) == size
        assert set(Counter(dataset.labels).values()) == {size // 10}
        seen |= {utterance.id for utterance in dataset.utterances}
    assert len(seen) == 3_000
