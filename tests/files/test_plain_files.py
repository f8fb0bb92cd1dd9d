"""Links in folders never affect files outside, and pipes never block."""

from __future__ import annotations

import os
import re
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from mmcl.config.model import StrictModel
from mmcl.encoders.feature_store import FeatureStore
from mmcl.errors import DataError, RunError
from mmcl.files.atomic import written_whole
from mmcl.files.plain_files import check_plain, check_replaceable
from mmcl.models import TwoTower
from mmcl.publishing.export import export_run
from mmcl.reports.page import report_html, write_report
from mmcl.runs.run import Run
from mmcl.sections.towers import model_folders

SECRET = "what is written here is not of the run\n"


class Config(StrictModel):
    tensorboard: bool = False


@pytest.fixture
def outside(tmp_path):
    """A folder of another user, with a hidden file like temporary files."""
    folder = tmp_path / "outside"
    folder.mkdir()
    for name in ("secret", ".secret.tmp"):
        (folder / name).write_text(SECRET)
    yield folder
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"secret": SECRET, ".secret.tmp": SECRET}


@pytest.fixture
def folder(tmp_path):
    """An interrupted run with a model."""
    with pytest.raises(KeyboardInterrupt), Run.create("contrastive_pretraining", Config(), tmp_path / "run") as run:
        for epoch in (1, 2):
            run.log("epoch", strategy="clip", seed=0, epoch=epoch, loss=0.5)
            run.checkpoint("clip-seed0", {"epoch": epoch, "weights": torch.ones(2)})
        model = run.folder / "models" / "clip-seed0"
        model.mkdir(parents=True)
        (model / "model.json").write_text("{}")
        (model / "model.safetensors").write_text("weights")
        raise KeyboardInterrupt
    return run.folder


FILES = [
    "config.yaml",
    "environment.json",
    "data.json",
    "metrics.jsonl",
    "status.json",
    ".lock",
    "tokenizer.json",
    "checkpoints",
    "checkpoints/clip-seed0.safetensors",
    "checkpoints/clip-seed0.safetensors.before",
    "checkpoints/other.safetensors",
    "checkpoints/.left.tmp",
    "models",
    "models/clip-seed0",
    "models/clip-seed0/model.json",
    "models/clip-seed0/model.safetensors",
    "models/clip-seed0/extra.json",
    "tensorboard",
    ".status.json.1.tmp",
]
USES = {
    "resume": Run.open,
    "read": Run.read,
    "compare": lambda folder: report_html([folder]),
    "export": lambda folder: export_run(folder, folder.parent / "hub"),
    "predict": model_folders,
}


def put(kind: str, path: Path, outside: Path) -> None:
    """Replace a file or folder by a special file."""
    is_folder = path.is_dir()
    shutil.rmtree(path) if is_folder else path.unlink(missing_ok=True)
    if kind == "link":
        path.symlink_to(outside if is_folder else outside / "secret")
    elif kind == "broken link":
        path.symlink_to(outside / "nothing")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path.relative_to(Path.cwd())))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("use", list(USES))
def test_link_in_a_run_raises_and_is_named(folder, outside, use, name):
    put("link", folder / name, outside)
    with pytest.raises(RunError, match=re.escape(f"{folder / name} is a symbolic link, expected a regular file: ")):
        USES[use](folder)
    assert not (folder.parent / "hub").exists()


@pytest.mark.parametrize("kind", ["broken link", "pipe", "socket"])
@pytest.mark.parametrize("name", ["status.json", "metrics.jsonl", "checkpoints", "models/clip-seed0/model.safetensors"])
@pytest.mark.parametrize("use", list(USES))
def test_special_files_raise_without_blocking(folder, outside, monkeypatch, use, name, kind):
    monkeypatch.chdir(folder.parent)
    put(kind, folder / name, outside)
    said = {"broken link": "a symbolic link", "pipe": "a named pipe", "socket": "a socket"}[kind]
    with pytest.raises(RunError, match=re.escape(f"{folder / name} is {said}, expected a regular file")):
        USES[use](folder)


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints/clip-seed0.safetensors", "models/clip-seed0/more.json"])
@pytest.mark.parametrize("use", list(USES))
def test_a_file_with_another_name_outside_is_neither_written_nor_published(folder, outside, use, name):
    (folder / name).unlink(missing_ok=True)
    os.link(outside / "secret", folder / name)
    if use in ("resume", "export"):
        with pytest.raises(RunError, match=re.escape(f"{folder / name} has another name outside {folder}")):
            USES[use](folder)


def test_the_run_folder_and_its_parents_may_be_links(folder, tmp_path):
    (tmp_path / "linked").symlink_to(folder.parent)
    (tmp_path / "linked" / "again").symlink_to(folder)
    with Run.open(tmp_path / "linked" / "again") as run:
        run.log("epoch", strategy="clip", seed=0, epoch=3, loss=0.25)
    assert len(Run.read(folder).metrics()) == 3


def test_two_names_within_the_folder_are_fine(folder):
    """A process that is killed while writing a checkpoint leaves a hard link to the previous one."""
    os.link(folder / "checkpoints/clip-seed0.safetensors", folder / "checkpoints/.clip-seed0.safetensors.7.kept")
    check_plain(folder, shared=False)
    Run.open(folder).close()
    assert not (folder / "checkpoints/.clip-seed0.safetensors.7.kept").exists()


@pytest.mark.parametrize("kind", ["link", "broken link", "pipe"])
def test_nothing_is_written_through_a_link(folder, tmp_path, outside, kind):
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "report.html"
    put(kind, path, outside)
    with pytest.raises(OSError, match="expected a regular file or none"), written_whole(path):
        pass
    with pytest.raises(
        RunError, match=r"cannot write the report .*report.html \(it is a .*, expected a regular file or"
    ):
        write_report([folder], path)
    assert os.listdir(path.parent) == ["report.html"]


def test_link_at_the_temporary_name_is_not_followed(tmp_path, outside):
    temporary = tmp_path / f".note.txt.{os.getpid()}.tmp"
    temporary.symlink_to(outside / "secret")
    with written_whole(tmp_path / "note.txt") as path:
        path.write_text("all of it")
    assert (tmp_path / "note.txt").read_text() == "all of it" and not temporary.is_symlink()


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_model_is_not_saved_through_a_link(tmp_path, outside, name):
    from mmcl.encoders import build_encoder

    model = TwoTower(build_encoder("audio", "cnn", dim=16), build_encoder("text", "words", dim=16), dim=8)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / name).symlink_to(outside / "secret")
    with pytest.raises(Exception, match="it is a symbolic link, expected a regular file or none"):
        model.save(tmp_path / "model")


@pytest.mark.parametrize("name", ["features.bin", "index.jsonl", "meta.json", "lock"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_feature_cache_is_not_read_or_written_through_a_link(tmp_path, outside, name, kind):
    store = FeatureStore(tmp_path / "store")
    with store.writing():
        store.append([("a", np.ones((2, 3), np.float32))])
    put(kind, tmp_path / "store" / name, outside)
    for use in (lambda: store.spans(["a"]), store.matrix, lambda: store.writing().__enter__()):
        with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'store' / name} is a ")):
            use()


def test_a_feature_cache_that_is_shared_is_not_written(tmp_path):
    store = FeatureStore(tmp_path / "store")
    with store.writing():
        store.append([("a", np.ones((2, 3), np.float32))])
    shutil.copytree(tmp_path / "store", tmp_path / "snapshot", copy_function=os.link)
    assert list(store.spans(["a"])) == ["a"]
    with pytest.raises(DataError, match="has another name outside"), store.writing():
        pass


def test_what_can_be_replaced(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("file", "nothing"):
        check_replaceable(tmp_path / name)
    with pytest.raises(OSError, match="it is a device"):
        check_replaceable("/dev/null")
    check_plain(tmp_path / "nowhere")
