import json
import logging

import numpy as np
import pytest
import soundfile

from mmcl.data.speech.slurp import Slurp, normalized_text, read_sentences
from mmcl.errors import ConfigError, DataError, MissingDataError

SPLITS = ("train", "valid", "test")


def row(number, scenario, action, tokens, entities=(), recordings=("", "-headset"), **other):
    """A line of annotations with recordings named after its number."""
    return {
        "slurp_id": number,
        "sentence": " ".join(tokens).replace(" '", "'"),
        "intent": "noise",
        "scenario": scenario,
        "action": action,
        "tokens": [{"surface": token, "id": i} for i, token in enumerate(tokens)],
        "entities": [{"type": type, "span": span} for type, span in entities],
        "recordings": [{"file": f"audio-{number}{suffix}.flac", "wer": 0.0} for suffix in recordings],
        **other,
    }


ALARM = row(1, "alarm", "set", ["Wake", "me", "at", "nine", "am", "on", "Friday"], [("time", [3, 4]), ("date", [6])])
LIGHT = row(2, "iot", "hue_lightoff", ["lights", "off"])
LISTS = row(3, "lists", "createoradd", ["put", "tea", "and", "milk", "on", "it"], [("item", [1]), ("item", [3])])
ROUTE = row(4, "transport", "query", ["is", "king", "'s", "park", "far", "?"], [("place_name", [1, 2, 3])])
ROWS = {"train": [ALARM, LIGHT], "devel": [LISTS], "test": [ROUTE]}
CLASSES = ("alarm set", "iot hue lightoff", "lists createoradd", "transport query")


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return path


def write(root, rows=ROWS, annotations="dataset/slurp", audio="audio/slurp_real"):
    (root / audio).mkdir(parents=True, exist_ok=True)
    for name, lines in rows.items():
        write_rows(root / annotations / f"{name}.jsonl", lines)
        for each in lines:
            for i, recording in enumerate(each["recordings"]):
                waveform = 0.2 * np.sin(np.arange(1600 * (i + 1)) * 0.1)
                soundfile.write(root / audio / recording["file"], waveform, 16_000)
    return root


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "slurp")


@pytest.fixture(autouse=True)
def warnings_are_seen(caplog):
    caplog.set_level(logging.WARNING)


def ids(dataset):
    return [utterance.id for utterance in dataset.utterances]


# --- reading


def test_reads_the_layout_of_the_owner(root, caplog):
    dataset = Slurp(root)
    assert ids(dataset) == ["audio-1", "audio-1-headset", "audio-2", "audio-2-headset"]
    assert dataset.classes == CLASSES
    assert dataset.labels == [0, 0, 1, 1]
    assert dataset.texts == ["wake me at nine am on friday"] * 2 + ["lights off"] * 2
    assert dataset.entities == [(("time", "nine am"), ("date", "friday"))] * 2 + [(), ()]
    assert dataset[1]["audio"].shape == (3200,)
    assert caplog.records == []


@pytest.mark.parametrize("annotations", ["dataset/slurp", "."])
@pytest.mark.parametrize("audio", ["audio/slurp_real", "slurp_real", "audio"])
def test_layouts(tmp_path, annotations, audio):
    write(tmp_path, annotations=annotations, audio=audio)
    for split, name in zip(SPLITS, ("audio-1", "audio-3", "audio-4"), strict=True):
        dataset = Slurp(tmp_path, split)
        assert ids(dataset)[0] == name
        assert dataset[0]["audio"].shape == (1600,)


def test_recordings_in_two_places(root):
    (root / "slurp_real").mkdir()
    (root / "audio/slurp_real/audio-1.flac").rename(root / "slurp_real/audio-1.flac")
    assert [utterance.path.parent.name for utterance in Slurp(root).utterances][:2] == ["slurp_real"] * 2
    assert len(Slurp(root)) == 4


def test_all_splits_have_the_same_classes_and_superclasses(root):
    for split in SPLITS:
        dataset = Slurp(root, split)
        assert dataset.classes == CLASSES
        assert dataset.superclasses == ("alarm", "iot", "lists", "transport")
    assert Slurp(root, "test").labels == [3, 3], "an intent that only the test has"
    joined = Slurp(root) + Slurp(root, "valid")
    assert (joined.labels, joined.superclasses) == ([0, 0, 1, 1, 2, 2], ("alarm", "iot", "lists", "transport"))


def test_intents_of_one_scenario_share_its_superclass(tmp_path):
    rows = {"test": [row(i, "iot", action, ["on"]) for i, action in enumerate(("wemo_on", "coffee"))]}
    dataset = Slurp(write(tmp_path, rows), "test")
    assert (dataset.classes, dataset.superclasses) == (("iot coffee", "iot wemo on"), ("iot", "iot"))


def test_microphones(root):
    assert ids(Slurp(root, recordings="headset")) == ["audio-1-headset", "audio-2-headset"]
    assert ids(Slurp(root, recordings="distant")) == ["audio-1", "audio-2"]
    with pytest.raises(ConfigError, match="recordings is 'close', expected 'all', 'headset' or 'distant'"):
        Slurp(root, recordings="close")


def test_synthetic_recordings_are_added_to_train_only(root):
    spoken = row(5, "alarm", "remove", ["no", "alarm"], recordings=["-synth"])
    write(root, {"train_synthetic": [spoken]}, audio="audio/slurp_synth")
    assert len(Slurp(root)) == 4
    dataset = Slurp(root, synthetic=True, recordings="headset")
    assert ids(dataset) == ["audio-1-headset", "audio-2-headset", "audio-5-synth"], "they have no microphone"
    assert dataset.classes[dataset.labels[2]] == "alarm remove"
    assert ids(Slurp(root, "test", synthetic=True)) == ["audio-4", "audio-4-headset"]
    assert Slurp(root, "test").classes == dataset.classes
    (root / "dataset/slurp/train_synthetic.jsonl").unlink()
    with pytest.raises(MissingDataError, match=r"there is no file .*train_synthetic\.jsonl"):
        Slurp(root, synthetic=True)


# --- texts and entities


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Turn  ON\tthe lights!", "turn on the lights"),
        ("what's on at eight o'clock", "what's on at eight o'clock"),
        ("the dogs' 'bed'", "the dogs bed"),
        ("it\u2019s u. s. d.", "it's u s d"),
        ("jack@gmail dot com, at&t #fail snake_case", "jack gmail dot com at t fail snake case"),
        ("Café 24", "café 24"),
        ("... ?", ""),
    ],
)
def test_normalized(text, words):
    assert normalized_text(text) == words
    assert normalized_text(words) == words


def entities(tmp_path, tokens, *annotated):
    path = write_rows(tmp_path / "test.jsonl", [row(7, "a", "b", tokens, annotated)])
    return list(read_sentences(path)[0].entities)


def test_repeated_entities_keep_the_order_of_speech(tmp_path):
    tokens = ["add", "tea", "milk", "tea", "today"]
    annotated = [("item", [3]), ("date", [4]), ("item", [1]), ("item", [2])]
    assert entities(tmp_path, tokens, *annotated) == [
        ("item", "tea"),
        ("item", "milk"),
        ("item", "tea"),
        ("date", "today"),
    ]


@pytest.mark.parametrize(
    ("tokens", "span", "value"),
    [
        (["at", "King", "'s", "Park"], [1, 2, 3], "king's park"),
        (["song", "ca", "n't", "stop"], [1, 2, 3], "can't stop"),
        (["in", "u.", "s.", "d."], [1, 2, 3], "u s d"),
        (["the", "n'tsimi", "river"], [0, 1, 2], "the n'tsimi river"),
    ],
)
def test_entity_values_are_normalized_as_the_transcript(tmp_path, tokens, span, value):
    assert entities(tmp_path, tokens, ("name", span)) == [("name", value)]


def test_entities_without_a_word_are_skipped_and_counted(tmp_path, caplog):
    tokens = ["wake", "me", "?"]
    spans = [("time", [0]), ("date", []), ("date", [3]), ("place", [-1]), ("person", [2])]
    assert entities(tmp_path, tokens, *spans) == [("time", "wake")]
    (record,) = caplog.records
    for part in ("4 entities", str(tmp_path / "test.jsonl"), "slurp_id 7 and type date"):
        assert part in record.getMessage()


def test_sentences_can_be_read_without_recordings(tmp_path):
    (sentence,) = read_sentences(write_rows(tmp_path / "some.jsonl", [LISTS]))
    assert (sentence.id, sentence.text, sentence.intent) == ("3", "put tea and milk on it", "lists createoradd")
    assert (sentence.scenario, sentence.action) == ("lists", "createoradd")
    assert sentence.entities == (("item", "tea"), ("item", "milk"))
    assert sentence.recordings == ("audio-3.flac", "audio-3-headset.flac")
    assert sentence.annotation == LISTS


# --- skipped recordings


def test_empty_transcripts_are_skipped_and_counted(root, caplog):
    write_rows(root / "dataset/slurp/train.jsonl", [row(2, "iot", "hue_lightoff", ["..."]), ALARM])
    assert ids(Slurp(root)) == ["audio-1", "audio-1-headset"]
    (record,) = caplog.records
    for part in ("2 of 4 recordings", str(root / "dataset/slurp/train.jsonl"), "first audio-2.flac"):
        assert part in record.getMessage()


def test_long_transcripts_are_skipped_and_counted(root, caplog):
    assert len(Slurp(root, max_characters=len("wake me at nine am on friday"))) == 4
    assert caplog.records == []
    assert ids(Slurp(root, max_characters=len("wake me at nine am on friday") - 1)) == ["audio-2", "audio-2-headset"]
    assert "2 of 4 recordings" in caplog.text
    assert "more than 27 characters, first audio-1.flac" in caplog.text


def test_long_recordings_are_skipped(root):
    assert ids(Slurp(root, max_seconds=0.15)) == ["audio-1", "audio-2"]


def test_missing_recordings_raise(root):
    (root / "audio/slurp_real/audio-2.flac").unlink()
    with pytest.raises(MissingDataError) as caught:
        Slurp(root)
    message = str(caught.value)
    for part in (
        "1 of 4 recordings",
        str(root / "dataset/slurp/train.jsonl"),
        "(25.0%, expected at most 0.0%), first audio-2.flac",
        "audio/slurp_real, slurp_real and audio of",
        "raise max_missing, or get it from",
    ):
        assert part in message
    assert "\n" not in message
    assert len(Slurp(root, "test")) == 2, "a split that is whole can be used"
    assert len(Slurp(root, recordings="headset")) == 2, "only those that are to be used must be there"


def test_max_missing_allows_missing_recordings(root, caplog):
    (root / "audio/slurp_real/audio-2.flac").unlink()
    assert ids(Slurp(root, max_missing=0.25)) == ["audio-1", "audio-1-headset", "audio-2-headset"]
    assert "1 of 4 recordings" in caplog.text
    assert "first audio-2.flac" in caplog.text
    with pytest.raises(MissingDataError, match=r"\(25\.0%, expected at most 24\.0%\)"):
        Slurp(root, max_missing=0.24)
    for share in (-0.1, 1.1):
        with pytest.raises(ConfigError, match=f"max_missing is {share}, expected .* 0 to 1"):
            Slurp(root, max_missing=share)


def test_no_recordings_at_all(tmp_path):
    write_rows(tmp_path / "test.jsonl", [ROUTE])
    with pytest.raises(MissingDataError, match=r"2 of 2 recordings .*\(100\.0%, .* first audio-4\.flac"):
        Slurp(tmp_path, "test")


# --- errors


def test_missing_annotations_of_a_split(root):
    (root / "dataset/slurp/train.jsonl").unlink()
    with pytest.raises(MissingDataError, match=r"there is no file .*train\.jsonl, which lists recordings"):
        Slurp(root, "train")
    assert Slurp(root, "test").classes == ("lists createoradd", "transport query")


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(
        MissingDataError, match=r"has no dataset/slurp or train\.jsonl or devel\.jsonl or test\.jsonl; get"
    ):
        Slurp(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b'"\xff"',
        json.dumps({key: value for key, value in LIGHT.items() if key != "scenario"}).encode(),
        json.dumps({key: value for key, value in LIGHT.items() if key != "recordings"}).encode(),
        json.dumps({**LIGHT, "sentence": None}).encode(),
        json.dumps({**LIGHT, "action": 3}).encode(),
        json.dumps({**LIGHT, "recordings": [{}]}).encode(),
        json.dumps({**LIGHT, "entities": [{"type": "time", "span": ["0"]}]}).encode(),
    ],
)
def test_malformed_line_raises(root, line):
    with (root / "dataset/slurp/train.jsonl").open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(DataError, match=r"train\.jsonl line 3"):
        Slurp(root)


# --- the real text of SLURP


@pytest.fixture(scope="module")
def real_text(data_dir):
    folder = data_dir / "slurp"
    if not folder.is_dir():
        pytest.skip("MMCL_DATA has no slurp")
    return {name: read_sentences(folder / f"{name}.jsonl") for name in ("devel", "test")}


def test_numbers_of_the_real_text(real_text):
    assert {name: len(sentences) for name, sentences in real_text.items()} == {"devel": 2_033, "test": 2_974}
    sentences = real_text["devel"] + real_text["test"]
    assert {name: len({each.intent for each in part}) for name, part in real_text.items()} == {"devel": 59, "test": 59}
    assert len({each.intent for each in sentences}) == 60
    assert len({each.scenario for each in sentences}) == 18
    assert sum(len(each.entities) for each in sentences) == 4_845
    assert {name: sum(len(each.recordings) for each in part) for name, part in real_text.items()} == {
        "devel": 8_690,
        "test": 13_078,
    }


def test_values_of_the_real_text_are_words_of_the_transcripts(real_text):
    pairs = [(each.text, value) for part in real_text.values() for each in part for _, value in each.entities]
    elsewhere = [pair for pair in pairs if f" {pair[1]} " not in f" {pair[0]} "]
    assert len(elsewhere) == 14, "where the owner's tokens are not those of the sentence, as in 'rihana'"
    assert ("tell me about rihanna", "rihana") in elsewhere


def test_the_real_text_without_recordings(data_dir, real_text):
    with pytest.raises(MissingDataError, match=r"8690 of 8690 recordings .* are missing"):
        Slurp(data_dir / "slurp", "valid")
    with pytest.raises(MissingDataError, match=r"there is no file .*train\.jsonl"):
        Slurp(data_dir / "slurp", "train")
