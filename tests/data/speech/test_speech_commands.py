import numpy as np
import pytest
import soundfile

from mmcl.data.speech.speech_commands import SpeechCommands
from mmcl.errors import DataError, MissingDataError

NAMES = {
    "yes": ["0a7c2a8d_nohash_0.wav", "0a7c2a8d_nohash_1.wav", "beb49c22_nohash_0.wav"],
    "bed": ["c8b3a2f1_nohash_0.wav", "0132a06d_nohash_2.wav"],
    "on": ["12529547_nohash_0.wav"],
    "_background_noise_": ["pink_noise.wav"],
    ".git": ["hook.wav"],
    "empty": [],
}


@pytest.fixture
def root(tmp_path):
    for word, names in NAMES.items():
        (tmp_path / word).mkdir()
        for name in names:
            soundfile.write(tmp_path / word / name, 0.2 * np.sin(np.arange(16_000) * 0.1), 16_000)
    (tmp_path / "bed" / "README.md").write_text("no recording")
    (tmp_path / "LICENSE").write_text("CC BY 4.0")
    (tmp_path / "validation_list.txt").write_text("yes/beb49c22_nohash_0.wav\n\n")
    (tmp_path / "testing_list.txt").write_text("bed/c8b3a2f1_nohash_0.wav\non/12529547_nohash_0.wav\n")
    return tmp_path


def test_official_lists(root):
    ids = {split: [utterance.id for utterance in SpeechCommands(root, split).utterances] for split in
           ("train", "valid", "test")}  # fmt: skip
    assert ids == {
        "train": ["bed/0132a06d_nohash_2.wav", "yes/0a7c2a8d_nohash_0.wav", "yes/0a7c2a8d_nohash_1.wav"],
        "valid": ["yes/beb49c22_nohash_0.wav"],
        "test": ["bed/c8b3a2f1_nohash_0.wav", "on/12529547_nohash_0.wav"],
    }


def test_classes_are_the_folders_of_words(root):
    dataset = SpeechCommands(root, "test")
    assert dataset.classes == ("bed", "on", "yes")
    assert dataset.labels == [0, 1]
    sample = dataset[0]
    assert (sample["text"], sample["speaker"], sample["label"]) == ("bed", "c8b3a2f1", 0)
    assert sample["audio"].shape == (16_000,)


def test_list_that_names_a_missing_recording(root):
    (root / "on" / "12529547_nohash_0.wav").rename(root / "on" / "12529547_nohash_1.wav")
    with pytest.raises(MissingDataError, match=r"testing_list\.txt line 2 .*on/12529547_nohash_0\.wav"):
        SpeechCommands(root, "test")


def test_missing_list(root):
    (root / "testing_list.txt").unlink()
    with pytest.raises(MissingDataError, match=r"no file .*testing_list\.txt, the official list of split 'test'"):
        SpeechCommands(root, "train")


def test_no_words(tmp_path):
    (tmp_path / "validation_list.txt").touch()
    with pytest.raises(DataError, match="has no folder with recordings"):
        SpeechCommands(tmp_path)


def test_unknown_split(root):
    with pytest.raises(DataError, match=r"no split 'validation' \(did you mean 'valid'\?\)"):
        SpeechCommands(root, "validation")


def test_real_copy(data_dir):
    root = data_dir / "speech_commands"
    if not root.is_dir():
        pytest.skip("MMCL_DATA has no speech_commands")
    sizes = {split: len(SpeechCommands(root, split)) for split in ("train", "valid", "test")}
    assert sizes == {"train": 84_843, "valid": 9_981, "test": 11_005}
    assert len(SpeechCommands(root).classes) == 35
