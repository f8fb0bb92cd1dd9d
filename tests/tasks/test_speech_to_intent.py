"""The task run from the command line: results, predictions, models of earlier runs, errors."""

from __future__ import annotations

import json

import pytest

from mmcl.config.tasks import load_task

pytest.importorskip("espeakng_loader", reason="the synthetic corpus needs the extra 'synth'")


@pytest.fixture(scope="module")
def whole(mmcl, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    done = mmcl("run", "speech_to_intent", "--config", "tiny", "--folder", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def recording(whole, environment):
    from pathlib import Path

    return next(Path(environment["MMCL_CACHE"]).rglob("*.wav"))


def rows(folder, kind):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def test_results_have_every_measure(whole):
    results = rows(whole, "result")
    assert len(results) == 4
    for row in results:
        assert list(row["measures"]) == [
            "synthetic_commands, one template",
            "synthetic_commands, one template, from text",
            "synthetic_commands, ensemble",
            "synthetic_commands, ensemble, from text",
            "synthetic_commands, linear probe",
            "synthetic_commands by text",
        ]
    found = rows(whole, "zero_shot")
    by_class = [row for row in found if "confusion" in row]
    assert len(found) == 12 and len(by_class) == 8
    for row in by_class:
        confusion, total = row["confusion"], sum(map(sum, row["confusion"]))
        assert total == 8 and row["top1"] == sum(confusion[i][i] for i in range(4)) / total
        assert row["top5"] == 1.0 and len(row["per_class"]) == len(row["classes"]) == 4
    assert len(rows(whole, "similarity")) == 4
    assert "temperature" in rows(whole, "epoch")[0] and rows(whole, "epoch")[1]["temperature"] != 0.07
    page = (whole / "report.html").read_text()
    assert all(heading in page for heading in ("Training loss", "Confusion", "Structure of similarities"))


class Requests:
    """Five samples of three classes in two superclasses; two have the same text."""

    classes, superclasses, labels = ("lights on", "lights off", "play"), ("home", "home", "music"), [0, 1, 2, 2, 0]
    texts = ["lamp on", "dark please", "a song", "a tune", "lamp on"]


def candidates(**settings):
    task = load_task("speech_to_intent")
    rows, labels, classes, prompts = task.candidates(task.EvaluationSection(name="requests", **settings), Requests())
    return rows.tolist(), labels.tolist(), classes, prompts


def test_candidates_are_classes_superclasses_or_texts(tmp_path):
    rows, labels, classes, prompts = candidates(templates=["{}", "please {}"])
    assert (rows, labels, classes) == ([0, 1, 2, 3, 4], [0, 1, 2, 2, 0], list(Requests.classes))
    assert prompts[2] == ["play", "please play"]
    rows, labels, classes, prompts = candidates(by="superclass")
    assert (labels, classes, prompts) == ([0, 0, 1, 1, 0], ["home", "music"], [["home"], ["music"]])
    rows, labels, _, prompts = candidates(by="text", candidates=3)
    assert (rows, labels) == ([0, 1, 2, 4], [0, 1, 2, 0])
    assert prompts == [["lamp on"], ["dark please"], ["a song"]]
    rows, labels, classes, _ = candidates(classes=["play", "lights on"])
    assert (rows, labels, classes) == ([0, 2, 3, 4], [0, 1, 1, 0], ["lights on", "play"])
    named = {"play": "music", "lights off": ["dark"], "lights on": ["bright", "light"]}
    (tmp_path / "prompts.json").write_text(json.dumps(named))
    assert candidates(prompts=str(tmp_path / "prompts.json"))[3] == [["bright", "light"], ["dark"], ["music"]]


def test_models_of_an_earlier_run_get_the_same_results(whole, mmcl, tmp_path):
    done = mmcl("run", "speech_to_intent", "--config", "tiny", "--folder", tmp_path / "again", f"model={whole}")
    assert done.returncode == 0, done.stderr
    again = {row["strategy"]: row["measures"] for row in rows(tmp_path / "again", "result")}
    assert again == {f"{row['strategy']}-seed{row['seed']}": row["measures"] for row in rows(whole, "result")}
    assert not rows(tmp_path / "again", "epoch")


def test_some_of_the_classes_are_evaluated_alone(whole, mmcl, tmp_path):
    names = rows(whole, "zero_shot")[0]["classes"]
    chosen = f"title: two, name: synthetic_commands, classes: [{names[2]}, {names[0]}]"
    options = "options: {intents: 4, utterances_per_intent: [6, 2, 2]}"
    settings = [f"model={whole}/models/clip-seed0", f"evaluations=[{{{chosen}, {options}}}]"]
    done = mmcl("run", "speech_to_intent", "--config", "tiny", "--folder", tmp_path / "two", *settings)
    assert done.returncode == 0, done.stderr
    (found,) = rows(tmp_path / "two", "zero_shot")
    assert found["data"] == "two" and found["classes"] == [names[0], names[2]]
    assert [sum(row) for row in found["confusion"]] == [2, 2]
    settings[1] = settings[1].replace(names[0], names[0] + "x")
    done = mmcl("run", "speech_to_intent", "--config", "tiny", "--folder", tmp_path / "no", *settings)
    assert done.returncode == 2 and f"'{names[0]}x' (did you mean '{names[0]}'?)" in done.stderr


def test_predict_prints_intents_by_similarity(whole, recording, mmcl):
    asked = ["predict", whole, recording, "--intents", "lights on", "play music", "volume down"]
    done = mmcl(*asked)
    assert done.returncode == 0, done.stderr
    assert "clip-seed0" in done.stdout and "█" in done.stdout and "volume down" in done.stdout
    found = json.loads(mmcl(*asked, "--json", "--model", "cwcl-seed1").stdout)
    assert found["model"] == "cwcl-seed1"
    cosines = [each["cosine"] for each in found["predictions"]]
    assert cosines == sorted(cosines, reverse=True) and sum(e["share"] for e in found["predictions"]) == pytest.approx(
        1
    )
    assert {each["intent"] for each in found["predictions"]} == {"lights on", "play music", "volume down"}


def test_exported_model_predicts_the_same(whole, recording, mmcl, tmp_path):
    folder = tmp_path / "named-by-words"
    done = mmcl("export", whole, folder, "--model", "cwcl-seed1")
    assert done.returncode == 0, done.stderr
    asked = [recording, "--intents", "lights on", "play music", "volume down", "--json"]
    found, expected = (
        json.loads(mmcl("predict", each, *asked, *model).stdout)["predictions"]
        for each, model in ((folder, []), (whole, ["--model", "cwcl-seed1"]))
    )
    assert found == expected and len(found) == 3
    card = (folder / "README.md").read_text()
    measured = {row["seed"]: row["measures"] for row in rows(whole, "result") if row["strategy"] == "cwcl"}
    for name, value in measured[1].items():
        (line,) = [line for line in card.splitlines() if line.startswith(f"| {name} |")]
        mean = 50 * (measured[0][name] + value)
        assert line.split(" | ")[-1] == f"{100 * value:.1f} |" and line.split(" | ")[2].startswith(f"{mean:.1f} ±")


def test_prompts_are_read_from_a_file(whole, recording, mmcl, tmp_path):
    (tmp_path / "intents.json").write_text(json.dumps({"on": ["lights on", "lamp on"], "music": "play music"}))
    done = mmcl("predict", whole, recording, "--prompts", tmp_path / "intents.json", "--json")
    assert {each["intent"] for each in json.loads(done.stdout)["predictions"]} == {"on", "music"}


@pytest.mark.slow
def test_invalid_inputs_are_refused(whole, recording, mmcl, tmp_path):
    empty = tmp_path / "empty.wav"
    empty.touch()
    (tmp_path / "bad.json").write_text('{"on": 3}')
    (tmp_path / "other.json").write_text('{"activate lamps": ["on"]}')
    for arguments, message in (
        ([whole, empty, "--intents", "a"], "empty.wav"),
        ([whole, recording], "intents"),
        ([whole, recording, "--intents", "a", "--model", "clip-seed7"], "'clip-seed7'"),
        ([whole, recording, "--prompts", tmp_path / "bad.json"], "bad.json"),
        ([whole, recording, "--intents", " "], "prompt"),
        ([tmp_path, recording, "--intents", "a"], str(tmp_path)),
    ):
        done = mmcl("predict", *arguments)
        assert done.returncode in (1, 2) and message in done.stderr and "Traceback" not in done.stderr
    evaluations = f"evaluations=[{{name: fsdd, prompts: {tmp_path / 'other.json'}}}]"
    for settings, message in (
        ([evaluations], "'activate lamps'"),
        (["evaluations=[{name: fsdd, by: superclass}]"], "superclasses"),
        (["evaluations=[{name: fsdd, templates: [no place]}]"], "no place"),
    ):
        done = mmcl(
            "run", "speech_to_intent", "--config", "tiny", "--folder", tmp_path / "no", f"model={whole}", *settings
        )
        if "is missing" in done.stderr:
            pytest.skip("MMCL_DATA has no spoken digits")
        assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
        import shutil

        shutil.rmtree(tmp_path / "no", ignore_errors=True)
