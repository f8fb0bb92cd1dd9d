"""Settings and environment of a run: changes and wrong types are refused wherever they are read."""

from __future__ import annotations

import itertools
import json

import pytest
from thinned import thinned

from mmcl.config.model import StrictModel
from mmcl.errors import RunError
from mmcl.files.sealed_json import sealed
from mmcl.publishing.export import export_run
from mmcl.reports.page import report_html
from mmcl.runs.run import Run
from mmcl.runs.settings import read_environment, read_settings


class Inner(StrictModel):
    name: str = "cnn"
    options: dict[str, float] = {}


class Config(StrictModel):
    epochs: int = 4
    rate: float = 1e-5
    classes: tuple[str, ...] = ("yes", "1e-3")
    encoder: Inner = Inner(options={"dim": 2, "scale": float("inf")})
    tensorboard: bool = False


@pytest.fixture
def folder(tmp_path):
    with Run.create("count", Config(), tmp_path / "run") as run:
        run.log("epoch", strategy="a", seed=0, epoch=0, loss=0.5)
    return run.folder


USES = [Run.open, lambda folder: report_html([folder]), lambda folder: Run.read(folder).config]


@pytest.mark.parametrize("use", USES, ids=["resume", "compare", "config"])
@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        ("epochs: 4", "epochs: 6", "epochs 4 -> 6"),
        ("epochs: 4\n", "", "epochs is missing"),
        ("epochs: 4", "epochs: 4\nlr: 1", "lr is new"),
        ("epochs: 4", "epochs: '4'", "epochs 4 -> '4'"),
        ("epochs: 4", "epochs: 4.0", "epochs 4 -> 4.0"),
        ("name: cnn", "name: conformer", "encoder.name 'cnn' -> 'conformer'"),
        ("dim: 2", "dim: 3", "encoder.options.dim 2.0 -> 3"),
        ("['yes',", "['no',", "classes ['yes', '1e-3'] -> ['no', '1e-3']"),
        ("rate: 1.0e-05", "rate: 1.0e-04", "rate 1e-05 -> 0.0001"),
    ],
)
def test_changed_setting_is_named(folder, use, old, new, change):
    path = folder / "config.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(RunError, match="config.yaml") as caught:
        use(folder)
    assert change in str(caught.value)
    assert f"mmcl run count --config {path}" in str(caught.value)


@pytest.mark.parametrize("use", USES, ids=["resume", "compare", "config"])
def test_truncated_config_is_refused(folder, use):
    path = folder / "config.yaml"
    whole = path.read_text()
    for length in range(0, len(whole) - 1):
        path.write_text(whole[:length])
        with pytest.raises(RunError, match="config.yaml"):
            use(folder)


def test_comments_and_layout_may_differ(folder):
    path = folder / "config.yaml"
    path.write_text("# my first run\n" + path.read_text().replace("epochs: 4", "epochs:   4  # passes"))
    assert read_settings(folder) == json.loads(json.dumps(Config().model_dump(mode="json")))
    Run.open(folder).close("finished")


@pytest.mark.parametrize("text", ["a: [", "\udc80", "- 1", "*a", "epochs: !!python/name:os.system"])
def test_other_content_is_refused(folder, text):
    (folder / "config.yaml").write_bytes(text.encode(errors="surrogateescape"))
    for use in USES:
        with pytest.raises(RunError, match=r"config.yaml"):
            use(folder)


def test_runs_of_older_versions_are_not_compared(folder):
    environment = json.loads((folder / "environment.json").read_text())
    for key in ("settings", "digest", "format"):
        del environment[key]
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "data.json").unlink()
    (folder / "status.json").write_text('{"status": "running"}')
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("epochs: 4", "epochs: 6"))
    assert read_settings(folder)["epochs"] == 6
    Run.open(folder).close("finished")
    path.write_text("[1]")
    with pytest.raises(RunError, match="config.yaml .*list"):
        read_settings(folder)


_NAMES = ["task", "config", "command", "time", "platform", "python", "versions", "resumed"]
_WRONG = [None, 7, ["a"], [None], [{"time": 7}], {"a": 1}, "gone"]


@pytest.mark.parametrize(
    ("use", "name", "value"),
    thinned(itertools.product([*USES, lambda folder: export_run(folder, folder.parent / "hub")], _NAMES, _WRONG), 3),
)
def test_environment_with_wrong_types_is_refused(folder, use, name, value):
    environment = read_environment(folder)
    if isinstance(value, type(environment[name])) and not (name == "resumed" and value):
        pytest.skip("is of that type")
    environment[name] = value
    if value == "gone":
        del environment[name]
    (folder / "environment.json").write_text(sealed(environment))
    with pytest.raises(RunError, match="environment.json"):
        use(folder)


def test_edited_environment_is_refused(folder):
    path = folder / "environment.json"
    path.write_text(path.read_text().replace('"task": "count"', '"task": "other"'))
    for use in USES:
        with pytest.raises(RunError, match="environment.json"):
            use(folder)
