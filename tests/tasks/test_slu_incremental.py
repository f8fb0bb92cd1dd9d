"""The task run from the command line: results, resuming, errors."""

from __future__ import annotations

import json

import pytest
import soundfile
import torch
from forked import run_forked
from killed import kill_after, rows

from mmcl.config.model import load_config
from mmcl.config.tasks import find_config, load_task
from mmcl.data.speech.slurp import read_sentences
from mmcl.runs.run import Run

pytest.importorskip("espeakng_loader", reason="the synthetic corpus needs the extra 'synth'")

TWO = ["strategy=[replay,coconut]", "seeds=[3]", "epochs=3"]
SEQ2SEQ = ["strategy=[offline,replay+token_kd,coconut+audio_kd+sequence_kd]", "seeds=[3]", "epochs=6"]


@pytest.fixture(scope="module")
def whole(mmcl, tmp_path_factory):
    """Folder and output of an uninterrupted run of classifiers."""
    return uninterrupted(mmcl, tmp_path_factory, "tiny", TWO)


@pytest.fixture(scope="module")
def written(mmcl, tmp_path_factory):
    """Folder and output of an uninterrupted run of sequence-to-sequence models."""
    return uninterrupted(mmcl, tmp_path_factory, "tiny_seq2seq", SEQ2SEQ)


def uninterrupted(mmcl, tmp_path_factory, config, settings):
    folder = tmp_path_factory.mktemp("runs") / config
    done = mmcl("run", "slu_incremental", "--config", config, "--folder", folder, *settings)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_results_are_printed_and_stored(whole):
    folder, printed = whole
    assert "coconut" in printed and "replay" in printed and "report.html" in printed
    results = {row["strategy"]: row for row in rows(folder) if row["kind"] == "result"}
    assert results.keys() == {"replay", "coconut"}
    for row in results.values():
        assert 0 <= row["last_accuracy"] <= 1 and 0 <= row["average_accuracy"] <= 1
    epochs = [row for row in rows(folder) if row["kind"] == "epoch" and row["strategy"] == "coconut"]
    assert [(row["experience"], row["epoch"]) for row in epochs] == [(t, e) for t in (0, 1) for e in (1, 2, 3)]
    assert "nspt_audio" in epochs[-1]["losses"] and "nspt_audio" not in epochs[0]["losses"]
    stream = next(row for row in rows(folder) if row["kind"] == "stream")
    assert stream["train_sizes"] == [12, 12] and len(stream["experiences"][0]) == 2
    assert json.loads((folder / "status.json").read_text())["status"] == "finished"
    assert "coconut" in (folder / "report.html").read_text()


def test_generated_sequences_are_scored(written):
    folder, printed = written
    assert "SLU-F1" in printed and "error rate" in " ".join(printed.split())
    results = {row["strategy"]: row for row in rows(folder) if row["kind"] == "result"}
    assert list(results) == ["offline", "replay+token_kd", "coconut+audio_kd+sequence_kd"]
    for row in results.values():
        assert 0 <= row["slu_f1"] <= 1 and row["word_error_rate"] >= 0 and row["sequence_error_rate"] >= 0
    streams = {row["strategy"]: row for row in rows(folder) if row["kind"] == "stream"}
    assert len(streams["offline"]["experiences"]) == 1 and len(streams["replay+token_kd"]["experiences"]) == 2
    last = [row for row in rows(folder) if row["kind"] == "epoch"][-1]
    assert last["losses"].keys() >= {"cross_entropy", "audio_kd", "sequence_kd", "mm", "nspt_audio", "nspt_text"}
    assert (folder / "tokenizer.json").stat().st_size > 1000


def test_a_decoded_sequence_has_a_confidence(written, mmcl, tmp_path):
    soundfile.write(tmp_path / "tone.wav", torch.sin(torch.arange(16000) / 8).numpy() * 0.3, 16000)
    done = mmcl("predict", written[0], tmp_path / "tone.wav", "--model", "offline-seed3", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert 0 < found["confidence"] <= 1 and found.keys() >= {"entities", "transcript", "threshold", "label"}


@pytest.mark.parametrize("kind", ["whole", pytest.param("written", marks=pytest.mark.slow)])
def test_exported_model_has_the_accuracy_of_the_run(kind, request, mmcl, environment, tmp_path, monkeypatch):
    folder, _ = request.getfixturevalue(kind)
    name = "coconut+audio_kd+sequence_kd" if kind == "written" else "coconut"
    done = mmcl("export", folder, tmp_path / "hub", "--model", f"{name}-seed3")
    assert done.returncode == 0, done.stderr
    from mmcl.batch import collate
    from mmcl.data import open_dataset
    from mmcl.models import from_pretrained

    monkeypatch.setenv("MMCL_CACHE", environment["MMCL_CACHE"])
    model, config = from_pretrained(tmp_path / "hub"), Run.read(folder).config
    test = open_dataset(config["data"]["name"], "test", **config["data"]["options"])
    batch = collate([{"audio": test[row]["audio"]} for row in range(len(test))])
    right = model(batch).logits.argmax(1) == torch.tensor(test.labels)
    (result,) = [row for row in rows(folder) if row["kind"] == "result" and row["strategy"] == name]
    assert right.double().mean().item() == pytest.approx(result["last_accuracy"])
    if kind == "whole":
        assert model.classes == tuple(test.classes)


@pytest.mark.parametrize("kind", ["whole", pytest.param("written", marks=pytest.mark.slow)])
def test_mixed_precision_changes_losses_slightly(kind, request, mmcl, tmp_path):
    config, strategy = {"whole": ("tiny", "coconut"), "written": ("tiny_seq2seq", "coconut+audio_kd+sequence_kd")}[kind]
    settings = [f"strategy={strategy}", "seeds=3", f"epochs={3 if kind == 'whole' else 6}", "precision=bf16-mixed"]
    done = mmcl("run", "slu_incremental", "--config", config, "--folder", tmp_path / "run", *settings)
    assert done.returncode == 0, done.stderr
    losses = [
        [
            row["losses"]["cross_entropy"]
            for row in rows(folder)
            if row["kind"] == "epoch" and row["strategy"] == strategy
        ]
        for folder in (request.getfixturevalue(kind)[0], tmp_path / "run")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.1) and losses[0] != losses[1]


def test_objectives_are_added_by_name(mmcl, tmp_path):
    settings = (
        "strategy=[naive+nt_xent, coconut+sup_con+relational_kd]",
        "seeds=0",
        "contrast.weight=0.3",
        "objectives.dcl.sigma=0.5",
    )
    done = mmcl("run", "slu_incremental", "--config", "tiny", "--folder", tmp_path / "run", *settings)
    assert done.returncode == 0, done.stderr
    losses = {row["strategy"]: row["losses"] for row in rows(tmp_path / "run") if row["kind"] == "epoch"}
    assert {"cross_entropy", "nt_xent"} == set(losses["naive+nt_xent"])
    assert {"cross_entropy", "mm", "sup_con", "relational_kd"} <= set(losses["coconut+sup_con+relational_kd"])


def test_penalties_are_trained_online(mmcl, tmp_path):
    settings = ["strategy=[ewc,si,mas]", "seeds=0", "online=true", "anytime_every=1", "batch_size=4", "shots=3"]
    done = mmcl("run", "slu_incremental", "--config", "tiny", "--folder", tmp_path / "run", *settings)
    assert done.returncode == 0, done.stderr
    found = {row["strategy"]: row for row in rows(tmp_path / "run") if row["kind"] == "result"}
    assert found.keys() == {"ewc", "si", "mas"} and "anytime" in done.stdout
    assert all(0 <= row["anytime_accuracy"] <= 1 for row in found.values())
    epochs = [row for row in rows(tmp_path / "run") if row["kind"] == "epoch"]
    assert all(row["epoch"] == 1 for row in epochs) and "mas" in epochs[-1]["losses"]
    (stream, *_) = [row for row in rows(tmp_path / "run") if row["kind"] == "stream"]
    assert stream["train_sizes"] == [12, 6]


@pytest.mark.slow
def test_superclasses_are_split_into_experiences(mmcl, data_dir, tmp_path):
    """Intents of synthesized SLURP sentences arrive by scenario, and the memory is balanced over scenarios."""
    data = ["data.name=slurp_tts", "data.options={intents: 4, sentences: 40}", "by_superclass=true", "memory_size=2"]
    settings = [*data, "class_order=[audio,alarm]", "strategy=replay", "seeds=0", "epochs=1"]
    done = mmcl("run", "slu_incremental", "--config", "tiny_seq2seq", "--folder", tmp_path / "run", *settings)
    assert done.returncode == 0, done.stderr
    stream = next(row for row in rows(tmp_path / "run") if row["kind"] == "stream")
    assert [{name.split()[0] for name in names} for names in stream["experiences"]] == [{"audio"}, {"alarm"}]


@pytest.mark.slow
def test_tokenizer_of_another_run_is_refused(written, mmcl, environment, tmp_path):
    folder = tmp_path / "killed"
    kill_after(8, folder, environment, "slu_incremental/tiny_seq2seq", *SEQ2SEQ)
    other = json.loads((folder / "tokenizer.json").read_text())
    del other["digest"]  # format of older tokenizers
    other["tokenizer"]["model"]["merges"].pop()
    (folder / "tokenizer.json").write_text(json.dumps(other))
    done = mmcl("run", "--resume", folder)
    assert done.returncode == 1 and "tokenizer.json" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("lines", [4, 1, 13])
def test_killed_run_resumes_to_the_same_metrics(lines, whole, mmcl, environment, tmp_path):
    folder = tmp_path / "killed"
    kill_after(lines, folder, environment, "slu_incremental/tiny", *TWO)
    done = mmcl("run", "--resume", folder)
    assert done.returncode == 0, done.stderr
    assert rows(folder) == rows(whole[0])


@pytest.mark.parametrize("lines", [pytest.param(lines, marks=pytest.mark.slow) for lines in (8, 15, 35)])
def test_killed_seq2seq_run_resumes_to_the_same_metrics(lines, written, mmcl, environment, tmp_path):
    folder = tmp_path / "killed"
    kill_after(lines, folder, environment, "slu_incremental/tiny_seq2seq", *SEQ2SEQ)
    done = mmcl("run", "--resume", folder)
    assert done.returncode == 0, done.stderr
    assert rows(folder) == rows(written[0])


def test_resuming_a_finished_run_changes_nothing(whole, mmcl):
    folder, _ = whole
    before = (folder / "metrics.jsonl").read_bytes()
    assert mmcl("run", "--resume", folder).returncode == 0
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_failed_run_states_the_reason_and_can_be_compared(mmcl, whole, tmp_path):
    folder = tmp_path / "failed"
    tiny = ["run", "slu_incremental", "--config", "tiny", "--folder", folder, "strategy=naive", "seeds=0"]
    failed = mmcl(*tiny, "optimizer.learning_rate=1e30")
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert "loss" in failed.stderr and "learning rate" in failed.stderr
    assert json.loads((folder / "status.json").read_text())["status"].startswith("failed: ")
    compared = mmcl("compare", folder, whole[0], "--output", tmp_path / "both.html")
    assert compared.returncode == 0, compared.stderr
    assert (tmp_path / "both.html").stat().st_size > 1000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["experiences=5"], "experiences is 5"),
        (["memory_size=3", "strategy=replay"], "memory_size is 3"),
        (["data.name=barist"], "'barist' (did you mean 'barista'?)"),
        (["encoder.name=cnnn"], "'cnnn' (did you mean 'cnn'?)"),
        (["strategy=cocnut", "epoch=3"], "did you mean 'coconut'?"),
        (["strategy=slda"], "set encoder.frozen to true"),
        (["strategy=first_session@ncm", "encoder.frozen=true"], "or use ncm"),
    ],
)
def test_invalid_settings_are_refused_in_one_line(mmcl, settings, message, tmp_path):
    done = mmcl("run", "slu_incremental", "--config", "tiny", "--folder", tmp_path / "run", *settings)
    assert done.returncode in (1, 2) and message in " ".join(done.stderr.split()), done.stderr
    assert "Traceback" not in done.stderr


def test_every_strategy_with_a_memory_runs(mmcl, tmp_path):
    names = "er_ace,der,der_pp,gdumb,agem,wa,bic,lucir,er_ace@slda"
    settings = [f"strategy=[{names}]", "seeds=[0]", "epochs=1", "rehearsal.der_pp.alpha=0.1"]
    done = mmcl("run", "slu_incremental", "--config", "tiny", "--folder", tmp_path / "run", *settings)
    assert done.returncode == 0, done.stderr
    assert [row["strategy"] for row in rows(tmp_path / "run") if row["kind"] == "result"] == names.split(",")


def test_the_first_session_alone_is_trained(mmcl, tmp_path):
    folder, names = tmp_path / "run", ["first_session", "first_session+nt_xent@ranpac"]
    settings = [f"strategy=[{','.join(names)}]", "seeds=[0]", "epochs=2", "readout.ranpac.projections=20"]
    done = mmcl("run", "slu_incremental", "--config", "tiny", "--folder", folder, *settings)
    assert done.returncode == 0, done.stderr
    epochs = [row for row in rows(folder) if row["kind"] == "epoch"]
    assert [(row["strategy"], row["experience"]) for row in epochs] == [(name, 0) for name in names for _ in "12"]
    assert "nt_xent" in epochs[-1]["losses"]
    results = {row["strategy"]: row for row in rows(folder) if row["kind"] == "result"}
    assert all(row["memory_bytes"] > 0 and row["trained_parameters"] > 0 for row in results.values())
    soundfile.write(tone := tmp_path / "tone.wav", torch.sin(torch.arange(16000) / 8).numpy() * 0.3, 16000)
    for name in names:
        done = mmcl("export", folder, tmp_path / name, "--model", f"{name}-seed0")
        assert done.returncode == 0, done.stderr
        of_run = mmcl("predict", folder, tone, "--model", f"{name}-seed0", "--json")
        exported = mmcl("predict", tmp_path / name, tone, "--json")
        assert of_run.returncode == exported.returncode == 0, of_run.stderr + exported.stderr
        one, other = json.loads(of_run.stdout), json.loads(exported.stdout)
        assert one["label"] == other["label"] and one["confidence"] == pytest.approx(other["confidence"], abs=1e-4)


def test_adapters_are_trained_exported_and_resumed(environment, small_whisper, tmp_path):
    weights, folder = tmp_path / "weights", tmp_path / "run"
    small_whisper(weights / "small")
    known = {**environment, "MMCL_WEIGHTS": str(weights)}

    def mmcl(*arguments):
        done = run_forked(list(map(str, arguments)), known)
        assert done.returncode == 0, done.stderr
        return done.stdout

    settings = ["encoder.name=openai/small", "encoder.lora.rank=2", "encoder.tune_from=1", "seeds=[0]", "epochs=2"]
    mmcl("run", "slu_incremental/tiny", "--folder", folder, "strategy=[replay,first_session]", *settings)
    results = {row["strategy"]: row for row in rows(folder) if row["kind"] == "result"}
    adapters = 2 * 2 * (4 * (16 + 16) + 2 * (16 + 32))  # two layers: four projections and the two of the perceptron
    assert adapters < results["first_session"]["trained_parameters"] < adapters + 5 * 17
    soundfile.write(tone := tmp_path / "tone.wav", torch.sin(torch.arange(16000) / 8).numpy() * 0.3, 16000)
    mmcl("export", folder, tmp_path / "hub", "--model", "first_session-seed0")
    of_run = json.loads(mmcl("predict", folder, tone, "--model", "first_session-seed0", "--json"))
    exported = json.loads(mmcl("predict", tmp_path / "hub", tone, "--json"))
    assert of_run["label"] == exported["label"]
    assert of_run["confidence"] == pytest.approx(exported["confidence"], abs=1e-4)
    assert (tmp_path / "hub" / "model.safetensors").stat().st_size < 50_000  # without Whisper's own weights
    before = (folder / "metrics.jsonl").read_bytes()
    mmcl("run", "--resume", folder)
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_prompts_are_trained_by_l2p_and_exported(environment, small_whisper, tmp_path):
    weights, folder = tmp_path / "weights", tmp_path / "run"
    small_whisper(weights / "small")
    known = {**environment, "MMCL_WEIGHTS": str(weights)}

    def mmcl(*arguments):
        done = run_forked(list(map(str, arguments)), known)
        assert done.returncode == 0, done.stderr
        return done.stdout

    settings = ["encoder.name=openai/small", "encoder.prompts.size=6", "seeds=[0]", "epochs=2", "l2p.key_weight=0.1"]
    mmcl("run", "slu_incremental/tiny", "--folder", folder, "strategy=[l2p,replay]", *settings)
    epochs = [row for row in rows(folder) if row["kind"] == "epoch" and row["strategy"] == "l2p"]
    assert len(epochs) == 4 and all(row["losses"].keys() == {"cross_entropy", "keys"} for row in epochs)
    (result,) = [row for row in rows(folder) if row["kind"] == "result" and row["strategy"] == "l2p"]
    assert result["trained_parameters"] == 6 * 5 * 16 + 6 * 16 + 4 * 17 and result["memory_bytes"] == 0
    soundfile.write(tone := tmp_path / "tone.wav", torch.sin(torch.arange(16000) / 8).numpy() * 0.3, 16000)
    mmcl("export", folder, tmp_path / "hub", "--model", "l2p-seed0")
    of_run = json.loads(mmcl("predict", folder, tone, "--model", "l2p-seed0", "--json"))
    exported = json.loads(mmcl("predict", tmp_path / "hub", tone, "--json"))
    assert of_run["label"] == exported["label"]
    assert of_run["confidence"] == pytest.approx(exported["confidence"], abs=1e-4)


def test_real_data_with_the_real_encoder(data_dir, weights_dir, mmcl, tmp_path):
    """Digits of one speaker, five of each to train on: a small end-to-end run."""
    folder = tmp_path / "digits"
    settings = [
        "data.options={speakers: [george]}",
        "data.train=[valid]",
        "strategy=[naive,joint,slda,naive@ncm]",
        "seeds=[0]",
    ]
    done = mmcl(
        "run", "slu_incremental", "--config", "fsdd", "--folder", folder, *settings, "epochs=20", "batch_size=8"
    )
    assert done.returncode == 0, done.stderr
    last = {row["strategy"]: row["last_accuracy"] for row in rows(folder) if row["kind"] == "result"}
    assert last["joint"] > max(0.7, last["naive"] + 0.1) and last["slda"] > 0.7 and last["naive@ncm"] > last["naive"]
    recording = next((data_dir / "fsdd").rglob("7_george_*.wav"))
    done = mmcl("predict", folder, recording, "--model", "slda-seed0", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["confidence"] > 0


@pytest.mark.parametrize(
    ("given", "size"), [({"memory_size": 30}, 30), ({"memory_share": 0.02}, 14), ({"memory_share": 0.0}, 0)]
)
def test_memory_size_is_a_number_or_a_share_of_the_training_data(given, size):
    task = load_task("slu_incremental")
    for base in ("replay", "coconut", "icarl"):
        assert task.settings(task.Config(**given), base, 700)["memory_size"] == size


def order(config):
    done = find_config("slu_incremental", config)
    return load_config(load_task("slu_incremental").Config, done).class_order


def test_published_class_orders_name_every_class_once(data_dir):
    assert order("fsc3") == order("fsc6") and len(set(order("fsc6"))) == len(order("fsc6")) == 31
    assert set(order("fsc6")) >= {"increase heat washroom", "change language", "bring shoes", "activate lights"}
    sentences = [line for name in ("devel", "test") for line in read_sentences(data_dir / "slurp" / f"{name}.jsonl")]
    for config in ("slurp3", "slurp6"):
        assert list(order(config)) == sorted({sentence.scenario for sentence in sentences})
