"""Real speech, and small models of each kind that transformers knows, with random weights."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mmcl.batch import collate
from mmcl.data.audio import load_audio

DIGITS = ("0_george_0", "7_jackson_3", "3_theo_12", "9_yweweler_1", "6_nicolas_4")


@pytest.fixture(scope="session")
def digit_paths(data_dir):
    """Recordings of spoken digits of different speakers and lengths."""
    paths = [data_dir / "fsdd" / "recordings" / f"{name}.wav" for name in DIGITS]
    if not all(path.exists() for path in paths):
        pytest.skip("MMCL_DATA has no spoken digits")
    return paths


@pytest.fixture(scope="session")
def digits(digit_paths):
    """Their waveforms."""
    return [load_audio(path) for path in digit_paths]


@pytest.fixture(scope="session")
def batch(digits):
    """Them as one padded batch."""
    return collate([{"audio": audio} for audio in digits])


@pytest.fixture
def make_spoken():
    """Makes a data set of files, as the data sets of recordings are."""
    return lambda paths: Spoken([SimpleNamespace(id=path.stem, path=path) for path in paths])


@pytest.fixture
def spoken(digit_paths, make_spoken):
    """A data set of the recordings."""
    return make_spoken(digit_paths)


class Spoken:
    classes = tuple("0123456789")

    def __init__(self, utterances):
        self.utterances = utterances
        self.labels = [int(utterance.id[0]) for utterance in utterances]
        self.texts = [f"digit {label}" for label in self.labels]
        self.decoded = 0

    def __len__(self):
        return len(self.utterances)

    def __getitem__(self, index):
        self.decoded += 1
        utterance = self.utterances[index]
        return {"id": utterance.id, "audio": load_audio(utterance.path), "label": self.labels[index]}
