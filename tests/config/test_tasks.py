"""Discovery of tasks and configs on disk."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import mmcl
from mmcl.config import tasks as experiments
from mmcl.config.listing import list_settings
from mmcl.errors import ConfigError

TASK = '''"""Count to a number.

More of it.
"""
from __future__ import annotations

from pydantic import Field

from mmcl.config.model import StrictModel


class Counter(StrictModel):
    """Section named in a string annotation."""

    last: int = Field(3, description="where counting ends")


class Config(StrictModel):
    counter: Counter = Counter()


def main(config: Config, run: object) -> None:
    raise SystemExit("imported, never run here")
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in ``MMCL_PATH`` with a task."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "count.py").write_text(TASK)
    (tmp_path / "tasks" / "_shared.py").write_text("raise RuntimeError")
    (tmp_path / "configs" / "count").mkdir(parents=True)
    (tmp_path / "configs" / "count" / "demo.yaml").write_text(
        "# Counts to three.\n# Takes no time.\ncounter: {last: 3}\n"
    )
    (tmp_path / "configs" / "count" / "tiny.yaml").write_text("counter: {last: 1}\n")
    monkeypatch.setenv("MMCL_PATH", str(tmp_path))
    return tmp_path


def test_tasks_and_configs_are_found_on_disk(own: Path) -> None:
    assert experiments.tasks()["count"] == own / "tasks" / "count.py"
    assert "_shared" not in experiments.tasks()
    assert list(experiments.configs("count")) == ["demo", "tiny"]


def test_mmcl_tasks_are_found_without_mmcl_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MMCL_PATH", raising=False)
    root = Path(mmcl.__file__).parent.parent
    assert experiments.tasks() == {path.stem: path for path in sorted((root / "tasks").glob("[!_]*.py"))}


def test_tasks_of_an_installed_wheel_are_inside_the_package(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = own / "site-packages" / "mmcl"
    for name in ("tasks", "configs"):
        (package / f"_{name}").parent.mkdir(parents=True, exist_ok=True)
        (own / name).rename(package / f"_{name}")
    monkeypatch.delenv("MMCL_PATH")
    monkeypatch.setattr(mmcl, "__file__", str(package / "__init__.py"))
    assert list(experiments.tasks()) == ["count"]
    assert experiments.find_config("count") == package / "_configs" / "count" / "demo.yaml"


def test_a_task_is_loaded_with_its_config_model(own: Path) -> None:
    module = experiments.load_task("count")
    assert module.Config().counter.last == 3
    assert [(s.key, s.default, s.description) for s in list_settings(module.Config)] == [
        ("counter.last", "3", "where counting ends")
    ]
    with pytest.raises(SystemExit):
        module.main(module.Config(), None)
    sys.modules.pop("mmcl_task_count")


def test_descriptions_are_read_without_running_anything(own: Path) -> None:
    assert experiments.description(own / "tasks" / "count.py") == "Count to a number."
    assert experiments.description(own / "configs" / "count" / "demo.yaml") == "Counts to three."
    assert experiments.description(own / "configs" / "count" / "tiny.yaml") == ""
    (own / "tasks" / "half.py").write_text("def main(:")
    assert experiments.description(own / "tasks" / "half.py") == "(not valid Python: invalid syntax, line 1)"


def test_a_config_is_found_by_name_or_by_path(own: Path) -> None:
    assert experiments.find_config("count", "tiny") == own / "configs" / "count" / "tiny.yaml"
    assert experiments.find_config("count", "my.yaml") == Path("my.yaml")
    assert experiments.find_config("count", "folder/my") == Path("folder/my")


def test_an_unknown_task_or_config_raises_with_the_nearest_name(own: Path) -> None:
    with pytest.raises(ConfigError, match="'cuont'.*'count'.*`mmcl ls`"):
        experiments.load_task("cuont")
    with pytest.raises(ConfigError, match="'cuont'"):
        experiments.configs("cuont")
    with pytest.raises(ConfigError, match="'dmeo'.*count.*'demo'"):
        experiments.find_config("count", "dmeo")
    with pytest.raises(ConfigError, match="'x'.*count.*demo, tiny"):
        experiments.find_config("count", "x")


@pytest.mark.parametrize(("text", "part"), [("def main(config, run): ...", "Config"), ("class Config: ...", "main")])
def test_a_task_without_config_or_main_raises(own: Path, text: str, part: str) -> None:
    (own / "tasks" / "count.py").write_text(text)
    with pytest.raises(ConfigError, match=f"count.py.*{part}"):
        experiments.load_task("count")
    sys.modules.pop("mmcl_task_count")
