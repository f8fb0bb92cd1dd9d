import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest
import soundfile

from mmcl.data.speech.slurp import ANNOTATION_FILES, Slurp, read_sentences
from mmcl.data.synthesis import command_plan, espeak, spoken_slurp
from mmcl.data.synthesis.command_plan import record, voices
from mmcl.data.synthesis.spoken_slurp import SlurpParameters, SpokenSlurp, plan_slurp
from mmcl.errors import ConfigError, DataError, MissingDataError

CHECKOUT = Path(spoken_slurp.__file__).parents[3]
TINY = {"sentences": 9, "intents": 3, "progress": False}
WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def line(number, scenario, action, words):
    tokens = words.split()
    return {
        "slurp_id": number,
        "sentence": words,
        "scenario": scenario,
        "action": action,
        "tokens": [{"surface": token, "id": i} for i, token in enumerate(tokens)],
        "entities": [{"type": "number", "span": [len(tokens) - 1]}],
        "recordings": [{"file": f"audio-99{number}.flac"}],
    }


def write_text(root, sentences_per_intent):
    """Annotations of a few intents, half in each of the two files."""
    rows = [
        line(100 * i + j, *intent, f"{intent[1]} {WORDS[j]}")
        for i, (intent, count) in enumerate(sentences_per_intent.items())
        for j in range(count)
    ]
    root.mkdir(exist_ok=True)
    for name, part in (("devel", rows[::2]), ("test", rows[1::2])):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return root


@pytest.fixture(scope="module")
def text_root(tmp_path_factory):
    intents = {("alarm", "set"): 10, ("alarm", "query"): 5, ("alarm", "remove"): 5, ("play", "radio"): 10}
    return write_text(tmp_path_factory.mktemp("text") / "slurp", intents | {("qa", "stock"): 2, ("qa", "maths"): 1})


@pytest.fixture(scope="module")
def needs_espeak():
    pytest.importorskip("espeakng_loader", reason="the extra 'synth' is not installed")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, text_root, needs_espeak):
    return SpokenSlurp.generate(tmp_path_factory.mktemp("corpus") / "tiny", text_root=text_root, **TINY)


@pytest.fixture(scope="module")
def real_text(data_dir):
    folder = data_dir / "slurp"
    if not folder.is_dir():
        pytest.skip("MMCL_DATA has no slurp")
    return [sentence for name in ("devel", "test") for sentence in read_sentences(folder / f"{name}.jsonl")]


def sentences_in(root):
    return [sentence for name in ("devel", "test") for sentence in read_sentences(root / f"{name}.jsonl")]


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- plan


def test_splits_of_each_intent(text_root):
    planned = plan_slurp(SlurpParameters(), sentences_in(text_root))
    shares = {split: Counter(sentence.intent for sentence, _ in said) for split, said in planned.items()}
    assert shares == {
        "train": {"alarm set": 7, "alarm query": 3, "alarm remove": 3, "play radio": 7, "qa stock": 1, "qa maths": 1},
        "valid": {"alarm set": 1, "alarm query": 1, "alarm remove": 1, "play radio": 1},
        "test": {"alarm set": 2, "alarm query": 1, "alarm remove": 1, "play radio": 2, "qa stock": 1},
    }


def test_plan_of_the_real_text(real_text):
    planned = plan_slurp(SlurpParameters(), real_text)
    assert {split: len(said) for split, said in planned.items()} == {"train": 3_507, "valid": 500, "test": 1_000}
    ids = [sentence.id for said in planned.values() for sentence, _ in said]
    assert len(set(ids)) == len(ids) == 5_007, "each sentence is spoken once"
    intents = {split: {sentence.intent for sentence, _ in said} for split, said in planned.items()}
    assert {split: len(names) for split, names in intents.items()} == {"train": 60, "valid": 59, "test": 60}
    assert intents["train"] - intents["valid"] == {"cooking query"}, "of which there are two sentences"
    speakers = {split: {command.speaker for _, command in said} for split, said in planned.items()}
    for split, drawn in voices().items():
        assert speakers[split] == {f"{voice.accent}-{voice.variant}" for voice in drawn}
    assert not speakers["train"] & speakers["valid"] | speakers["train"] & speakers["test"]
    assert not speakers["valid"] & speakers["test"]


def test_the_plan_of_the_real_text_is_the_same_on_every_machine(real_text):
    """Intended changes must increment _FORMAT and update this digest."""
    planned = {
        split: [(said.id, command) for said, command in part]
        for split, part in plan_slurp(SlurpParameters(), real_text).items()
    }
    assert sha256(repr(planned).encode()).hexdigest()[:16] == "b7dd30aa04907f18"


def test_the_order_of_the_text_does_not_matter(text_root):
    sentences = sentences_in(text_root)
    assert plan_slurp(SlurpParameters(), sentences) == plan_slurp(SlurpParameters(), sentences[::-1])


def test_sentences_are_taken_from_intents_in_turn(text_root):
    planned = plan_slurp(SlurpParameters(sentences=18), sentences_in(text_root))
    shares = Counter(sentence.intent for said in planned.values() for sentence, _ in said)
    assert shares == {
        "alarm query": 4, "alarm remove": 4, "alarm set": 4, "play radio": 3, "qa stock": 2, "qa maths": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("intents", "names"),
    [
        (1, {"alarm query"}),
        (2, {"alarm query", "play radio"}),
        (3, {"alarm query", "alarm remove", "play radio"}),
        (4, {"alarm query", "alarm remove", "play radio", "qa maths"}),
        (5, {"alarm query", "alarm remove", "alarm set", "play radio", "qa maths"}),
    ],
)
def test_few_intents_span_more_than_one_scenario(text_root, intents, names):
    planned = plan_slurp(SlurpParameters(intents=intents), sentences_in(text_root))
    assert {sentence.intent for said in planned.values() for sentence, _ in said} == names


def test_seeds_differ_in_splits_and_voices(text_root):
    plans = [plan_slurp(SlurpParameters(seed=seed), sentences_in(text_root)) for seed in (0, 0, 1)]
    assert plans[0] == plans[1]
    ids, speakers = (
        [[key(item) for item in each["train"]] for each in (plans[0], plans[2])]
        for key in (lambda item: item[0].id, lambda item: item[1].speaker)
    )
    assert ids[0] != ids[1] and speakers[0] != speakers[1]


# --- recordings


def test_is_written_in_the_layout_of_slurp(corpus, text_root):
    assert sorted(path.name for path in corpus.iterdir()) == ["audio", "corpus.json", "dataset"]
    said = {sentence.id: sentence for sentence in sentences_in(text_root)}
    seen = []
    for split, size in (("train", 3), ("valid", 3), ("test", 3)):
        dataset = Slurp(corpus, split)
        assert len(dataset) == size
        assert dataset.classes == ("alarm query", "alarm remove", "play radio")
        assert dataset.superclasses == ("alarm", "alarm", "play")
        for utterance in dataset.utterances:
            sentence = said[utterance.id.removeprefix("audio-")]
            assert utterance.text == sentence.text
            assert utterance.entities == sentence.entities != ()
            assert dataset.classes[utterance.label] == sentence.intent
            seen.append(sentence.id)
        for sentence in read_sentences(corpus / "dataset/slurp" / ANNOTATION_FILES[split]):
            assert sentence.annotation.keys() == said[sentence.id].annotation.keys()
    assert len(set(seen)) == len(seen) == len(list(corpus.glob("audio/slurp_real/*"))) == 9


def test_recordings_are_16_khz_16_bit_mono_speech_between_near_silence(corpus):
    for path in corpus.glob("audio/slurp_real/*.flac"):
        info = soundfile.info(path)
        assert (info.format, info.subtype, info.samplerate, info.channels) == ("FLAC", "PCM_16", 16_000, 1)
        waveform, _ = soundfile.read(path)
        assert 0.4 < info.duration < 4
        assert abs(waveform[:800]).max() <= 60 / 32768 < 0.05 < abs(waveform).max()


def test_recordings_are_what_the_plan_says(corpus, text_root):
    sentences = sentences_in(text_root)
    planned = plan_slurp(SlurpParameters(sentences=9, intents=3), sentences)
    sentence, command = planned["test"][0]
    waveform, _ = soundfile.read(corpus / f"audio/slurp_real/audio-{sentence.id}.flac", dtype="int16")
    assert (waveform == record(command)).all(), "no sample is lost"


def test_manifest_says_what_it_is(corpus):
    manifest = json.loads((corpus / "corpus.json").read_text())
    assert {**manifest["parameters"], "text": None} == {"sentences": 9, "intents": 3, "seed": 0, "text": None}
    assert manifest["utterances"] == {"train": 3, "valid": 3, "test": 3}
    assert manifest["espeak_ng"] == espeak.espeak_version()


def test_generation_is_deterministic(corpus, text_root, tmp_path):
    assert contents(SpokenSlurp.generate(tmp_path / "again", text_root=text_root, **TINY)) == contents(corpus)
    other = SpokenSlurp.generate(tmp_path / "other", text_root=text_root, **TINY, seed=1)
    assert contents(other).keys() != contents(corpus).keys()


def test_reading_generates_a_missing_corpus_in_the_cache(tmp_path, monkeypatch, text_root, needs_espeak):
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path))
    train = SpokenSlurp(**TINY, text_root=text_root)
    assert (train.root.parent, len(train), train.split) == (tmp_path / "data", 3, "train")
    monkeypatch.setattr(command_plan, "record", None)  # fails if called
    assert len(SpokenSlurp(split="test", **TINY, text_root=text_root)) == 3
    assert len(SpokenSlurp(train.root, "valid")) == 3, "an explicit folder needs no numbers"


def test_different_parameters_have_different_folders():
    corpora = [
        SlurpParameters(),
        SlurpParameters(sentences=9),
        SlurpParameters(intents=9),
        SlurpParameters(seed=1),
        SlurpParameters(text="0"),
    ]
    assert len({parameters.folder for parameters in corpora}) == len(corpora)
    assert SpokenSlurp.source.folder == SlurpParameters().folder


# --- interruptions


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_interrupted_generation_resumes(tmp_path, monkeypatch, corpus, text_root, error):
    spoken = []

    def some(command):
        if len(spoken) == 4:
            raise error
        spoken.append(command)
        return record(command)

    root = tmp_path / "corpus"
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(command_plan, "record", some)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else DataError) as caught:
        SpokenSlurp.generate(root, text_root=text_root, **TINY)
    if error is not KeyboardInterrupt:
        assert str(caught.value) == (
            f"{root} cannot be written (No space left on device): free some disk, or choose another root"
        )
    assert not root.exists()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob(".corpus.partial/audio/slurp_real/*")}
    assert len(kept) == 4

    def rest(command):
        spoken.append(command)
        return record(command)

    monkeypatch.setattr(command_plan, "record", rest)
    SpokenSlurp.generate(root, text_root=text_root, **TINY)
    assert len(spoken) == len(set(map(repr, spoken))) == 9, "nothing is spoken twice"
    for path, written in kept.items():
        assert (root / "audio/slurp_real" / path.name).stat().st_mtime_ns == written
    assert contents(root) == contents(corpus)
    assert not (tmp_path / ".corpus.partial").exists()


def test_partial_work_with_other_parameters_is_removed(tmp_path, monkeypatch, corpus, text_root):
    def fail(command):
        raise KeyboardInterrupt

    monkeypatch.setattr(command_plan, "record", fail)
    with pytest.raises(KeyboardInterrupt):
        SpokenSlurp.generate(tmp_path / "corpus", text_root=text_root, **TINY, seed=1)
    audio = tmp_path / ".corpus.partial/audio/slurp_real"
    for name in contents(corpus / "audio/slurp_real"):
        (audio / name).write_text("of seed 1")
    monkeypatch.undo()
    assert contents(SpokenSlurp.generate(tmp_path / "corpus", text_root=text_root, **TINY)) == contents(corpus)


def test_killed_generation_leaves_complete_files_only(tmp_path, corpus, text_root):
    root = tmp_path / "corpus"
    code = (
        "import time; from mmcl.data.synthesis import command_plan; from mmcl.data.synthesis import spoken_slurp\n"
        "record = command_plan.record\n"
        "command_plan.record = lambda command: (time.sleep(0.2), record(command))[1]\n"
        f"spoken_slurp.SpokenSlurp.generate({str(root)!r}, text_root={str(text_root)!r}, **{TINY})"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # a killed process cannot clean up
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, cwd=CHECKOUT, env=environment)
    partial = tmp_path / ".corpus.partial"
    while process.poll() is None and not list(partial.rglob("*.flac")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.stderr.read()
    process.stderr.close()
    (partial / "audio/slurp_real/.audio-1.flac.7.tmp").write_text("half")
    SpokenSlurp.generate(root, text_root=text_root, **TINY)
    assert contents(root) == contents(corpus)


# --- errors


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"intents": 4}, "of intents 3, expected 4"),
        ({"sentences": 10}, "of sentences 9, expected 10"),
        ({"seed": 7}, "of seed 0, expected 7"),
    ],
)
def test_corpus_with_other_parameters_raises(corpus, asked, message):
    before = contents(corpus)
    for read in (SpokenSlurp.generate, SpokenSlurp):
        with pytest.raises(DataError, match=f"holds a corpus {message}: choose another root, or remove that folder"):
            read(corpus, **asked)
    assert contents(corpus) == before


def test_corpus_of_other_text_raises(corpus, tmp_path):
    other = write_text(tmp_path / "slurp", {("alarm", "set"): 5})
    with pytest.raises(
        DataError, match="holds a corpus of text [0-9a-f]{16}, expected [0-9a-f]{16}: choose another root"
    ):
        SpokenSlurp(corpus, text_root=other)


def test_modified_text_raises(tmp_path, monkeypatch, needs_espeak):
    write_text(tmp_path / "slurp", {("alarm", "set"): 5})
    monkeypatch.setenv("MMCL_DATA", str(tmp_path))
    with pytest.raises(DataError, match="slurp has digest [0-9a-f]{16}, expected 250fbb89899b6de9"):
        SpokenSlurp(tmp_path / "corpus", progress=False)


def test_missing_text(tmp_path, monkeypatch):
    monkeypatch.setenv("MMCL_DATA", str(tmp_path / "shared"))
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path / "cache"))
    for options in ({}, {"text_root": tmp_path / "own"}):
        with pytest.raises(MissingDataError) as caught:
            SpokenSlurp(tmp_path / "corpus", **options)
        message = str(caught.value)
        assert message.startswith(
            "SLURP's text, which slurp_tts speaks (its text_root), is missing: there is no folder"
        )
        place = tmp_path / "own" if options else tmp_path / "shared" / "slurp"
        assert str(place) in message and "https://github.com/pswietojanski/slurp" in message


def test_one_file_of_the_text_is_missing(tmp_path):
    root = write_text(tmp_path / "slurp", {("alarm", "set"): 5})
    (root / "devel.jsonl").unlink()
    with pytest.raises(MissingDataError, match=r"there is no file .*devel\.jsonl"):
        SpokenSlurp(tmp_path / "corpus", text_root=root)


def test_sentences_without_a_word_are_not_spoken(tmp_path, caplog, needs_espeak):
    root = write_text(tmp_path / "slurp", {("alarm", "set"): 3})
    with (root / "test.jsonl").open("a") as file:
        file.write(json.dumps({**line(7, "alarm", "set", "..."), "entities": []}) + "\n")
    made = SpokenSlurp.generate(tmp_path / "corpus", text_root=root, progress=False)
    assert len(list(made.rglob("*.flac"))) == 3
    assert "1 sentences of" in caplog.text and "first slurp_id 7" in caplog.text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sentences": 0}, "sentences is 0, expected .* 1"),
        ({"intents": 2.5}, "intents is 2.5, expected .* 1"),
        ({"seed": -1}, "seed is -1, expected .* 0"),
        ({"seed": True}, "seed is True, expected"),
        ({"sentences": 99}, "sentences is 99, expected at most 33"),
        ({"intents": 7}, "intents is 7, expected at most 6"),
        ({"sentences": 2}, "sentences is 2 and intents is None, which leaves split 'valid' without a sentence"),
    ],
)
def test_invalid_parameters_raise(tmp_path, text_root, values, message):
    with pytest.raises(ConfigError, match=message):
        SpokenSlurp(tmp_path / "corpus", text_root=text_root, **values)
    assert [path.name for path in tmp_path.iterdir()] in ([], [".corpus.lock"])


def test_missing_corpus_with_make_false_raises(tmp_path):
    with pytest.raises(MissingDataError, match="there is no folder .*; make it with 'mmcl data make slurp_tts'"):
        SpokenSlurp(tmp_path / "corpus", make=False)
    with pytest.raises(DataError, match=r"has no split 'tset' \(did you mean 'test'\?\)"):
        SpokenSlurp(tmp_path / "corpus", "tset")


def test_listing_does_not_import_torch():
    code = "import sys, mmcl.data.synthesis.spoken_slurp; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert done.stdout == "False\n"


def test_missing_recording_requires_a_new_corpus(corpus, tmp_path):
    shutil.copytree(corpus, tmp_path / "corpus")
    lost = next((tmp_path / "corpus/audio/slurp_real").iterdir())
    lost.unlink()
    with pytest.raises(MissingDataError, match=r"remove .*corpus, and make it with 'mmcl data make slurp_tts'"):
        for split in ("train", "valid", "test"):
            SpokenSlurp(tmp_path / "corpus", split, make=False)
