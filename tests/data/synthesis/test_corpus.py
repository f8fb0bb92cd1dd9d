import json
import shutil
import threading
import time

import pytest

from mmcl.data import SpokenSentences, SpokenSlurp, SyntheticCommands
from mmcl.data.synthesis.corpus import MANIFEST, appearing_whole, corpus_folder, is_made, make_once, share_out
from mmcl.errors import DataError


def made(folder, edition="1", **parameters):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).write_text(json.dumps({"edition": edition, "parameters": parameters}))
    return folder


def test_default_corpora_keep_their_folders_when_code_is_renamed():
    """Change these names together with ``_FORMAT`` only: existing corpora have them."""
    assert [dataset.source.folder for dataset in (SyntheticCommands, SpokenSlurp, SpokenSentences)] == [
        "synthetic_commands-3cae860e",
        "slurp_tts-f8a3fd75",
        "sentences_tts-ea70484a",
    ]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_folder_is_the_root_or_else_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert corpus_folder(None, "tones-1") == tmp_path / "cache" / "data" / "tones-1"
    assert corpus_folder("~/own", "tones-1") == tmp_path / "own"
    assert corpus_folder("own", "tones-1").is_absolute()


def test_other_parameters_raise(tmp_path):
    assert not is_made(tmp_path / "corpus", "1", {})
    folder = made(tmp_path / "corpus", seed=0, sizes=[1, 2])
    assert is_made(folder, "1", {})
    assert is_made(folder, "1", {"seed": 0, "sizes": (1, 2)})
    for edition, wanted in (("2", {}), ("1", {"seed": 1}), ("1", {"sizes": (2, 1)}), ("1", {"size": 0})):
        with pytest.raises(DataError, match="holds a corpus of .*, expected .*: choose another root"):
            is_made(folder, edition, wanted)


def test_unrelated_content_raises(tmp_path):
    assert not is_made(tmp_path, "1", {}), "an empty folder can be filled"
    (tmp_path / "thesis.txt").touch()
    for folder in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(DataError, match=r"has no corpus\.json, expected a synthetic corpus or nothing"):
            is_made(folder, "1", {})


def test_concurrent_caller_waits(tmp_path):
    folder, makers = tmp_path / "corpus", []

    def make():
        makers.append(threading.get_ident())
        time.sleep(0.1)
        made(folder)

    threads = [threading.Thread(target=make_once, args=(folder, "1", {}, make)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(makers) == 1
    assert make_once(folder, "1", {}, make) == folder
    assert len(makers) == 1


def test_disk_that_cannot_be_written(tmp_path):
    def make():
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match=r"corpus cannot be written \(No space left on device\): free some disk, or"):
        make_once(tmp_path / "corpus", "1", {}, make)


def test_appears_with_its_manifest_at_the_end(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    with appearing_whole(folder, {"edition": "1", "parameters": {"seed": 3}}) as partial:
        (partial / "tone").touch()
        assert names(folder) == [] and not (partial / MANIFEST).exists()
    assert names(tmp_path) == ["corpus"]
    assert names(folder) == [MANIFEST, "tone"]
    assert is_made(folder, "1", {"seed": 3})


def interrupt(folder, manifest, resume):
    with pytest.raises(KeyboardInterrupt), appearing_whole(folder, manifest, resume=resume) as partial:
        (partial / "tone").touch()
        raise KeyboardInterrupt


def test_interruption_leaves_nothing(tmp_path):
    interrupt(tmp_path / "corpus", {}, resume=False)
    assert names(tmp_path) == []


def test_interruption_with_resume_keeps_partial_work(tmp_path):
    folder = tmp_path / "corpus"
    for manifest, resume, kept in (({"seed": 0}, True, True), ({"seed": 1}, True, False), ({"seed": 0}, False, False)):
        interrupt(folder, {"seed": 0}, resume=True)
        assert not folder.exists()
        with appearing_whole(folder, manifest, resume=resume) as partial:
            assert (partial / "tone").exists() == kept
        assert json.loads((folder / MANIFEST).read_text()) == manifest
        assert names(tmp_path) == ["corpus"]
        shutil.rmtree(folder)


def test_all_jobs_run_and_the_first_error_stops_them(tmp_path, capfd):
    share_out(lambda path, text: path.write_text(text), [(tmp_path / name, name) for name in "abc"], "", progress=False)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "a", "b": "b", "c": "c"}
    assert capfd.readouterr() == ("", "")
    done = []

    def fail(path, number):
        done.append(number)
        time.sleep(0.01)
        if number == 3:
            raise ValueError("three")

    with pytest.raises(ValueError, match="three"):
        share_out(fail, [(tmp_path, number) for number in range(500)], "counting", progress=True)
    assert len(done) < 250, "the rest is not begun"
    assert "counting" in capfd.readouterr().err
