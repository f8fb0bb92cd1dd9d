"""Every notebook runs in its small version on real data with the stated results, and is stored without outputs."""

from __future__ import annotations

import os
import re
import sys
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import nbformat
import pytest
from matplotlib import rc_context
from matplotlib.image import imread
from nbclient import NotebookClient

from mmcl.errors import MissingDataError

ROOT = Path(__file__).parents[2]
NOTEBOOKS = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
#: Assertions run after the last cell of each notebook, on its variables.
HOLDS = {
    "01_class_incremental_slu": [
        "table.loc['joint', 'last accuracy'] > 0.85",
        "table.loc['replay', 'last accuracy'] > table.loc['naive', 'last accuracy'] + 0.1",
        "table.loc['naive', 'forgetting'] > 0.2 > table.loc['joint', 'forgetting']",
        "run.status == 'finished'",
    ],
    "02_your_own_data_and_strategy": [
        "last.loc['naive'].mean() < 0.5 < last.loc['replay'].mean()",
        "last.loc['balanced replay'].mean() > last.loc['replay'].mean()",
        "last.loc['joint'].mean() > 0.8",
        "heard['train'][0]['label'] == 0 and len(heard['train']) == 10 * heard['train'].labels.count(0)",
    ],
    "03_zero_shot_speech_to_intent": [
        "all(values[-1] < 0.8 * values[0] for values in losses.values())",
        "sum(recall['CLIP']) / 10 > 0.18",  # chance: 0.1
        "table.loc['say a number', ('say a digit', 'CLIP')] > 0.3",  # chance: 0.11
        "abs(table.sum() - 1).max() < 1e-5",
    ],
    "04_multimodal_mixup": [
        "scores.accuracy.min() > 0.65 and scores.auc.min() > 0.8",
        "bool((abs(shares.sum(1) - 1) < 1e-6).all()) and int((shares > 0).sum()) == 16",
        "all(min(row['missing'].values()) > 0.55 for row in rows)",
    ],
    "05_unlearning_a_speaker": [
        "table['Test'].min() > 0.85",
        "table.loc['retrain', 'Train_f'] < table.loc['original', 'Train_f']",
        "table.loc['retrain', 'distance to Retrain'] == 0 < table.loc['laf', 'distance to Retrain'] < 0.2",
        "set(removal.forget.rows).isdisjoint(removal.remain.rows) and len(removal.forget) == 50",
    ],
    "06_rationale_distillation": [
        "told['AUC, corrupted'] > 0.9",
        "counts.right == PROBLEMS == 120 and 0.6 < shares['right'].mean() < 0.9",
        "all(birds.rationales[0].answer == birds.label != said.answer for said in birds.rationales[1:])",
        "sum(text.startswith('( ') for text in answers(students['answers alone'], test, 'finetune')) > 30",  # of 40
    ],
}
WITHOUT_WEIGHTS = ("04_multimodal_mixup", "06_rationale_distillation")


def read(name):
    return nbformat.read(NOTEBOOKS[name], as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """One cache for all notebooks; two of them use the same recordings."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.ci] if n[:2] == "01" else []) for n in HOLDS])
def test_notebook_runs_with_the_stated_results(name, data_dir, cache, tmp_path, request):
    if name not in WITHOUT_WEIGHTS:
        request.getfixturevalue("weights_dir")
    if "sentences_tts" in NOTEBOOKS[name].read_text():
        pytest.importorskip("espeakng_loader", reason="synthetic speech needs the extra 'synth'")
    notebook = read(name)
    here = f"import sys, mmcl\nassert (sys.prefix, mmcl.__file__) == {(sys.prefix, str(ROOT / 'mmcl' / '__init__.py'))}"
    holds = "\n".join([here, *(f"assert {each}, {each!r}" for each in HOLDS[name])])
    notebook.cells.append(nbformat.v4.new_code_cell(holds))
    paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    environment = {**os.environ, "MMCL_SMALL": "1", "MMCL_CACHE": str(cache), "PYTHONPATH": os.pathsep.join(paths)}
    kernel = {"kernel_name": "python3", "resources": {"metadata": {"path": str(tmp_path)}}}
    NotebookClient(notebook, timeout=300, **kernel).execute(env=environment)

    outputs = [output for cell in code(notebook) for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert pictures
    for picture in pictures:
        pixels = imread(BytesIO(b64decode(picture)))
        assert pixels[..., :3].std() > 0.02, "the picture is blank"
    drawings = [output.data["image/svg+xml"] for output in outputs if "image/svg+xml" in output.get("data", {})]
    assert all(drawing.count("<path") > 10 for drawing in drawings)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_first_cells_name_missing_data_and_its_source(name, tmp_path, monkeypatch):
    for variable in ("MMCL_DATA", "MMCL_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    sizes, data, *_ = code(read(name))
    with (
        rc_context(),
        pytest.raises(MissingDataError, match=r"data set \w+ .*MMCL_DATA"),
    ):
        exec(f"{sizes.source}\n{data.source}", {})


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_is_stored_without_outputs(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert NOTEBOOKS[name].read_text(encoding="utf-8") == f"{nbformat.writes(notebook)}\n"
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert [cell for cell in code(notebook) if cell.outputs or cell.execution_count is not None] == []
    assert [
        cell.id for cell in notebook.cells if not re.fullmatch(r"[a-z]+(-[a-z]+)?", cell.id)
    ] == []  # readable, not random
    first, *others = code(notebook)
    assert first.metadata == {"tags": ["parameters"]} and "MMCL_SMALL" in first.source
    assert [cell for cell in others if cell.metadata] == []
    assert [line for cell in notebook.cells for line in cell.source.splitlines() if len(line) > 120] == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_has_the_usual_sections_and_valid_links(name):
    first, *_, last = read(name).cells
    assert first.cell_type == last.cell_type == "markdown"
    assert re.match(r"# \w.*?\n## What you will see\n.*?\n## What it needs\n.*MMCL_DATA", first.source, re.DOTALL)
    assert re.search(r"minutes?|seconds", first.source), "the duration is missing"
    assert re.search(r"^## Where to go\n\n- .*`mmcl ", last.source, re.MULTILINE | re.DOTALL)
    text = "\n".join(cell.source for cell in read(name).cells if cell.cell_type == "markdown")
    for path in re.findall(r"`((?:mmcl|tasks|configs)/[\w/.]+)`", text):
        assert (ROOT / path).exists(), f"{name} names {path}"
    for config in re.findall(r"--config (\w+)", text):
        assert list((ROOT / "configs").glob(f"*/{config}.yaml")), f"{name} names config {config}"
    for other in re.findall(r"\]\((\w+)\.ipynb\)", text):
        assert other in NOTEBOOKS, f"{name} links to {other}"


def test_every_notebook_is_tested_and_on_the_page_of_notebooks():
    page = (ROOT / "notebooks" / "README.md").read_text()
    assert list(HOLDS) == list(NOTEBOOKS)
    assert [name for name in NOTEBOOKS if f"({name}.ipynb)" not in page] == []
