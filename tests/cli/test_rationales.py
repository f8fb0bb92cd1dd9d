"""The command `mmcl rationales`, with an endpoint in this process."""

import json

import pytest
import torch
from typer.testing import CliRunner

from mmcl.cli import rationales as rationales_cli
from mmcl.cli.main import app
from mmcl.data import catalog
from mmcl.data.texts.exercises import Exercises
from mmcl.models.text_to_text import TextToText

RUNNER = CliRunner()


@pytest.fixture
def ask(data_dir, endpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("MMCL_DATA", str(data_dir))

    def run(*more, answer=None):
        settings = ["--endpoint", endpoint.url, "--model", "meta/llama", "--size", "4", "--retries", "0"]
        return RUNNER.invoke(app, ["rationales", "svamp", str(tmp_path), *settings, *more], input=answer)

    return run


def test_costs_are_printed_before_the_confirmation(ask, endpoint, tmp_path):
    asked = ask("--samples", "2", "--prices", "1000", "4000", answer="n\n")
    assert asked.exit_code == 1 and not endpoint.asked
    assert "0 completions are in" in asked.output and "8 are missing: about" in asked.output
    assert "at most 2,048 output tokens" in asked.output and "at most 8." in asked.output
    done = ask("--samples", "2", "--prices", "1000", "4000", answer="y\n")
    assert done.exit_code == 0 and len(endpoint.asked) == 8
    for name in ("llama", "llama-2"):
        assert f"{tmp_path / name / 'train_CoT_0.json'}: 4 of 4 written, 0 of them" in done.output
    again = ask("--samples", "2")
    assert again.exit_code == 0 and "8 completions are in" in again.output and len(endpoint.asked) == 8


def test_failed_command_resumes_when_rerun(ask, endpoint, tmp_path):
    endpoint.answers = iter([None, None, 500])
    failed = ask("--yes", "--workers", "1", "--teacher", "mine")
    assert failed.exit_code == 1 and "500" in str(failed.exception)
    lists = tmp_path / "mine" / "train_CoT_0.json"
    assert sum(map(bool, json.loads(lists.read_text()))) == 2
    assert ask("--yes", "--workers", "1", "--teacher", "mine").exit_code == 0
    assert sum(map(bool, json.loads(lists.read_text()))) == 4 and len(endpoint.asked) == 5


def test_data_set_without_exercises_is_refused(endpoint, tmp_path):
    refused = RUNNER.invoke(app, ["rationales", "fsdd", str(tmp_path), "--endpoint", endpoint.url, "--model", "x"])
    assert "'fsdd'" in str(refused.exception) and "svamp, cqa, esnli, anli, slurp_text" in str(refused.exception)
    for entry in catalog.entries():
        assert issubclass(entry.load(), Exercises) == (entry.name in rationales_cli._NAMES.split(", "))


def test_sampling_settings_are_sent_to_the_endpoint(ask, endpoint):
    assert ask("--yes", "--temperature", "0.2", "--longest", "33").exit_code == 0
    assert {(each["temperature"], each["max_tokens"]) for each in endpoint.asked} == {(0.2, 33)}


def test_local_model_writes_completions(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("MMCL_DATA", str(data_dir))
    sizes = {"vocabulary": 300, "dim": 32, "layers": 1, "heads": 2, "dropout": 0.0}
    torch.manual_seed(0)
    TextToText.from_scratch(["set an alarm for five", "the five is the time"] * 20, **sizes).save(tmp_path / "own")
    command = ["rationales", "slurp_text", str(tmp_path / "written"), "--model", str(tmp_path / "own"), "--size", "3"]
    done = RUNNER.invoke(app, [*command, "--split", "valid", "--longest", "4", "--temperature", "1", "--yes"])
    assert done.exit_code == 0, done.output
    path = tmp_path / "written" / "own" / "valid_CoT_0.json"
    assert f"{path}: " in done.output and " of 3 written" in done.output
    assert any(json.loads(path.read_text()))
