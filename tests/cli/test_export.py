"""The command `mmcl export`; tests/tasks exports models trained by a run."""

import pytest
import torch

from mmcl.config.tasks import load_task
from mmcl.encoders import build_encoder
from mmcl.models import TwoTower
from mmcl.runs.run import Run


@pytest.fixture
def run(tmp_path):
    torch.manual_seed(0)
    model = TwoTower(build_encoder("audio", "cnn", dim=16), build_encoder("text", "words", dim=16), dim=8)
    with Run.create("speech_to_intent", load_task("speech_to_intent").Config(), tmp_path / "run") as run:
        for name in ("clip-seed0", "cwcl-seed0"):
            model.save(run.folder / "models" / name)
    return run.folder


def test_export_lists_its_files(mmcl_, run, tmp_path):
    code, out, err = mmcl_("export", run, tmp_path / "hub")
    assert (code, err) == (0, "")
    first, *files = out.splitlines()
    assert first == f"{tmp_path / 'hub'}: clip-seed0 (of clip-seed0, cwcl-seed0)"
    assert [line.split()[0] for line in files] == ["README.md", "config.json", "model.safetensors"]
    _, out, _ = mmcl_("export", run, tmp_path / "other", "--model", "cwcl-seed0", "--license", "cc0-1.0")
    assert out.splitlines()[0] == f"{tmp_path / 'other'}: cwcl-seed0"
    assert "license: cc0-1.0" in (tmp_path / "other" / "README.md").read_text()


def test_errors_are_one_line(mmcl_, run, tmp_path):
    for arguments, code, message in (
        ([run, tmp_path / "hub", "--model", "cwcl-sed0"], 2, "'cwcl-seed0'"),
        ([run, run], 1, "run is not an empty folder"),
        ([tmp_path / "nothing", tmp_path / "hub"], 1, "nothing"),
    ):
        done = mmcl_("export", *arguments)
        assert done[:2] == (code, "") and message in done[2] and done[2].count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_help_has_examples(mmcl_):
    code, out, _ = mmcl_("export", "--help")
    text = " ".join(out.split())
    assert code == 0 and "Usage: mmcl export" in text
    for words in ("mmcl export runs/speech_to_intent/demo", "--onnx", "hf upload", "from_pretrained"):
        assert words in text


def test_local_folders_are_reported(mmcl_, weights_dir, tmp_path):
    text = build_encoder("text", weights_dir / "all-MiniLM-L6-v2")
    with Run.create("speech_to_intent", load_task("speech_to_intent").Config(), tmp_path / "run") as run:
        model = TwoTower(build_encoder("audio", "cnn", dim=16), text, second_head="none")
        model.save(run.folder / "models" / "clip-seed0")
    code, _, err = mmcl_("export", run.folder, tmp_path / "hub")
    assert code == 0 and f"config.json names {weights_dir / 'all-MiniLM-L6-v2'}" in err
