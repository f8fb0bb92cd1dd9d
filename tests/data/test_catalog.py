import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mmcl.data import catalog
from mmcl.data.base import Utterance
from mmcl.data.catalog import check_dataset, entries, find, open_dataset, status
from mmcl.errors import ConfigError, DataError, MissingDataError

UCI_TABLES = ("airfoil", "concrete", "energy", "power_plant", "wine", "yacht")
CHECKOUT = Path(catalog.__file__).parents[2]


def write_digits(root, digits=range(10), indices=(0, 5, 10)):
    """Write distinct recordings of digits."""
    (root / "recordings").mkdir(parents=True)
    for digit in digits:
        for index in indices:
            path = root / "recordings" / f"{digit}_theo_{index}.wav"
            soundfile.write(path, 0.2 * np.sin(np.arange(800) * (0.3 + 0.01 * digit + 0.0007 * index)), 8_000)
    return root


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The two folders that are searched: MMCL_DATA and the cache."""
    monkeypatch.setenv("MMCL_DATA", str(tmp_path / "shared"))
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "shared", tmp_path / "cache" / "data"


def test_entries_are_distinct_and_have_a_source():
    names = [entry.name for entry in entries()]
    assert names == sorted(set(names))
    assert {"barista", "fluent_speech_commands", "fsdd", "slurp", "speech_commands", "synthetic_commands"} <= set(names)
    folders = {entry.name: entry.folder for entry in entries()}
    assert folders.pop("slurp_text") == folders["slurp"]  # the same files, without recordings
    assert folders.pop("rotated_mnist") == folders["mnist"]
    assert folders.pop("digits_over_speech") == folders["barista"]
    assert len(set(folders.values())) == len(folders)
    for entry in entries():
        assert entry.owner and entry.license and entry.size and entry.splits
        assert entry.url.startswith("http") != hasattr(entry.load(), "generate"), "offered by its owner, or made"
        assert entry.load().source is entry.source


def test_find_suggests_the_nearest_name():
    assert find("fsdd").loader == "mmcl.data.speech.spoken_digits:SpokenDigits"
    with pytest.raises(
        DataError, match=r"no data set 'barsta' \(did you mean 'barista'\?\): expected one of anli, barista, "
    ):
        find("barsta")


def folder(root=None):
    return status(find("fsdd"), root).path


def test_explicit_root_then_shared_folder_then_cache(places, tmp_path):
    shared, cache = places
    assert folder() == shared / "fsdd", "where to put it"
    write_digits(cache / "fsdd")
    assert folder() == cache / "fsdd"
    (shared / "fsdd").mkdir(parents=True)
    assert folder() == cache / "fsdd", "an empty folder hides nothing"
    write_digits(shared / "fsdd")
    assert folder() == shared / "fsdd"
    assert folder(tmp_path / "own") == tmp_path / "own"


def test_without_settings_the_cache_is_in_the_home_folder(monkeypatch):
    monkeypatch.delenv("MMCL_DATA", raising=False)
    monkeypatch.delenv("MMCL_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(Path("nobody").absolute()))
    assert folder() == Path("nobody").absolute() / ".cache" / "mmcl" / "data" / "fsdd"


def test_status_names_the_places_searched(places):
    shared, cache = places
    state = status(find("fsdd"))
    assert (state.found, state.path) == (False, shared / "fsdd")
    for part in (str(shared / "fsdd"), str(cache / "fsdd"), "MMCL_DATA", "github.com/Jakobovski"):
        assert part in state.why
    (shared / "fsdd").mkdir(parents=True)
    assert f"{shared / 'fsdd'} has no recordings" in status(find("fsdd")).why
    write_digits(cache / "fsdd")
    assert status(find("fsdd")) == catalog.DatasetStatus(True, cache / "fsdd")


def test_open_dataset(places):
    write_digits(places[0] / "fsdd")
    dataset = open_dataset("fsdd", "test", speakers=["theo"])
    assert (type(dataset).__name__, len(dataset)) == ("SpokenDigits", 10)


def test_open_dataset_names_what_is_wrong(places):
    with pytest.raises(
        MissingDataError, match=r"data set fsdd is missing: there is no folder .* and there is no folder"
    ):
        open_dataset("fsdd", "test")
    write_digits(places[0] / "fsdd")
    with pytest.raises(DataError, match=r"no data set 'fsd' \(did you mean 'fsdd'\?\)"):
        open_dataset("fsd", "test")
    with pytest.raises(DataError, match=r"no split 'testing' \(did you mean 'test'\?\)"):
        open_dataset("fsdd", "testing")
    with pytest.raises(ConfigError, match=r"data set fsdd has no option 'speaker' \(did you mean 'speakers'\?\)"):
        open_dataset("fsdd", "test", speaker=["theo"])


def test_missing_synthetic_corpus_says_how_to_make_it(places):
    with pytest.raises(MissingDataError, match="make it with 'mmcl data make synthetic_commands'"):
        open_dataset("synthetic_commands", "train", make=False)


def test_check_reports_audio_that_is_not_decoded_as_recorded(places):
    root = write_digits(places[0] / "fsdd")
    folder = root / "recordings"
    spoken = (0.2 * np.sin(np.arange(8_000) * 0.3)).astype(np.float32)
    soundfile.write(folder / "0_theo_0.wav", np.stack([spoken, -spoken], 1), 8_000)
    soundfile.write(folder / "1_theo_0.wav", spoken * 32_768, 8_000, subtype="FLOAT")
    soundfile.write(folder / "2_theo_0.wav", spoken * 20, 8_000, subtype="FLOAT")
    (folder / "3_theo_0.wav").write_bytes((folder / "4_theo_0.wav").read_bytes() + b"\xab" * 500)
    soundfile.write(root / "chain.ogg", spoken, 8_000)
    (root / "chain.ogg").write_bytes((root / "chain.ogg").read_bytes() * 2)
    soundfile.write(root / "offset.aiff", np.full(800, 0.5), 8_000)
    soundfile.write(root / "count.flac", spoken, 8_000)
    content = bytearray((root / "count.flac").read_bytes())
    content[22:26] = (800).to_bytes(4, "big")
    (root / "count.flac").write_bytes(content)
    found = [(fault.path.name, fault.warning, fault.reason) for fault in check_dataset(find("fsdd"))]
    expected = [
        ("1_theo_0.wav", False, "has 7998 of 8000 samples outside [-1, 1], up to 6553.6"),
        ("chain.ogg", True, "it holds 2 streams one after the other, which are read as one"),
        ("count.flac", True, "its header says 0.1 s, but it lasts 1.0 s"),
        ("offset.aiff", True, "is silent: its loudest sample is 0"),
        ("0_theo_0.wav", True, "has channels that cancel one another: their mean is 114 dB quieter than channel 2"),
        ("2_theo_0.wav", True, "is loud: its loudest sample is 4, where 1 is full scale"),
        ("3_theo_0.wav", True, "has 500 bytes after the 800 samples that its header promises, which are not read"),
    ]
    assert [each[:2] for each in found] == [each[:2] for each in expected]
    for (_, _, reason), (_, _, start) in zip(found, expected, strict=True):
        assert reason.startswith(start)


def test_check_reads_listed_files_of_any_suffix(places, tmp_path, monkeypatch):
    root = write_digits(places[0] / "fsdd")
    (tmp_path / "elsewhere.dat").write_bytes(b"this is no sound")
    kind = find("fsdd").load()
    read = kind._read

    def reading(self):
        classes, utterances = read(self)
        return classes, [*utterances, Utterance("x", tmp_path / "elsewhere.dat", 0)]

    monkeypatch.setattr(kind, "_read", reading)
    [fault] = [each for each in check_dataset(find("fsdd"), root=root) if not each.warning]  # in both splits
    assert (fault.path.name, fault.warning) == ("elsewhere.dat", False)
    assert fault.reason.startswith("is not audio")


def test_check_reads_every_file_and_names_the_bad_ones(places):
    root = write_digits(places[0] / "fsdd")
    folder = root / "recordings"
    data = (folder / "1_theo_0.wav").read_bytes()
    (folder / "1_theo_0.wav").write_bytes(data[:-100])
    (folder / "2_theo_5.wav").write_bytes(b"")
    (folder / "3_theo_10.wav").write_text("this is no sound\n" * 10)
    soundfile.write(folder / "4_theo_0.wav", np.zeros(800), 8_000)
    soundfile.write(folder / "5_theo_0.wav", np.full(800, np.nan), 8_000, subtype="FLOAT")
    (root / "noise").mkdir()
    (root / "noise" / "unlisted.flac").write_bytes(b"fLaC")
    (root / ".git").mkdir()
    (root / ".git" / "hidden.wav").write_bytes(b"")
    seen = []
    faults = check_dataset(find("fsdd"), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 31) for done in range(1, 32)]
    assert [(str(fault.path.relative_to(root)), fault.warning) for fault in faults] == [
        ("noise/unlisted.flac", False),
        ("recordings/1_theo_0.wav", False),
        ("recordings/2_theo_5.wav", False),
        ("recordings/3_theo_10.wav", False),
        ("recordings/5_theo_0.wav", False),
        ("recordings/4_theo_0.wav", True),
    ]
    reasons = [fault.reason for fault in faults]
    for start, reason in zip(
        ("is not audio", "is truncated", "is empty", "is not audio", "has samples that are not finite", "is silent"),
        reasons,
        strict=True,
    ):
        assert reason.startswith(start)


def test_check_reports_annotations_once(places):
    root = write_digits(places[0] / "fsdd")
    (root / "recordings" / "seven.wav").write_bytes((root / "recordings" / "7_theo_0.wav").read_bytes())
    (fault,) = check_dataset(find("fsdd"))
    assert fault.path == root and "seven.wav is not named like a recording" in fault.reason


def test_check_needs_the_data(places):
    with pytest.raises(MissingDataError, match="data set fsdd is missing"):
        check_dataset(find("fsdd"))


def test_check_of_the_real_copies(data_dir, caplog):
    assert check_dataset(find("fsdd"), root=data_dir / "fsdd") == []
    (fault,) = check_dataset(find("barista"), root=data_dir / "barista")
    assert fault.warning and fault.reason.startswith("skipped 6 of 625 labels")
    assert not caplog.records, "what the loader logs is in the list, and is not shown three times"


def _uci(root, **changed):
    """The six tables of `uci_regression` with twenty rows each."""
    root.mkdir()
    for name, file in zip(UCI_TABLES, find("uci_regression").source.marker, strict=True):
        rows = [f"{row} {row * row} {changed.get(name, row) if row == 7 else row}" for row in range(20)]
        (root / file).write_text("\n".join(["a b c"] * (name == "airfoil") + rows) + "\n")
    return root


def test_check_reads_every_table_or_the_one_that_is_named(tmp_path):
    root, entry = _uci(tmp_path / "uci", yacht="nan", wine="x"), find("uci_regression")
    reasons = [fault.reason for fault in check_dataset(entry, root=root)]
    assert len(reasons) == 2 and all(fault in " ".join(reasons) for fault in ("yacht.txt", "wine-quality-red.txt"))
    (fault,) = check_dataset(entry, root=root, options={"table": "yacht"})
    assert "yacht.txt" in fault.reason
    assert check_dataset(entry, root=root, options={"table": "energy"}) == []
    (root / "energy.txt").unlink()
    (fault,) = check_dataset(entry, root=root, options={"table": "energy"})
    assert "energy.txt" in fault.reason and not fault.warning
    with pytest.raises(ConfigError, match="'tabel'.*'table'"):
        check_dataset(entry, root=root, options={"tabel": "energy"})


def test_warnings_of_a_table_name_it(tmp_path):
    root = _uci(tmp_path / "uci")
    (root / "concrete.txt").write_text("".join(f"{row % 2} 1 {row}\n" for row in range(20)))
    faults = check_dataset(find("uci_regression"), root=root)
    assert faults and all(fault.warning and fault.reason.endswith("(table=concrete)") for fault in faults)
    assert "first sample " in faults[0].reason


def test_synthetic_recordings_that_are_missing_are_reported(tmp_path):
    """Annotations of synthetic recordings are read if a folder holds such recordings."""
    line = {"slurp_id": 1, "sentence": "on", "scenario": "a", "action": "b", "tokens": [], "entities": []}
    for number, split in enumerate(("train", "devel", "test", "train_synthetic")):
        own = {**line, "slurp_id": number, "sentence": f"on {split}", "recordings": [{"file": f"{split}.flac"}]}
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(own) + "\n")
        if split != "train_synthetic":
            (tmp_path / "slurp_real").mkdir(exist_ok=True)
            said = 0.2 * np.sin(np.arange(800) * 0.1 * (number + 1))
            soundfile.write(tmp_path / "slurp_real" / f"{split}.flac", said, 8_000)
    assert check_dataset(find("slurp"), root=tmp_path) == []
    (tmp_path / "slurp_synth").mkdir()
    (fault,) = check_dataset(find("slurp"), root=tmp_path)
    assert not fault.warning and "train_synthetic.flac" in fault.reason


def test_generated_data_is_made_once_and_then_found(places, tmp_path):
    pytest.importorskip("espeakng_loader", reason="the extra 'synth' is not installed")
    options = {"utterances_per_intent": (2, 1, 1), "intents": 2, "progress": False}
    made = catalog.make_dataset(root=tmp_path / "own", **options)
    assert made == tmp_path / "own"
    assert status(find("synthetic_commands"), made).found
    before = sorted((path, path.stat().st_mtime_ns) for path in made.rglob("*"))
    assert len(open_dataset("synthetic_commands", "train", made)) == 4
    assert check_dataset(find("synthetic_commands"), root=made) == []
    assert sorted((path, path.stat().st_mtime_ns) for path in made.rglob("*")) == before


def test_spoken_slurp_is_not_found_as_slurp(data_dir, places, tmp_path):
    pytest.importorskip("espeakng_loader", reason="the extra 'synth' is not installed")
    options = {"sentences": 6, "intents": 2, "text_root": data_dir / "slurp", "progress": False}
    made = catalog.make_dataset("slurp_tts", **options)
    assert made.parent == places[1], "in the cache, never in MMCL_DATA"
    assert check_dataset(find("slurp_tts"), root=made) == []
    dataset = open_dataset("slurp_tts", "test", **options)
    assert (type(dataset).__name__, dataset.root, len(dataset)) == ("SpokenSlurp", made, 2)
    assert not status(find("slurp")).found


def test_missing_slurp_recordings_name_the_places_searched(data_dir, places):
    assert status(find("slurp"), data_dir / "slurp").found
    with pytest.raises(MissingDataError, match="13078 of 13078 recordings .* are missing"):
        open_dataset("slurp", "test", data_dir / "slurp")
    with pytest.raises(ConfigError, match=r"data set slurp has no option 'recording' \(did you mean 'recordings'\?\)"):
        open_dataset("slurp", "test", recording="headset")


def test_generated_data_is_made_where_it_is_missing(places):
    pytest.importorskip("espeakng_loader", reason="the extra 'synth' is not installed")
    dataset = open_dataset("synthetic_commands", "test", utterances_per_intent=(2, 1, 1), intents=2, progress=False)
    assert dataset.root.parent == places[1], "in the cache, never in MMCL_DATA"


def test_make_refuses_data_sets_that_are_not_generated(places):
    with pytest.raises(DataError, match=r"data set fsdd cannot be made: get it from .*free-spoken-digit-dataset"):
        catalog.make_dataset("fsdd")


def test_listing_does_not_import_torch():
    code = "import sys; from mmcl.data.catalog import *; list(map(status, entries())); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert done.stdout == "False\n"
