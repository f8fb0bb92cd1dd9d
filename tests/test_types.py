"""Public functions state what they return."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import mmcl

ROOT = Path(mmcl.__file__).parent
# States hold whatever a caller saved, and callers check each entry.
EXCEPTIONS = {
    "files/loading.py: entry",
    "runs/checkpoint.py: load_checkpoint",
    "runs/checkpoint.py: peek_checkpoint",
}


def public_functions(tree, inside=""):
    """Name and node of each public function and method."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node, f"{node.name}.")
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield f"{inside}{node.name}", node


def says_nothing(annotation):
    """Whether a return type is missing, or names ``Any`` outside of a dictionary or an array of plain data."""
    if annotation is None:
        return True
    return re.search(r"\bAny\b", re.sub(r"\b(dict|Mapping|NDArray)\[.*?Any\]", "", ast.unparse(annotation))) is not None


def test_no_public_function_returns_any():
    found = set()
    for path in ROOT.rglob("*.py"):
        for name, node in public_functions(ast.parse(path.read_text(encoding="utf-8"))):
            if says_nothing(node.returns):
                found.add(f"{path.relative_to(ROOT)}: {name}")
    assert found == EXCEPTIONS


def test_parameters_named_by_avalanche_have_its_types():
    """``strategy``, ``experience`` and ``batch`` are no ``Any``."""
    found = []
    for path in ROOT.rglob("*.py"):
        for name, node in public_functions(ast.parse(path.read_text(encoding="utf-8"))):
            for argument in [*node.args.args, *node.args.kwonlyargs]:
                kind = ast.unparse(argument.annotation) if argument.annotation else "Any"
                if argument.arg in ("strategy", "experience", "batch") and kind == "Any":
                    found.append(f"{path.relative_to(ROOT)}: {name}({argument.arg})")
    assert not found
