import socket

import pytest
import torch
from typer.testing import CliRunner

from mmcl.cli.main import app
from mmcl.cli.serve import check_port, load, part, proposed_intents
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


def test_runs_are_parted_by_what_is_in_them(tmp_path):
    spoken, course = make(tmp_path / "a", model=True), make(tmp_path / "b", EVALUATION)
    both = make(tmp_path / "c", EVALUATION, model=True)
    alone = both / "models" / "clip-seed0"
    found, incremental = part([spoken, course, both, alone, spoken])
    assert found == [spoken, both, alone] and [run.folder for run in incremental] == [course, both]


def test_what_is_neither_is_refused(tmp_path):
    other = make(tmp_path / "a", ("result", {}), task="unlearning")
    with pytest.raises(RunError, match=r"a is a run of unlearning \(finished\) without a model of two towers"):
        part([other])
    (tmp_path / "empty").mkdir()
    for folder, message in (("empty", "is not a run"), ("none", "there is no run folder")):
        with pytest.raises(RunError, match=message):
            part([make(tmp_path / f"beside {folder}", EVALUATION), tmp_path / folder])


def test_models_are_loaded_and_warm(tmp_path):
    runs = [make(tmp_path / name, model=True) for name in "ab"]
    settings = {"longest": 3.0, "sentences": 10, "threads": torch.get_num_threads()}
    assert list(load(runs[:1], "on", **settings)) == ["clip-seed0"]
    both = load(runs, "on\noff", **settings)
    assert list(both) == [f"{run}/clip-seed0" for run in runs]
    for each in both.values():
        assert each.longest == 3.0 and list(each._remembered) == ["on", "off"]


def test_classes_of_the_run_are_proposed_as_intents(tmp_path):
    def run(name, *classes):
        return make(tmp_path / name, *(("zero_shot", {"classes": list(each)}) for each in classes))

    assert proposed_intents(run("a", [], ["one"], ["lights_on", "play music"], ["x", "y"])) == "lights on\nplay music"
    everyday = proposed_intents(run("b"))
    assert "turn on the lights" in everyday.splitlines()
    assert proposed_intents(run("c", ["On", "on"], [str(n) for n in range(21)])) == everyday
    assert proposed_intents(tmp_path / "no run") == everyday


def test_a_taken_port_is_told_before_anything_is_loaded(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port} .*choose another --port"):
            check_port("127.0.0.1", port)
        monkeypatch.setattr("mmcl.serving.page.find_spec", lambda name: name)
        refused = RUNNER.invoke(app, ["serve", str(tmp_path / "none"), "--port", str(port)])
        assert isinstance(refused.exception, ConfigError) and "choose another --port" in str(refused.exception)
    check_port("127.0.0.1", port)
    with pytest.raises(ConfigError, match="cannot listen on 192.0.2.1:1.*or --host"):  # of no machine
        check_port("192.0.2.1", 1)


def test_names_and_lengths_that_cannot_be_are_told_before_anything_is_loaded(monkeypatch, tmp_path):
    monkeypatch.setattr("mmcl.serving.page.find_spec", lambda name: name)
    refused = RUNNER.invoke(app, ["serve", str(tmp_path), "--allow-host", "http://page.example.org"])
    assert isinstance(refused.exception, ConfigError) and "--allow-host" in str(refused.exception)
    for longest in ("nan", "inf", "0", "4000"):
        assert RUNNER.invoke(app, ["serve", str(tmp_path), "--longest", longest]).exit_code == 2
    with pytest.raises(ConfigError, match="--longest is nan"):
        serve_page({}, [], "", host="127.0.0.1", port=1, longest=float("nan"), ready=print)


def test_a_missing_package_is_told_first(monkeypatch, tmp_path):
    monkeypatch.setattr("mmcl.serving.page.find_spec", lambda name: None)
    refused = RUNNER.invoke(app, ["serve", str(tmp_path)])
    assert isinstance(refused.exception, ConfigError) and "mmcl[serve]" in str(refused.exception)
