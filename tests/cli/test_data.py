"""The commands `mmcl data`, on real data and on damaged files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmcl.cli.main import main

ROOT = Path(__file__).parents[1]


def mmcl_data(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["mmcl", "data", *arguments])
    code = 0
    try:
        main()
    except SystemExit as exit:
        code = int(exit.code or 0)
    return code, *capsys.readouterr()


@pytest.fixture
def digits(data_dir: Path, tmp_path: Path) -> Path:
    """A few spoken digits of every split."""
    folder = tmp_path / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    for path in (data_dir / "fsdd" / "recordings").glob("*.wav"):
        if path.stem.endswith(("_0", "_5", "_10")):
            shutil.copy(path, folder)
    return tmp_path / "fsdd"


def test_ls_lists_found_and_missing_data_sets(
    digits: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MMCL_DATA", str(tmp_path))
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path / "cache"))
    code, out, _ = mmcl_data(capsys, monkeypatch, "ls")
    assert code == 0
    assert re.search(rf"^fsdd: found; .*; CC BY-SA 4.0\n  {tmp_path}/fsdd$", out, re.MULTILINE)
    assert re.search(
        r"^barista: missing; .*\n  .*https://github.com/Picovoice/speech-to-intent-benchmark", out, re.MULTILINE
    )
    assert re.search(
        r"^speech_commands: missing; .*\n  .*speech_commands_v0.02.tar.gz", out, re.MULTILINE
    )  # not truncated


def test_check_of_valid_data(digits: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = mmcl_data(capsys, monkeypatch, "check", "fsdd", "--root", str(digits))
    assert (code, out) == (0, "fsdd: 0 errors, 0 warnings\n")


def test_check_names_a_truncated_file(
    digits: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = digits / "recordings" / "3_jackson_5.wav"
    bad.write_bytes(bad.read_bytes()[:20])
    code, out, _ = mmcl_data(capsys, monkeypatch, "check", "fsdd", "--root", str(digits))
    assert code == 1
    assert out.startswith(f"error: {bad}: ")
    assert out.endswith("fsdd: 1 errors, 0 warnings\n")


def test_check_names_files_whose_names_are_not_utf_8(digits: Path) -> None:
    recordings = digits / "recordings"
    shutil.copy(recordings / "3_jackson_5.wav", os.fsencode(recordings) + b"/3_jos\xe9_5.wav")
    (recordings / "4_jos\udce9_5.wav").write_bytes(b"RIFF")
    command = [sys.executable, "-m", "mmcl", "data", "check", "fsdd", "--root", str(digits)]
    for encoding in ("utf-8", "ascii"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
        assert done.stderr == ""
        assert re.fullmatch(
            r"error: \S+/4_jos\\udce9_5\.wav: is not audio .*\nfsdd: 1 errors, 0 warnings\n", done.stdout
        )


def test_unknown_and_missing_data_sets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, out, err = mmcl_data(capsys, monkeypatch, "check", "fsd")
    assert (code, out) == (1, "")
    assert err.startswith("error: ") and "'fsd'" in err and "'fsdd'" in err
    code, out, err = mmcl_data(capsys, monkeypatch, "check", "fsdd", "--root", str(tmp_path / "nowhere"))
    assert code == 1
    assert err.startswith("error: ") and "fsdd" in err


def test_recorded_data_cannot_be_generated(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = mmcl_data(capsys, monkeypatch, "make", "fsdd")
    assert code == 1
    assert err.startswith("error: ") and "fsdd" in err


def test_synthetic_data_needs_its_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MMCL_DATA", str(tmp_path))
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path / "cache"))
    code, out, err = mmcl_data(capsys, monkeypatch, "make", "slurp_tts", "--root", str(tmp_path / "corpus"))
    assert (code, out) == (1, "")
    assert err.startswith("error: ") and "SLURP" in err and "text_root" in err
    assert not (tmp_path / "corpus").exists()


@pytest.mark.parametrize(
    "name", ["\x1b[31m", "[/]", "a\nerror: forged", "caf\udce9", "\u202egnp.wav", "पानी 🙂", "x" * 10_000]
)
def test_file_names_are_escaped(mmcl_, monkeypatch, name):
    from mmcl.data import catalog
    from mmcl.data.file_faults import FileFault
    from mmcl.text.escape import printable

    faults = [FileFault(Path(f"/data/{name}"), f"is {name}")]
    monkeypatch.setattr(catalog, "check_dataset", lambda *_: faults)
    monkeypatch.setattr(catalog, "make_dataset", lambda *_: Path(name))
    done = mmcl_("data", "check", "fsdd")
    shown = printable(name)
    assert done.code == 1 and done.out.splitlines()[0] == f"error: /data/{shown}: is {shown}"
    assert len(done.out.splitlines()) == 2
    assert mmcl_("data", "make", "fsdd").out == f"fsdd: {shown}\n"
