"""Lazy imports of public names."""

from __future__ import annotations

import gc
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mmcl
from mmcl.lazy import POSTPONED, lazy_imports, quick_imports, stated_imports

MODULES = ["data", "encoders", "metrics", "models", "objectives", "rationales", "runs"]
MODULES += ["strategies", "training", "unlearning"]
PACKAGES = [
    "mmcl",
    "mmcl.data",
    "mmcl.encoders",
    "mmcl.metrics",
    "mmcl.models",
    "mmcl.objectives",
    "mmcl.rationales",
    "mmcl.unlearning",
]


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_imports_nothing_else(package):
    named = "sorted(dir(package)) == sorted(package.__all__)"
    code = f"import sys, {package} as package; print('torch' in sys.modules, {named})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"], done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_exists_in_its_module(package):
    """The source is read, not imported: some modules load Avalanche."""
    for name, module in stated_imports(importlib.import_module(package).__file__).items():
        if module == package:
            folder = Path(importlib.import_module(package).__file__).parent / name
            assert (folder / "__init__.py").is_file() or folder.with_suffix(".py").is_file(), name
            continue
        path = Path(mmcl.__file__).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
        assert re.search(rf"^(def|class) {name}\b|^{name}\b.* = ", path.read_text(encoding="utf-8"), re.MULTILINE), name


def test_names_resolve_to_objects_of_their_module(tmp_path):
    stated = "if TYPE_CHECKING:\n    from fractions import Fraction as Fraction\n"
    (tmp_path / "__init__.py").write_text(f"from math import sqrt\n{stated}")
    from fractions import Fraction

    find, names, exported = lazy_imports("example", str(tmp_path / "__init__.py"))
    assert find("Fraction") is Fraction and names() == exported == ["Fraction"]
    with pytest.raises(AttributeError, match="module 'example' has no attribute 'Fractal'"):
        find("Fractal")


@pytest.fixture(scope="module")
def fresh():
    """What a new process finds after a plain import of mmcl, and then of more."""
    code = f"""
import json, sys
import mmcl
found = {{"torch": "torch" in sys.modules, "dir": dir(mmcl)}}
found["modules"] = [getattr(mmcl, part).__name__ for part in {MODULES}]
found["used"] = [mmcl.objectives.CLIPLoss().temperature, mmcl.data.class_incremental.__name__]
found["loaded"] = list(sys.modules)
import mmcl.strategies.coconut, numpy, qpsolvers
found["is preset"] = callable(mmcl.strategies.coconut)
found["solved"] = qpsolvers.solve_qp(numpy.eye(1), numpy.array([-3.0]), lb=numpy.array([0.0]), solver="quadprog")[0]
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_modules_are_available_after_a_plain_import(fresh):
    assert not fresh["torch"] and set(MODULES) <= set(fresh["dir"])
    assert fresh["modules"] == [f"mmcl.{name}" for name in MODULES]
    assert fresh["used"] == [0.07, "class_incremental"]


def test_a_name_that_is_a_module_is_not_hidden_by_another_import(fresh):
    """``mmcl.strategies.coconut`` is the preset, although a module has the same name."""
    assert fresh["is preset"]


def test_modules_that_avalanche_seldom_uses_are_postponed_and_work(fresh):
    assert "avalanche" in fresh["loaded"]
    assert not [name for name in fresh["loaded"] if name.startswith(("jax", *(f"{each}." for each in POSTPONED)))]
    assert fresh["solved"] == pytest.approx(3.0)


def test_a_postponed_module_is_executed_when_an_attribute_is_first_read(tmp_path, monkeypatch):
    (tmp_path / "rarely_used.py").write_text("import sys\nsys.executed = True\nanswer = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "executed", False, raising=False)
    with quick_imports(["rarely_used", "missing_module"]):
        assert not gc.isenabled()
        import rarely_used

        assert rarely_used.__file__ == str(tmp_path / "rarely_used.py")  # inspect.getmodule reads it of every module
        with pytest.raises(ImportError):
            import missing_module  # noqa: F401
    assert gc.isenabled() and not sys.executed
    assert rarely_used.answer == 42 and sys.executed
    with pytest.raises(AttributeError, match="question"):
        _ = rarely_used.question
    with quick_imports(["rarely_used"]):
        assert sys.modules["rarely_used"] is rarely_used
    del sys.modules["rarely_used"]
