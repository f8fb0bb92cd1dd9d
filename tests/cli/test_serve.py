"""The command `mmcl serve`; the page itself is tested in tests/serving."""

import socket

import pytest
import torch
from typer.testing import CliRunner

from mmcl.cli.main import app
from mmcl.cli.serve import check_port, load, proposed_intents, split_folders
from mmcl.config.model import StrictModel
from mmcl.encoders import build_encoder
from mmcl.errors import ConfigError, RunError
from mmcl.models import TwoTower
from mmcl.runs.run import Run
from mmcl.serving.page import serve_page

RUNNER = CliRunner()


class Config(StrictModel):
    seeds: tuple[int, ...] = (0,)


def make(folder, *rows, model=False, task="slu_incremental"):
    with Run.create(task, Config(), folder) as run:
        for kind, values in rows:
            run.log(kind, strategy="naive", seed=0, **values)
        if model:
            torch.manual_seed(0)
            towers = TwoTower(build_encoder("audio", "cnn", dim=16), build_encoder("text", "words", dim=16))
            towers.save(folder / "models" / "clip-seed0")
    return folder


EVALUATION = ("evaluation", {"experience": 0, "accuracy": [0.5], "seen_accuracy": 0.5, "per_class": {}})


def test_folders_are_split_by_content(tmp_path):
    spoken, course = make(tmp_path / "a", model=True), make(tmp_path / "b", EVALUATION)
    both = make(tmp_path / "c", EVALUATION, model=True)
    alone = both / "models" / "clip-seed0"
    found, incremental = split_folders([spoken, course, both, alone, spoken])
    assert found == [spoken, both, alone] and [run.folder for run in incremental] == [course, both]


def test_other_folders_are_refused(tmp_path):
    other = make(tmp_path / "a", ("result", {}), task="unlearning")
    with pytest.raises(RunError, match=r"a is a run of unlearning \(finished\)"):
        split_folders([other])
    (tmp_path / "empty").mkdir()
    for folder, message in (("empty", "empty is not a run"), ("none", "none")):
        with pytest.raises(RunError, match=message):
            split_folders([make(tmp_path / f"beside {folder}", EVALUATION), tmp_path / folder])


def test_models_are_loaded_and_warmed_up(tmp_path):
    runs = [make(tmp_path / name, model=True) for name in "ab"]
    settings = {"longest": 3.0, "sentences": 10}
    assert list(load(runs[:1], "on", **settings)) == ["clip-seed0"]
    both = load(runs, "on\noff", **settings)
    assert list(both) == [f"{run}/clip-seed0" for run in runs]
    for each in both.values():
        assert each.longest == 3.0 and list(each._cache) == ["on", "off"]


def test_classes_of_the_run_are_proposed_as_intents(tmp_path):
    def run(name, *classes):
        return make(tmp_path / name, *(("zero_shot", {"classes": list(each)}) for each in classes))

    assert proposed_intents(run("a", [], ["one"], ["lights_on", "play music"], ["x", "y"])) == "lights on\nplay music"
    everyday = proposed_intents(run("b"))
    assert "turn on the lights" in everyday.splitlines()
    assert proposed_intents(run("c", ["On", "on"], [str(n) for n in range(21)])) == everyday
    assert proposed_intents(tmp_path / "no run") == everyday


def test_taken_port_is_refused_before_models_are_loaded(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port} .*--port"):
            check_port("127.0.0.1", port)
        monkeypatch.setattr("mmcl.serving.page.find_spec", lambda name: name)
        refused = RUNNER.invoke(app, ["serve", str(tmp_path / "none"), "--port", str(port)])
        assert isinstance(refused.exception, ConfigError) and "--port" in str(refused.exception)
    check_port("127.0.0.1", port)
    with pytest.raises(ConfigError, match="192.0.2.1:1.*--host"):  # an address that no machine has
        check_port("192.0.2.1", 1)


def test_invalid_names_and_lengths_are_refused_before_models_are_loaded(monkeypatch, tmp_path):
    monkeypatch.setattr("mmcl.serving.page.find_spec", lambda name: name)
    refused = RUNNER.invoke(app, ["serve", str(tmp_path), "--allow-host", "http://page.example.org"])
    assert isinstance(refused.exception, ConfigError) and "--allow-host" in str(refused.exception)
    for longest in ("nan", "inf", "0", "4000"):
        assert RUNNER.invoke(app, ["serve", str(tmp_path), "--longest", longest]).exit_code == 2
    with pytest.raises(ConfigError, match="--longest is nan"):
        serve_page({}, [], "", host="127.0.0.1", port=1, longest=float("nan"), ready=print)


def test_missing_package_is_refused_first(monkeypatch, tmp_path):
    monkeypatch.setattr("mmcl.serving.page.find_spec", lambda name: None)
    refused = RUNNER.invoke(app, ["serve", str(tmp_path)])
    assert isinstance(refused.exception, ConfigError) and "mmcl[serve]" in str(refused.exception)
