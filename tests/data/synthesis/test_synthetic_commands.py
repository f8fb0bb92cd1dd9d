import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import pytest
import soundfile

from mmcl.data.base import SAMPLE_RATE
from mmcl.data.speech.fluent_speech_commands import FluentSpeechCommands
from mmcl.data.synthesis import synthetic_commands
from mmcl.data.synthesis.command_plan import CommandParameters, record
from mmcl.data.synthesis.synthetic_commands import SyntheticCommands, make_synthetic_commands
from mmcl.errors import ConfigError, DataError, MissingDataError

CHECKOUT = Path(synthetic_commands.__file__).parents[3]
TINY = {"utterances_per_intent": (4, 2, 2), "intents": 4}

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None, reason="espeakng-loader is not installed"
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_synthetic_commands(tmp_path_factory.mktemp("corpus") / "tiny", **TINY, progress=False)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- corpus


@needs_espeak
def test_is_written_in_the_layout_of_fluent_speech_commands(corpus):
    assert sorted(path.name for path in corpus.iterdir()) == ["corpus.json", "data", "wavs"]
    for split, size in zip(("train", "valid", "test"), (16, 8, 8), strict=True):
        dataset = FluentSpeechCommands(corpus, split)
        assert len(dataset) == size
        assert dataset.classes == ("activate music", "deactivate music", "decrease volume", "increase volume")
        with (corpus / "data" / f"{split}_data.csv").open(newline="") as file:
            header, *rows = csv.reader(file)
        assert header == ["", "path", "speakerId", "transcription", "action", "object", "location"]
        assert [row[0] for row in rows] == [str(index) for index in range(size)]
        for row in rows:
            assert row[1] == f"wavs/speakers/{row[2]}/{int(row[0]):05d}.wav"


@needs_espeak
def test_recordings_are_16_khz_16_bit_mono_speech_between_near_silence(corpus):
    paths = sorted(corpus.glob("wavs/speakers/*/*.wav"))
    assert len(paths) == 32
    for path in paths:
        with wave.open(str(path)) as file:
            assert file.getparams()[:3] == (1, 2, SAMPLE_RATE)
        waveform, _ = soundfile.read(path)
        assert 0.5 < len(waveform) / SAMPLE_RATE < 4
        assert abs(waveform[: SAMPLE_RATE // 20]).max() <= 60 / 32768 < 0.05 < abs(waveform).max()


@needs_espeak
def test_manifest_says_what_it_is(corpus):
    manifest = json.loads((corpus / "corpus.json").read_text())
    assert manifest["parameters"] == {"utterances_per_intent": [4, 2, 2], "intents": 4, "seed": 0}
    assert manifest["utterances"] == {"train": 16, "valid": 8, "test": 8}
    assert manifest["espeak_ng"] == synthetic_commands.espeak_version()
    train = set(FluentSpeechCommands(corpus, "train").texts)
    for split in ("valid", "test"):
        texts = FluentSpeechCommands(corpus, split).texts
        assert manifest["unseen_wording_share"][split] == sum(text not in train for text in texts) / len(texts)
        assert manifest["voices"][split] == len({u.speaker for u in FluentSpeechCommands(corpus, split).utterances})
    assert manifest["unseen_wording_share"]["test"] >= 0.5


@needs_espeak
def test_generation_is_deterministic(corpus, tmp_path):
    again = make_synthetic_commands(tmp_path / "again", **TINY, progress=False)
    assert contents(again) == contents(corpus)
    other = make_synthetic_commands(tmp_path / "other", **TINY, seed=1, progress=False)
    assert contents(other).keys() != contents(corpus).keys()


@needs_espeak
def test_reading_generates_a_missing_corpus_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path))
    size = {"utterances_per_intent": [1, 1, 1], "intents": 2}
    train = SyntheticCommands(**size, progress=False)
    assert train.root == tmp_path / "data" / CommandParameters((1, 1, 1), 2).folder
    assert (len(train), train.split, train[0]["audio"].dim()) == (2, "train", 1)
    monkeypatch.setattr(synthetic_commands, "record", None)  # fails if called
    assert len(SyntheticCommands(split="test", **size)) == 2
    assert len(SyntheticCommands(train.root, "valid")) == 2, "an explicit folder needs no numbers"


def test_different_parameters_have_different_folders():
    corpora = [
        CommandParameters(),
        CommandParameters(intents=30),
        CommandParameters(seed=1),
        CommandParameters((72, 12, 15)),
    ]
    assert len({parameters.folder for parameters in corpora}) == len(corpora)
    assert SyntheticCommands.source.folder == CommandParameters((72, 12, 14), 31, 0).folder


@needs_espeak
def test_progress_is_shown_on_request(tmp_path, capfd):
    size = {"utterances_per_intent": (1, 1, 1), "intents": 1}
    make_synthetic_commands(tmp_path / "silent", **size, progress=False)
    assert capfd.readouterr() == ("", "")
    make_synthetic_commands(tmp_path / "shown", **size)
    shown = capfd.readouterr()
    assert shown.out == "" and "speaking commands" in shown.err and "3/3" in shown.err


# --- errors


@needs_espeak
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_interruption_leaves_no_manifest(tmp_path, monkeypatch, corpus, error):
    done = []

    def some(command):
        done.append(command)
        if len(done) == 10:
            raise error
        return record(command)

    root = tmp_path / "corpus"
    monkeypatch.setattr(synthetic_commands, "record", some)
    expected = KeyboardInterrupt if error is KeyboardInterrupt else DataError
    with pytest.raises(expected) as caught:
        make_synthetic_commands(root, utterances_per_intent=(100, 2, 2), intents=4, progress=False)
    if expected is DataError:
        assert str(caught.value) == (
            f"{root} cannot be written (No space left on device): free some disk, or choose another root"
        )
    assert len(done) < 200, "the rest of the 400 is not begun"
    assert [path.name for path in tmp_path.iterdir()] == [".corpus.lock"]
    monkeypatch.undo()
    make_synthetic_commands(root, **TINY, progress=False)
    assert contents(root) == contents(corpus)


def start(root, utterances=(4, 2, 2)):
    code = (
        "import sys; from mmcl.data.synthesis.synthetic_commands import make_synthetic_commands\n"
        f"make_synthetic_commands({str(root)!r}, utterances_per_intent={utterances}, intents=4, progress=False)"
    )
    environment = {**os.environ, "TMPDIR": str(root.parent)}  # a killed process cannot clean up
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=CHECKOUT, env=environment)


@needs_espeak
def test_killed_generation_starts_again(tmp_path, corpus):
    root = tmp_path / "corpus"
    process = start(root, (400, 2, 2))
    partial = tmp_path / ".corpus.partial"
    while process.poll() is None and sum(1 for _ in partial.rglob("*.wav")) < 10:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.stderr.read()
    process.stderr.close()
    assert partial.is_dir() and not root.exists()
    make_synthetic_commands(root, **TINY, progress=False)
    assert contents(root) == contents(corpus)
    assert not partial.exists()


@needs_espeak
def test_concurrent_processes_both_succeed(tmp_path, corpus):
    processes = [start(tmp_path / "corpus") for _ in range(2)]
    for process in processes:
        assert process.communicate() == (None, "") and process.returncode == 0
    assert contents(tmp_path / "corpus") == contents(corpus)
    assert not (tmp_path / ".corpus.partial").exists()


@needs_espeak
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"intents": 5}, "of intents 4, expected 5"),
        ({"utterances_per_intent": [4, 2, 3]}, r"of utterances_per_intent \[4, 2, 2\], expected \[4, 2, 3\]"),
        ({"seed": 7}, "of seed 0, expected 7"),
    ],
)
def test_corpus_with_other_parameters_raises(corpus, asked, message):
    before = contents(corpus)
    for read in (make_synthetic_commands, SyntheticCommands):
        with pytest.raises(DataError, match=f"holds a corpus {message}: choose another root, or remove that folder"):
            read(corpus, **asked)
    with pytest.raises(DataError, match=message):
        SyntheticCommands(corpus, **asked, make=False)
    assert contents(corpus) == before


@needs_espeak
def test_corpus_of_another_edition_raises(corpus, monkeypatch):
    monkeypatch.setattr(synthetic_commands, "COMMANDS_EDITION", "0123abcd")
    with pytest.raises(DataError, match="holds a corpus of edition .*, expected 0123abcd: choose another root, or"):
        SyntheticCommands(corpus)


def test_unrelated_folder_raises_and_is_unchanged(tmp_path):
    (tmp_path / "thesis.txt").write_text("all of it")
    for root in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(
            DataError, match=r"has no corpus\.json, expected a synthetic corpus or nothing: choose anoth"
        ):
            make_synthetic_commands(root, **TINY, progress=False)
    assert contents(tmp_path) == {"thesis.txt": b"all of it"}


@needs_espeak
def test_an_empty_folder_is_filled(tmp_path):
    assert len(SyntheticCommands(tmp_path, utterances_per_intent=(1, 1, 1), intents=1, progress=False)) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"edition": "1", "parameters": 3}', "\0"])
def test_damaged_manifest(tmp_path, content):
    (tmp_path / "corpus.json").write_text(content)
    with pytest.raises(DataError, match=r"corpus\.json cannot be read \(.*\): remove"):
        SyntheticCommands(tmp_path)


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(
        DataError, match=r"file/corpus cannot be written \(.*\): free some disk, or choose another root"
    ):
        make_synthetic_commands(tmp_path / "file" / "corpus", **TINY, progress=False)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"intents": 0}, r"intents is 0, expected 1 to 37"),
        ({"intents": 99}, "intents is 99, expected 1 to"),
        ({"intents": "all"}, "intents is 'all', expected 1 to"),
        ({"utterances_per_intent": [4, 0, 2]}, r"utterances_per_intent is \[4, 0, 2\], expected 3 numbers for train, "),
        ({"utterances_per_intent": (4, 2)}, r"utterances_per_intent is \(4, 2\), expected 3 numbers"),
        ({"utterances_per_intent": 4}, "utterances_per_intent is 4, expected 3 numbers"),
        ({"utterances_per_intent": [4, 2, 2.5]}, "expected 3 numbers for train, valid and test, each at least 1"),
        ({"seed": -1}, "seed is -1, expected .* 0"),
        ({"seed": True}, "seed is True, expected"),
    ],
)
def test_invalid_parameters_raise(tmp_path, values, message):
    with pytest.raises(ConfigError, match=message):
        SyntheticCommands(tmp_path / "corpus", **values)
    assert list(tmp_path.iterdir()) == []


def test_unknown_split_raises_before_generation(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic_commands, "record", None)
    with pytest.raises(DataError, match=r"has no split 'tset' \(did you mean 'test'\?\)"):
        SyntheticCommands(tmp_path / "corpus", "tset", **TINY)
    assert list(tmp_path.iterdir()) == []


def test_missing_corpus_with_make_false_raises(tmp_path):
    with pytest.raises(MissingDataError, match="there is no folder .*; make it with 'mmcl data make synthetic_command"):
        SyntheticCommands(tmp_path / "corpus", make=False)


def test_without_espeak_it_says_what_to_install_and_still_reads(tmp_path, monkeypatch, request):
    if importlib.util.find_spec("espeakng_loader") is not None:
        assert len(SyntheticCommands(request.getfixturevalue("corpus"), "test")) == 8
    from mmcl.data.synthesis import espeak

    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    espeak._private_copy.cache_clear()
    espeak.espeak_version.cache_clear()
    with pytest.raises(MissingDataError, match=r'pip install "mmcl\[synth\]"'):
        make_synthetic_commands(tmp_path / "corpus", **TINY, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == [".corpus.lock"]


def test_listing_does_not_import_torch():
    code = "import sys, mmcl.data.synthesis.synthetic_commands; print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "False\n"
