import json

import pytest
from typer.testing import CliRunner

from mmcl.cli import app

RUNNER = CliRunner()


@pytest.fixture
def ask(data_dir, endpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("MMCL_DATA", str(data_dir))

    def run(*more, answer=None):
        settings = ["--endpoint", endpoint.url, "--model", "meta/llama", "--size", "4", "--retries", "0"]
        return RUNNER.invoke(app, ["rationales", "svamp", str(tmp_path), *settings, *more], input=answer)

    return run


def test_it_says_what_it_costs_and_asks(ask, endpoint, tmp_path):
    asked = ask("--samples", "2", "--prices", "1000", "4000", answer="n\n")
    assert asked.exit_code == 1 and not endpoint.asked
    assert "0 completions are in" in asked.output and "8 are missing: about" in asked.output
    assert "at most 2,048 to write" in asked.output and "at most 8." in asked.output
    done = ask("--samples", "2", "--prices", "1000", "4000", answer="y\n")
    assert done.exit_code == 0 and len(endpoint.asked) == 8
    for name in ("llama", "llama-2"):
        assert f"{tmp_path / name / 'train_CoT_0.json'}: 4 of 4 written, of which 0 have no answer" in done.output
    again = ask("--samples", "2")
    assert again.exit_code == 0 and "8 completions are in" in again.output and len(endpoint.asked) == 8


def test_a_failure_midway_goes_on_by_the_same_command(ask, endpoint, tmp_path):
    endpoint.answers = iter([None, None, 500])
    failed = ask("--yes", "--workers", "1", "--teacher", "mine")
    assert failed.exit_code == 1 and "then run the same again" in str(failed.exception)
    lists = tmp_path / "mine" / "train_CoT_0.json"
    assert sum(map(bool, json.loads(lists.read_text()))) == 2
    assert ask("--yes", "--workers", "1", "--teacher", "mine").exit_code == 0
    assert sum(map(bool, json.loads(lists.read_text()))) == 4 and len(endpoint.asked) == 5


def test_a_data_set_without_exercises_is_refused(endpoint, tmp_path):
    refused = RUNNER.invoke(app, ["rationales", "fsdd", str(tmp_path), "--endpoint", endpoint.url, "--model", "x"])
    assert "'fsdd' has no exercises to explain" in str(refused.exception)
