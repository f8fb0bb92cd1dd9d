import csv

import numpy as np
import pytest
import soundfile

from mmcl.data.speech.fluent_speech_commands import FluentSpeechCommands, intent_names
from mmcl.errors import DataError, MissingDataError

HEADER = ["", "path", "speakerId", "transcription", "action", "object", "location"]
ROWS = {
    "train": [
        ("2BqVo8kVB2Skwgyb", "a1", "Turn on the lights", "activate", "lights", "none"),
        ("4aGjX3AG5xcxeL7a", "a1", "Kitchen lights on", "activate", "lights", "kitchen"),
        ("4aGjX3AG5xcxeL7a", "a2", "Language settings", "change language", "none", "none"),
    ],
    "valid": [("2BqVo8kVB2Skwgyb", "b1", "Switch the lights on, please", "activate", "lights", "none")],
    "test": [("52XVOeXMXYuaElyw", "c1", "Get me the newspaper", "bring", "newspaper", "none")],
}
CLASSES = ("activate lights kitchen", "activate lights", "bring newspaper", "change language")  # sorted as triples


def write_csv(path, rows, header=HEADER):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    for split, rows in ROWS.items():
        lines = []
        for i, (speaker, name, *rest) in enumerate(rows):
            path = f"wavs/speakers/{speaker}/{name}.wav"
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / path, 0.3 * np.sin(np.arange(1600 * (i + 1)) * 0.2), 16_000)
            lines.append([i, path, speaker, *rest])
        write_csv(tmp_path / "data" / f"{split}_data.csv", lines)
    return tmp_path


def test_reads_the_layout_of_the_owner(root):
    dataset = FluentSpeechCommands(root)
    assert dataset.classes == CLASSES
    assert dataset.labels == [1, 0, 3]
    assert dataset.texts == ["Turn on the lights", "Kitchen lights on", "Language settings"]
    sample = dataset[1]
    assert sample["id"] == "wavs/speakers/4aGjX3AG5xcxeL7a/a1.wav"
    assert sample["audio"].shape == (3200,)
    assert sample["speaker"] == "4aGjX3AG5xcxeL7a"
    assert dict(sample["entities"]) == {"action": "activate", "object": "lights", "location": "kitchen"}


def test_all_splits_have_the_same_classes(root):
    assert FluentSpeechCommands(root, "valid").classes == CLASSES
    test = FluentSpeechCommands(root, "test")
    assert (test.classes, test.labels) == (CLASSES, [2])
    assert FluentSpeechCommands(root, "valid").texts == ["Switch the lights on, please"], "a comma in quotes"


def test_intent_names_are_distinct():
    rooms = ("none", "bedroom", "kitchen", "washroom")
    intents = [(a, "lights", room) for a in ("activate", "deactivate") for room in rooms]
    intents += [(a, thing, "none") for a in ("activate", "deactivate") for thing in ("lamp", "music")]
    intents += [(a, "heat", room) for a in ("increase", "decrease") for room in rooms]
    intents += [(a, "volume", "none") for a in ("increase", "decrease")]
    intents += [("change language", to, "none") for to in ("none", "Chinese", "English", "German", "Korean")]
    intents += [("bring", thing, "none") for thing in ("juice", "newspaper", "shoes", "socks")]
    names = intent_names(intents)
    assert len(set(names)) == 31
    assert not any("none" in name or "_" in name for name in names)
    assert "change language Korean" in names and "increase heat washroom" in names


@pytest.mark.parametrize(
    ("intents", "names"),
    [
        ([("turn_on", "none", "none")], ["turn on"]),
        ([("none", "none", "none")], ["none none none"]),
        ([("a", "none", "b"), ("a", "b", "none"), ("c", "none", "none")], ["a none b", "a b none", "c"]),
        ([("turn_on", "none", "none"), ("turn on", "none", "none")], ["turn_on/none/none", "turn on/none/none"]),
    ],
)
def test_colliding_names_are_written_in_full(intents, names):
    assert intent_names(intents) == names


def test_csv_that_names_a_missing_recording(root):
    (root / "wavs/speakers/4aGjX3AG5xcxeL7a/a1.wav").unlink()
    with pytest.raises(MissingDataError) as caught:
        FluentSpeechCommands(root, "train")
    message = str(caught.value)
    assert f"{root / 'data' / 'train_data.csv'} line 3" in message
    assert "wavs/speakers/4aGjX3AG5xcxeL7a/a1.wav" in message
    assert "(1 of 3 recordings are missing)" in message
    assert len(FluentSpeechCommands(root, "test")) == 1, "a split that is whole can be used"


def test_missing_folder_of_a_speaker(root):
    for name in ("a1", "a2"):
        (root / f"wavs/speakers/4aGjX3AG5xcxeL7a/{name}.wav").unlink()
    (root / "wavs/speakers/4aGjX3AG5xcxeL7a").rmdir()
    with pytest.raises(MissingDataError, match=r"line 3 .*\(2 of 3 recordings are missing\)"):
        FluentSpeechCommands(root, "train")


def test_missing_csv(root):
    (root / "data" / "valid_data.csv").unlink()
    with pytest.raises(MissingDataError, match=r"there is no file .*valid_data\.csv, which lists recordings"):
        FluentSpeechCommands(root, "train")


def test_missing_columns(root):
    write_csv(root / "data" / "train_data.csv", [], header=["path", "speakerId", "text", "action", "object"])
    with pytest.raises(DataError, match=r"train_data\.csv has no column transcription, location, expected path, "):
        FluentSpeechCommands(root, "test")


def test_empty_csv(root):
    (root / "data" / "train_data.csv").write_text("")
    with pytest.raises(DataError, match="has no column path, speakerId"):
        FluentSpeechCommands(root)


def test_incomplete_line_raises(root):
    with (root / "data" / "train_data.csv").open("a") as file:
        file.write("3,wavs/speakers/4aGjX3AG5xcxeL7a/a1.wav,4aGjX3AG5xcxeL7a,Lights")
    with pytest.raises(DataError, match=r"train_data\.csv line 5 has 4 cells, expected 7 as in line 1"):
        FluentSpeechCommands(root)


def test_line_without_path(root):
    with (root / "data" / "train_data.csv").open("a") as file:
        file.write("3,,4aGjX3AG5xcxeL7a,Lights,activate,lights,none\n")
    with pytest.raises(DataError, match=r"line 5 has no value for path"):
        FluentSpeechCommands(root)


def test_not_a_csv_file(root):
    (root / "data" / "train_data.csv").write_bytes(b"\xff\xfe\x00\x01" * 10)
    with pytest.raises(DataError, match=r"train_data\.csv line 1 is not UTF-8"):
        FluentSpeechCommands(root)


def test_csv_with_byte_order_mark_and_other_columns(root):
    path = root / "data" / "test_data.csv"
    text = path.read_text().replace(",path,", "path,").replace("\n0,", "\n")
    path.write_text("\ufeff" + text.replace("location", "location,room").replace(",none", ",none,1"), encoding="utf-8")
    assert FluentSpeechCommands(root, "test").texts == ["Get me the newspaper"]


def test_real_copy(data_dir):
    root = data_dir / "fluent_speech_commands"
    if not root.is_dir():
        pytest.skip("MMCL_DATA has no fluent_speech_commands")
    sizes = {split: len(FluentSpeechCommands(root, split)) for split in ("train", "valid", "test")}
    assert sizes == {"train": 23_132, "valid": 3_118, "test": 3_793}
    assert len(FluentSpeechCommands(root).classes) == 31
