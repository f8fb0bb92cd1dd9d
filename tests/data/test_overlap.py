"""Overlap between splits of every data set."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import soundfile

from mmcl.data import LabelledTable, Slurp
from mmcl.data.catalog import check_dataset, find
from mmcl.data.overlap import overlaps


def _warnings(name, root):
    return [fault.reason for fault in check_dataset(find(name), root=root) if fault.warning]


def _sound(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(np.arange(1600) * (0.1 + seed / 97)), 16_000)


def _sentence(number, text, file):
    row = {"slurp_id": number, "sentence": text, "scenario": "alarm", "action": "set", "entities": []}
    return row | {"tokens": [{"surface": each} for each in text.split()], "recordings": [{"file": file}]}


@pytest.fixture
def slurp(tmp_path):
    """A small copy of SLURP with disjoint splits."""
    lines = {}
    for number, split in enumerate(("train", "devel", "test", "train_synthetic")):
        lines[split] = _sentence(number, f"wake me at {split.replace('_', ' ')}", f"{split}.flac")
        _sound(tmp_path / "audio" / f"{split}.flac", number)

    def write(**changed):
        for split, line in lines.items():
            (tmp_path / f"{split}.jsonl").write_text(json.dumps({**line, **changed.get(split, {})}) + "\n")
        return tmp_path

    return write


def test_disjoint_splits_give_no_warning(slurp, caplog):
    root = slurp()
    assert check_dataset(find("slurp"), root=root) == [] and check_dataset(find("slurp_text"), root=root) == []
    Slurp(root, synthetic=True)
    assert not caplog.records


@pytest.mark.parametrize(("held_out", "split"), [("devel", "valid"), ("test", "test")])
def test_synthetic_sentences_in_test_are_counted(slurp, caplog, held_out, split):
    root = slurp(train_synthetic={"sentence": f"Wake me at {held_out}!"})
    Slurp(root)
    assert not caplog.records, "they are not trained on"
    Slurp(root, synthetic=True)
    expected = f"{held_out}.jsonl, first 'wake me at {held_out}': with synthetic=True, results on {split} are"
    assert "1 of 1 sentences of" in caplog.text and expected in caplog.text
    (warning,) = _warnings("slurp", root)
    assert expected in warning


def test_sentences_of_slurp_in_two_splits(slurp):
    root = slurp(test={"sentence": "wake me at train"})
    for name in ("slurp", "slurp_text"):
        assert _warnings(name, root) == ["1 of 1 texts of test are in train as well, first 'wake me at train'"]


def test_recordings_in_two_splits(slurp):
    root = slurp(test={"recordings": [{"file": "train.flac"}]})
    (warning,) = _warnings("slurp", root)
    assert warning.startswith("1 of 1 recordings of test are in train as well, first ") and "train.flac" in warning


def test_the_same_recording_under_another_name(slurp):
    root = slurp()
    shutil.copy(root / "audio" / "train.flac", root / "audio" / "test.flac")
    (warning,) = _warnings("slurp", root)
    assert warning.startswith("1 of 1 files of test are in train as well by their content, first ")
    assert warning.endswith("test.flac")


def _commands(root, rows):
    """A small copy of Fluent Speech Commands from rows (split, path, speaker)."""
    (root / "data").mkdir()
    lines = {split: ["path,speakerId,transcription,action,object,location"] for split in ("train", "valid", "test")}
    for number, (split, path, speaker) in enumerate(rows):
        if not (root / path).exists():
            _sound(root / path, number)
        lines[split].append(f"{path},{speaker},lights on,activate,lights,none")
    for split, each in lines.items():
        (root / "data" / f"{split}_data.csv").write_text("\n".join(each) + "\n")
    return root


APART = [("train", f"{n}.wav", f"a{n}") for n in range(4)] + [("valid", "v.wav", "b"), ("valid", "v2.wav", "b2")]
APART += [("test", "t.wav", "c"), ("test", "t2.wav", "c2")]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ([], None),
        ([("test", "0.wav", "c")], "1 of 3 recordings of test are in train as well, first "),
        ([("valid", "t.wav", "b")], "1 of 2 recordings of test are in valid as well, first "),
        ([("test", "t.wav", "c")], "1 recordings of test are there more than once, first "),
        ([("test", "t3.wav", "a1")], "1 of 3 samples of test are in train as well, by the same speaker, first 'a1'"),
    ],
)
def test_commands_that_are_listed_twice(tmp_path, more, expected):
    said = _warnings("fluent_speech_commands", _commands(tmp_path, APART + more))
    assert len(said) == (expected is not None) and all(each.startswith(expected) for each in said)


def test_speakers_shared_by_design_are_not_reported(data_dir):
    assert check_dataset(find("fsdd"), root=data_dir / "fsdd") == []


def test_lists_of_speech_commands_that_overlap(tmp_path):
    for number in range(4):
        _sound(tmp_path / "yes" / f"{number}_nohash_0.wav", number)
    (tmp_path / "validation_list.txt").write_text("yes/1_nohash_0.wav\nyes/2_nohash_0.wav\n")
    (tmp_path / "testing_list.txt").write_text("yes/2_nohash_0.wav\nyes/3_nohash_0.wav\n")
    said = _warnings("speech_commands", tmp_path)
    assert said[0].startswith("1 of 2 recordings of test are in valid as well, first ")


def test_rows_of_tables(tmp_path):
    draw = np.random.default_rng(0)
    for number in (1, 2, 3):
        train = draw.random((20, 4))
        np.savetxt(tmp_path / f"{number}_tr.csv", train, delimiter=",")
        np.savetxt(tmp_path / f"{number}_te.csv", np.vstack([train[3], draw.random((5, 4))]), delimiter=",")
    for end, count in (("tr", 20), ("te", 6)):
        (tmp_path / f"labels_{end}.csv").write_text("0\n1\n" * (count // 2))
    (warning,) = _warnings("rosmap", tmp_path)
    assert warning.startswith("1 of 6 rows of test are in ")


def test_images_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("mmcl.data.images.torchvision_images._VALID", 2)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 28, 28), np.uint8)
    (tmp_path / "raw").mkdir()
    for name, chosen in (("train", pixels[:6]), ("t10k", pixels[5:])):
        for kind, array in (("images-idx3", chosen), ("labels-idx1", np.zeros(len(chosen), np.uint8))):
            head = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
            (tmp_path / "raw" / f"{name}-{kind}-ubyte").write_bytes(head + array.tobytes())
    (warning,) = _warnings("fashion_mnist", tmp_path)
    assert warning.startswith("1 of 3 rows of test are in valid as well, first ")


def test_questions(tmp_path):
    rows = [{"uid": f"u{n}", "premise": f"p{n}", "hypothesis": "h", "label": "neutral"} for n in range(4)]
    for part, chosen in (("train", rows[:2]), ("valid", rows[2:3]), ("test", [{**rows[0], "uid": "u9"}, rows[3]])):
        text = "".join(json.dumps(row) + "\n" for row in chosen)
        (tmp_path / f"anli1_{part}.json").write_text(text)
    assert _warnings("anli", tmp_path) == ["1 of 2 texts of test are in train as well, first 'p0</s>h'"]


def test_real_data_sets_do_not_overlap(data_dir):
    for name, folder in (("rosmap", "rosmap"), ("svamp", "rationales/svamp"), ("cqa", "rationales/cqa")):
        assert check_dataset(find(name), root=data_dir / folder) == []


def test_rows_of_a_labelled_table(tmp_path, caplog):
    (tmp_path / "train.csv").write_text("x,y,label\n1,2,a\n3,4,b\n")
    (tmp_path / "test.csv").write_text("x,y,label\n3,4,b\n9,1,b\n")
    LabelledTable(tmp_path, "train")
    assert "1 rows of test.csv are also in train.csv, first line 2" in caplog.text


def test_data_sets_without_attributes_have_no_overlap():
    class Plain:
        labels, texts, classes = [0], ["on"], ("on",)

    assert overlaps({"train": Plain(), "test": Plain()}) == []
