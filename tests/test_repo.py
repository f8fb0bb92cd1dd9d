"""What is true of the repository as a whole."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def tracked(*patterns):
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\n") if name]


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


def test_importing_mmcl_and_asking_for_help_loads_nothing_heavy():
    heavy = "{'torch', 'avalanche', 'transformers', 'torchaudio', 'matplotlib', 'speechbrain'}"
    done = run(f"import sys, mmcl; print(sorted({heavy} & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stderr
    code = "import sys; sys.argv = ['mmcl', '--help']\nfrom mmcl.cli.main import main\ntry: main()\nexcept SystemExit: "
    done = run(code + f"print('loaded', sorted({heavy} & set(sys.modules)))")
    assert "loaded []" in done.stdout, done.stderr


def test_every_module_has_a_test_of_its_name():
    untested = []
    for path in tracked("mmcl/*.py"):
        inside = path.relative_to(ROOT / "mmcl")
        if (
            path.stem not in ("__init__", "__main__", "errors")
            and not (ROOT / "tests" / inside.parent / f"test_{path.name}").exists()
        ):
            untested.append(str(inside))
    assert not untested


def test_the_package_has_no_bare_asserts():
    """``python -O`` drops them, and an AssertionError tells a user nothing."""
    found = []
    for path in tracked("mmcl/*.py", "tasks/*.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        found += [f"{path.name}:{node.lineno}" for node in nodes if isinstance(node, ast.Assert)]
    assert not found


def test_files_stay_short():
    assert {p.name: n for p in tracked("tasks/*.py") if (n := len(p.read_text().splitlines())) > 140} == {}
    assert {p.name: n for p in tracked("mmcl/*.py") if (n := len(p.read_text().splitlines())) > 300} == {}


def test_functions_stay_short():
    long = {}
    for path in tracked("mmcl/*.py", "tasks/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 60:
                long[f"{path.name}: {node.name}"] = node.end_lineno - node.lineno + 1
    assert long == {}


def test_the_top_level_has_nothing_else():
    kept = {"mmcl", "tasks", "configs", "tests", "notebooks", "pyproject.toml", "README.md"}
    kept |= {"LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff"}
    found = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert {name for name in found if not name.startswith(".")} == kept


def test_nothing_that_could_run_what_a_user_is_handed():
    pattern = re.compile(r"pickle\.load|torch\.load\((?!.*weights_only=True)|yaml\.load\(|[^a-z_.]eval\(|shell=True")
    found = [
        f"{p.name}:{n}"
        for p in tracked("mmcl/*.py", "tasks/*.py")
        for n, line in enumerate(p.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_grab_bags_and_paths_of_one_machine_are_not_here():
    assert [p.name for p in tracked("*.py") if p.stem in ("utils", "common", "helpers", "misc")] == []
    machine = re.compile(r"(^|[^\w.])/(home|Users|root|work)/")
    found = [p.name for p in tracked("*.py", "*.yaml", "*.toml", "*.md", "*.ipynb") if machine.search(p.read_text())]
    assert found in ([], ["test_repo.py"])


def test_every_task_has_a_demo_and_a_tiny_config_that_say_what_they_are():
    for task in tracked("tasks/*.py"):
        configs = ROOT / "configs" / task.stem
        for name in ("demo", "tiny"):
            assert (configs / f"{name}.yaml").exists(), f"{task.stem} has no {name}.yaml"
        for config in configs.glob("*.yaml"):
            assert config.read_text().startswith("# "), f"{config.name} does not say what it is"


@pytest.mark.slow
@pytest.mark.ci
def test_the_wheel_works_outside_the_checkout(tmp_path):
    """In a new environment; what mmcl depends on is borrowed from this one, to spare the test an installation."""
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(site)
    assert {"mmcl/_tasks/slu_incremental.py", "mmcl/_configs/slu_incremental/demo.yaml"} <= set(names)
    assert not [
        name for name in names if name.split("/")[0] not in ("mmcl", f"mmcl-{wheel.name.split('-')[1]}.dist-info")
    ]
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    pytest.importorskip("espeakng_loader", reason="the synthetic corpus needs the extra 'synth'")
    environment = {**os.environ, "MMCL_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    python = [str(tmp_path / "venv" / "bin" / "python"), "-W", "ignore"]
    where = subprocess.run(
        [*python, "-c", "import mmcl; print(mmcl.__file__)"], cwd=tmp_path, capture_output=True, text=True
    )
    assert where.stdout.startswith(str(tmp_path))
    command = ["run", "slu_incremental", "--config", "tiny", "strategy=[naive]", "seeds=[0]", "epochs=1"]
    done = subprocess.run(
        [*python, "-m", "mmcl", *command], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("runs/slu_incremental/*/report.html"))
