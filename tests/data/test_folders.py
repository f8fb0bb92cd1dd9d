"""Recursive listing of files through links."""

from __future__ import annotations

import pytest

from mmcl.data import folders
from mmcl.data.folders import files_below
from mmcl.errors import DataError


def _touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def _found(root):
    return [str(path.relative_to(root)) for path in files_below(root)]


def test_linked_folders_and_files_are_found_at_any_depth(tmp_path):
    root, disk = tmp_path / "root", tmp_path / "disk"
    for name in ("a.wav", "b/c/d.wav", ".hidden/e.wav", "b/.f.wav"):
        _touch(root / name)
    for name in ("x.wav", "deep/y.wav", ".z.wav"):
        _touch(disk / name)
    (root / "b" / "linked").symlink_to(disk)
    (root / "one.wav").symlink_to(disk / "x.wav")
    assert _found(root) == ["a.wav", "b/c/d.wav", "b/linked/deep/y.wav", "b/linked/x.wav", "one.wav"]
    (tmp_path / "way").symlink_to(root)
    assert len(files_below(tmp_path / "way")) == 5, "the root itself may be a link"


def test_cyclic_links_are_entered_once(tmp_path):
    _touch(tmp_path / "a" / "1.wav")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path)
    _touch(tmp_path / "b" / "2.wav")
    (tmp_path / "a" / "b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "a").symlink_to(tmp_path / "a")
    assert _found(tmp_path) == ["a/1.wav", "a/b/2.wav", "b/2.wav", "b/a/1.wav"]


def test_two_links_to_one_folder_are_two_paths(tmp_path):
    _touch(tmp_path / "disk" / "1.wav")
    (tmp_path / "root").mkdir()
    for name in ("first", "second"):
        (tmp_path / "root" / name).symlink_to(tmp_path / "disk")
    assert _found(tmp_path / "root") == ["first/1.wav", "second/1.wav"]


def test_broken_link_is_listed_as_a_file(tmp_path):
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere")
    assert _found(tmp_path) == ["gone.wav"]


def test_exponentially_many_links_raise(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "_MOST", 500)
    for name in "abcdef":
        (tmp_path / name).mkdir()
    for name in "abcdef":
        for other in "abcdef".replace(name, ""):
            (tmp_path / name / other).symlink_to(tmp_path / other)
    with pytest.raises(DataError, match="has more than 500 folders"):
        files_below(tmp_path)


def test_missing_folder_raises(tmp_path):
    with pytest.raises(DataError, match="cannot read the folder"):
        files_below(tmp_path / "no")
