"""The task run from the command line: every method and Retrain, resuming, a stream, errors."""

from __future__ import annotations

import json

import pytest

from mmcl.strategies.stream_unlearning import record_digest

METHODS = ["retrain", "original", "fine_tune", "neg_grad", "neg_grad_plus", "bad_teacher", "scrub", "boundary_shrink"]
METHODS += ["sisa", "laf", "laf+r"]


@pytest.fixture(scope="module")
def whole(mmcl, data_dir, tmp_path_factory):
    """Folder and output of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    done = mmcl("run", "unlearning", "--config", "tiny", "--folder", folder, "seeds=[0]")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def results(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {(row["strategy"], row["seed"]): row["measures"] for row in lines if row["kind"] == "result"}


def without_time(measures):
    return {name: value for name, value in measures.items() if not name.startswith("time")}


def test_every_method_is_compared_with_retrain(whole):
    folder, printed = whole
    found = results(folder)
    assert list(found) == [(name, 0) for name in METHODS]
    assert all(name in printed for name in METHODS)
    for (name, seed), measures in found.items():
        expected = {"Train_r", "Train_f", "Test", "attack", "loss attack"}
        assert set(measures) == expected | (set() if name == "retrain" else {"distance to Retrain", "time / Retrain's"})
        if name != "retrain":
            names, retrained = ("Train_r", "Train_f", "Test", "attack"), found["retrain", seed]
            distance = sum(abs(measures[each] - retrained[each]) for each in names) / 4
            assert measures["distance to Retrain"] == pytest.approx(distance)
    assert found["original", 0]["Train_f"] > 0.9


@pytest.mark.slow
def test_resumed_run_equals_the_uninterrupted_one(whole, mmcl, tmp_path):
    folder, _ = whole
    half = tmp_path / "half"
    done = mmcl("run", "unlearning", "--config", "tiny", "--folder", half, "method=[neg_grad,laf]", "seeds=[0]")
    assert done.returncode == 0, done.stderr
    before = results(half)
    for name in before:
        assert without_time(before[name]) == without_time(results(folder)[name])
    lines = (half / "metrics.jsonl").read_text().splitlines(keepends=True)
    (half / "metrics.jsonl").write_text("".join(lines[:-1]))  # the last method was not finished
    (half / "checkpoints" / "laf-done-seed0.safetensors").unlink()
    again = mmcl("run", "--resume", half)
    assert again.returncode == 0, again.stderr
    after = results(half)
    assert list(after) == list(before)
    assert without_time(after["laf", 0]) == without_time(before["laf", 0])


def test_invalid_settings_are_refused_before_training(mmcl):
    for setting, message in (
        ("method=[laff]", "laff"),
        ("settings={retrain: {epochs: 3}}", "retrain"),
        ("settings={lafr: {epochs: 3}}", "lafr"),
        ("removal.share=0", "removal.share"),
        ("stream={experiences: 2}", "encoder"),
    ):
        done = mmcl("validate", "unlearning", "--config", "tiny", setting)
        assert done.returncode == 1 and message in done.stderr + done.stdout, (setting, done.stderr, done.stdout)


def test_unknown_method_settings_are_refused_before_training(mmcl, data_dir, tmp_path):
    folder = tmp_path / "wrong"
    done = mmcl("run", "unlearning", "--config", "tiny", "--folder", folder, "settings={laf: {epoch: 3}}")
    assert done.returncode == 2 and "laf" in done.stderr and "'epoch'" in done.stderr
    assert not results(folder) and not list((folder / "checkpoints").glob("*"))


@pytest.mark.slow
def test_stream_unlearns_and_writes_a_record(mmcl, data_dir, weights_dir, tmp_path):
    folder = tmp_path / "stream"
    settings = ["method=[neg_grad,laf]", "seeds=[0]", "stream.epochs=2", "settings={laf: {epochs: 1, vae_epochs: 1}}"]
    done = mmcl("run", "unlearning", "--config", "fsdd_stream", "--folder", folder, *settings)
    assert done.returncode == 0, done.stderr
    found = results(folder)
    assert [name for name, _ in found] == ["retrain", "original", "neg_grad", "laf"]
    assert "Test_f" in found["laf", 0]
    for name in ("neg_grad", "laf"):
        record = json.loads((folder / "records" / f"{name}-seed0.json").read_text())
        assert record["digest"] == record_digest(record) and record["method"] == name
        assert record["samples"] == len(record["ids"]) > 0 and all("jackson" in each for each in record["ids"])
        assert record["memory_after"] == record["memory_before"] - record["from_memory"] < record["memory_before"]
        assert record["after"] == {
            measure: value
            for measure, value in found[name, 0].items()
            if measure not in ("distance to Retrain", "time / Retrain's")
        }
        assert record["before"] == {
            measure: value for measure, value in found["original", 0].items() if measure in record["before"]
        }


def test_sisa_is_refused_in_a_stream(mmcl, data_dir, tmp_path):
    done = mmcl("validate", "unlearning", "model=encoder", "stream={}", "method=[sisa]")
    assert done.returncode != 0 and "sisa" in done.stderr


def test_laf_r_inherits_the_settings_of_laf():
    from tasks.unlearning import Config

    config = Config(settings={"laf": {"epochs": 3, "latent": 4}, "laf+r": {"epochs": 5, "repair_epochs": 2}})
    assert config.settings_of("laf+r") == {"epochs": 5, "latent": 4, "repair_epochs": 2}
    assert config.settings_of("laf") == {"epochs": 3, "latent": 4} and config.settings_of("scrub") == {}
