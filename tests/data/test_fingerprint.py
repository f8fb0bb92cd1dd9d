"""Fingerprints of data sets, computed without decoding."""

from __future__ import annotations

import os
import shutil
import time

import pytest
import torch
from avalanche.core import SupervisedPlugin

from mmcl.data import Captions, LabelledTable, class_incremental, open_dataset
from mmcl.data.fingerprint import digest_of, noted_by, opened, sample_digests, sample_names
from mmcl.encoders import build_encoder
from mmcl.errors import CheckpointError
from mmcl.models import SLUClassifier
from mmcl.strategies import replay


@pytest.mark.parametrize("name", ["barista", "fsdd", "mnist", "cifar10", "rosmap", "svamp", "slurp", "anli"])
def test_fingerprints_distinguish_samples(data_dir, name):
    try:
        dataset = open_dataset(name, "test")
    except Exception as error:
        pytest.skip(str(error))
    digests = sample_digests(dataset)
    assert len(digests) == len(dataset) and digests == sample_digests(open_dataset(name, "test"))
    assert len(set(digests)) > 0.97 * len(digests)
    names = sample_names(dataset)
    assert names is None or len(names) == len(dataset)


def test_recordings_are_not_decoded(data_dir, monkeypatch):
    monkeypatch.setattr("mmcl.data.audio.load_audio", None)
    dataset = open_dataset("fsdd", "train")
    started = time.monotonic()
    assert len(sample_digests(dataset)) == len(dataset)
    assert time.monotonic() - started < 5e-3 * len(dataset)


def test_fingerprints_do_not_depend_on_the_folder(data_dir, tmp_path):
    (tmp_path / "recordings").mkdir()
    for take in (1, 2):
        for digit in range(10):
            shutil.copy(data_dir / "fsdd" / "recordings" / f"{digit}_george_{take}.wav", tmp_path / "recordings")
    shutil.copytree(tmp_path, tmp_path / "other")
    first, second = (open_dataset("fsdd", "test", root) for root in (tmp_path, tmp_path / "other"))
    assert sample_digests(first) == sample_digests(second)
    assert sample_names(first)[0] == "0_george_1"


def test_fingerprints_cover_file_sizes(data_dir, tmp_path):
    source = sorted((data_dir / "fsdd" / "recordings").glob("0_george_*.wav"))
    for name, path in zip("ab", source, strict=False):
        shutil.copy(path, tmp_path / f"{name}.wav")
    (tmp_path / "train.csv").write_text("audio,text,label\na.wav,one,x\nb.wav,two,y\n")
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "captions.csv").write_text("audio,text\n../a.wav,one\n../b.wav,two\n")
    opened_twice = []
    for _ in range(2):
        sets = Captions(tmp_path / "list" / "captions.csv"), LabelledTable(tmp_path, "train")
        opened_twice.append([sample_digests(each) for each in sets])
        shutil.copy(source[5], tmp_path / "b.wav")
    assert os.path.getsize(source[5]) != os.path.getsize(source[1])
    for before, now in zip(*opened_twice, strict=True):
        assert before[0] == now[0] and before[1] != now[1]


def test_opened_data_sets_are_reported(data_dir, tmp_path):
    heard = []
    with noted_by(lambda name, dataset: heard.append((name, len(dataset)))):
        dataset = open_dataset("rosmap", "train", folds=3, fold=1)
        opened(dataset, "table", "train", root="here", size=None)
    opened(dataset, "later")
    assert heard == [("rosmap train fold=1 folds=3", len(dataset)), ("table train root='here'", len(dataset))]


def test_adding_a_class_keeps_other_digests():
    class Said:
        texts = ["a", "b"]

        def __init__(self, classes, labels):
            self.classes, self.labels = classes, labels

        def __len__(self):
            return 2

    assert sample_digests(Said(["no", "yes"], [0, 1])) == sample_digests(Said(["maybe", "no", "yes"], [1, 2]))
    assert sample_digests(Said(["no", "yes"], [0, 1])) != sample_digests(Said(["yes", "no"], [0, 1]))


def test_row_out_of_range_changes_the_digest():
    assert digest_of([b"a", b"b"], [1]) != digest_of([b"a"], [1]) != digest_of([b"a"], [0])


class Points:
    """Samples in memory, identified by their text."""

    classes = ("no", "yes")

    def __init__(self, texts):
        self.texts = texts
        self.labels = [number % 2 for number in range(len(texts))]

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, row):
        return {"audio": torch.sin(torch.arange(800.0) * (1 + row)), "label": self.labels[row], "text": self.texts[row]}


class Keep(SupervisedPlugin):
    """Keeps the state at the end of each epoch."""

    def after_training_epoch(self, strategy, **kwargs):
        if strategy.epoch == 1:
            self.state = strategy.state_dict()


def learner():
    torch.manual_seed(0)
    model = SLUClassifier(build_encoder("audio", "cnn", dim=16), hidden=8)
    optimizer, keep = torch.optim.SGD(model.parameters(), lr=0.01), Keep()
    return replay(model, optimizer, memory_size=4, epochs=2, batch_size=4, plugins=[keep]), keep


WORDS = [f"text {number}" for number in range(12)]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (WORDS, ""),
        (["new", "other", *WORDS], "memory.* samples of label "),
        ([*WORDS[2:], "new", "other"], "memory.* samples of label "),
        (WORDS[:2], "memory.* samples of label "),
        ([*WORDS, "new", "other"], "experience 1"),
    ],
    ids=["the same", "more before", "shifted", "fewer", "more behind"],
)
@pytest.mark.parametrize("old", [False, True], ids=["", "state of an older version"])
def test_state_is_not_restored_on_other_samples(words, told, old):
    """Without a run folder, as in library use."""
    first, keep = learner()
    streams = [class_incremental(Points(each), Points(each), 2, [0, 1]).train_stream for each in (WORDS, words)]
    for experience in streams[0]:
        first.train(experience)
    state = keep.state
    if old:
        del state["samples"]
        for plugin in state["plugins"]:
            if plugin is not None:
                plugin.pop("samples", None)
    again, _ = learner()
    again.load_state_dict(state)
    if told and not old:
        with pytest.raises(CheckpointError, match=told):
            again.train(streams[1][1])
    elif len(words) >= len(WORDS):
        again.train(streams[1][1])
