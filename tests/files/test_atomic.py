"""Atomic writing of files and folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmcl.files.atomic import folder_written_whole, written_whole


def test_file_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "note.txt"
    with written_whole(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.parent == tmp_path  # otherwise the rename would not be atomic
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["note.txt"]


def test_file_has_default_permissions(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("made in the usual way")
    with written_whole(tmp_path / "note.txt") as temporary:
        private = tmp_path / "private"
        private.write_text("new")
        private.chmod(0o600)
        private.rename(temporary)
    assert (tmp_path / "note.txt").stat().st_mode == (tmp_path / "other.txt").stat().st_mode


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "note.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="halfway"), written_whole(target) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError("halfway")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["note.txt"]


def test_a_failing_rename_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    target = tmp_path / "note.txt"
    target.write_text("old")
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space left"), written_whole(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["note.txt"]


def test_the_data_is_on_the_disk_before_the_name_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    synchronise, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append("fsync"), synchronise(descriptor)))
    monkeypatch.setattr(os, "replace", lambda source, target: (events.append("rename"), rename(source, target)))
    with written_whole(tmp_path / "note.txt") as temporary:
        temporary.write_text("new")
    assert events == ["fsync", "rename", "fsync"]


def test_a_folder_appears_at_the_end_only(tmp_path: Path) -> None:
    target = tmp_path / "new" / "model"
    with folder_written_whole(target) as temporary:
        (temporary / "weights").write_text("all")
        assert not target.exists() and temporary.parent == target.parent
    assert (target / "weights").read_text() == "all"
    assert os.listdir(target.parent) == ["model"]


def test_empty_folder_is_replaced_and_others_are_not(tmp_path: Path) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    full.mkdir()
    (full / "old").touch()
    with folder_written_whole(empty) as temporary:
        (temporary / "new").touch()
    with pytest.raises(OSError), folder_written_whole(full) as temporary:
        (temporary / "new").touch()
    assert (os.listdir(empty), os.listdir(full)) == (["new"], ["old"])
    assert sorted(os.listdir(tmp_path)) == ["empty", "full"]


def test_a_failure_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="halfway"), folder_written_whole(tmp_path / "model") as temporary:
        (temporary / "weights").write_text("half")
        raise RuntimeError("halfway")
    assert os.listdir(tmp_path) == []
