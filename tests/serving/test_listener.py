"""Listeners answer like `mmcl predict`, and add the nearest training sentences."""

import re
from threading import Thread

import pytest
import soundfile
import torch

from mmcl.config.model import StrictModel
from mmcl.data import Barista
from mmcl.encoders import build_encoder
from mmcl.errors import AudioError, CheckpointError, ConfigError, MissingDataError, ShapeError
from mmcl.models import TwoTower
from mmcl.models.two_tower import embed_texts
from mmcl.predict import predict
from mmcl.runs.run import Run
from mmcl.sections.towers import PairsSection
from mmcl.serving.listener import Listener, TrainingSentences, listeners, training_sentences

INTENTS = {"coffee": ["order a latte", "a coffee please"], "lights": ["lights on"]}


class Config(StrictModel):
    pairs: PairsSection
    seeds: tuple[int, ...] = (0,)


def towers(**options):
    torch.manual_seed(0)
    text = build_encoder("text", "words", dim=16, **options)
    return TwoTower(build_encoder("audio", "cnn", dim=16), text, second_head="none").eval()


@pytest.fixture
def listener():
    model, texts = towers(), ["lights off please", "a tea", "lamp on"]
    return Listener(model, TrainingSentences(texts, 3), embed_texts(model, texts), longest=2.0)


def captions(folder, texts):
    folder.mkdir()
    for number, text in enumerate(texts):
        soundfile.write(folder / f"{number}.wav", torch.randn(800).numpy() * 0.1, 16000)
        (folder / f"{number}.txt").write_text(text)
    return PairsSection(name="captions", options={"train": str(folder), "valid": str(folder)})


def make_run(folder, pairs, **models):
    with Run.create("contrastive_pretraining", Config(pairs=pairs), folder):
        for name, model in models.items():
            model.save(folder / "models" / name)
    return folder


def test_answer_equals_predict_with_nearest_sentences(listener, recording):
    answer = listener.answer(recording, INTENTS)
    expected = predict(listener.model, recording, INTENTS)
    assert [each.intent for each in answer.predictions] == [each.intent for each in expected]
    for found, wanted in zip(answer.predictions, expected, strict=True):
        assert (found.cosine, found.share) == pytest.approx((wanted.cosine, wanted.share), abs=1e-5)
    alone = {
        each.intent: each.cosine
        for each in predict(listener.model, recording, {t: [t] for t in ("a tea", "lamp on", "lights off please")})
    }
    assert dict(answer.sentences) == pytest.approx(alone, abs=1e-5)
    cosines = [each.cosine for each in answer.sentences]
    assert cosines == sorted(cosines, reverse=True)
    assert answer.audio_seconds == 9000 / 16000 and answer.seconds > 0


def test_texts_of_intents_are_embedded_once(listener, recording, monkeypatch):
    asked = []
    embed = embed_texts
    monkeypatch.setattr(
        "mmcl.serving.listener.embed_texts", lambda model, texts: asked.append(list(texts)) or embed(model, texts)
    )
    listener.warm_up(INTENTS)
    first = listener.answer(recording, INTENTS)
    again = listener.answer(recording, {**INTENTS, "tea": ["a tea"]})
    assert asked == [["order a latte", "a coffee please", "lights on"], ["a tea"]]
    assert {each.intent: each.cosine for each in first.predictions}.items() <= {
        each.intent: each.cosine for each in again.predictions
    }.items()


def test_cache_has_a_limit_and_drops_the_oldest(listener, recording, monkeypatch):
    monkeypatch.setattr("mmcl.serving.listener._MAX_CACHED", 2)
    for words in ("one", "two", "one", "three"):
        listener.answer(recording, {words: [words]})
    assert list(listener._cache) == ["one", "three"]
    assert (
        len(listener.answer(recording, {words: [words] for words in "abcd"}).predictions) == 4
    )  # more than the limit at once
    assert list(listener._cache) == ["c", "d"]


def test_threads_get_equal_answers(listener, recording):
    expected = listener.answer(recording, INTENTS).predictions
    found = []
    threads = [Thread(target=lambda: found.append(listener.answer(recording, INTENTS).predictions)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_invalid_recordings_are_refused(listener, tmp_path):
    def write(name, waveform):
        soundfile.write(tmp_path / name, waveform.numpy(), 16000)

    write("silent.wav", torch.zeros(8000))
    write("offset.wav", torch.full((8000,), 0.5))  # a microphone without speech
    write("long.wav", torch.randn(16000 * 3).clamp(-1, 1))
    write("short.wav", torch.randn(100).clamp(-1, 1))
    (tmp_path / "text.wav").write_text("not audio")
    (tmp_path / "empty.wav").touch()
    for name, error, message in (
        ("silent.wav", AudioError, "silent.wav"),
        ("offset.wav", AudioError, "offset.wav"),
        ("long.wav", AudioError, "3.0 s.* 2 s"),
        ("short.wav", ShapeError, "100 samples"),
        ("text.wav", AudioError, "text.wav"),
        ("empty.wav", AudioError, "empty.wav"),
        ("none.wav", MissingDataError, "none.wav"),
    ):
        with pytest.raises(error, match=message):
            listener.answer(tmp_path / name, INTENTS)


def test_invalid_intents_are_refused(listener, recording):
    many = {str(number): [str(number)] for number in range(1001)}
    for intents, message in (({}, "0 intents"), ({"a": ["x"], "b": ["x"]}, "'x'"), (many, "1001")):
        with pytest.raises(ConfigError, match=message):
            listener.answer(recording, intents)


def test_maximum_duration_is_that_of_the_encoder(weights_dir, monkeypatch):
    monkeypatch.setenv("MMCL_WEIGHTS", str(weights_dir))
    speech = build_encoder("audio", "openai/whisper-base", subsampling=4, silence=0.5)
    model = TwoTower(speech, build_encoder("text", "words", dim=16), first_head="attention", dim=16)
    assert Listener(model).longest == 29.0 and Listener(model, longest=5.0).longest == 5.0


def test_models_are_loaded_with_their_training_sentences(tmp_path, recording):
    pairs = captions(tmp_path / "said", ["lights off please", "a tea", "a tea", "lamp on", "music"])
    run = make_run(tmp_path / "run", pairs, one=towers(), two=towers())
    seen = []
    found = listeners(run, limit=3, longest=7.0, progress=lambda done, total: seen.append((done, total)))
    assert list(found) == ["one", "two"] and seen[-1] == (6, 6) and seen == sorted(seen)
    for each in found.values():
        assert each.sentences == TrainingSentences(["a tea", "lamp on", "lights off please"], 4) and each.longest == 7.0
        torch.testing.assert_close(each.vectors, embed_texts(each.model, each.sentences.texts))
    (alone,) = listeners(run / "models" / "two", limit=3).values()
    assert alone.sentences == found["two"].sentences
    assert alone.answer(recording, INTENTS).predictions == found["two"].answer(recording, INTENTS).predictions


def test_frozen_encoders_and_locked_sentences_are_shared(tmp_path):
    model = towers(frozen=True)
    run = make_run(tmp_path / "run", captions(tmp_path / "said", ["a tea", "lamp on"]), one=model, two=model)
    one, two = listeners(run).values()
    assert one.model.second.encoder is two.model.second.encoder and one.vectors is two.vectors
    assert one.model.first.encoder is not two.model.first.encoder


def test_missing_data_sets_are_reported_and_not_generated(tmp_path, monkeypatch):
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MMCL_DATA", raising=False)
    for pairs, why in (
        (PairsSection(name="synthetic_commands", options={"intents": 4}), "missing"),
        (PairsSection(name="synthetic_commands"), "missing"),
        (PairsSection(name="fsdd"), "fsdd"),
        (PairsSection(name="nothing"), "'nothing'"),
    ):
        run = make_run(tmp_path / f"run {pairs.name} {len(pairs.options)}", pairs, one=towers())
        (found,) = listeners(run).values()
        assert why in found.sentences.why and not found.sentences.texts and found.vectors.shape == (0, 16)
    assert not (tmp_path / "cache").exists()
    towers().save(tmp_path / "alone" / "model")
    assert "config.yaml" in training_sentences(tmp_path / "alone" / "model", 10).why


def test_generated_corpus_is_found(tmp_path, monkeypatch):
    pytest.importorskip("espeakng_loader", reason="the synthetic corpus needs the extra 'synth'")
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path))
    pairs = PairsSection(name="synthetic_commands", options={"intents": 2, "utterances_per_intent": [3, 2, 2]})
    texts = pairs.build("train").texts
    make_run(tmp_path / "run", pairs)
    assert training_sentences(tmp_path / "run", 100).texts == sorted(dict.fromkeys(texts), key=len)


def test_models_without_audio_tower_are_refused(tmp_path):
    images = TwoTower(build_encoder("image", "cnn", channels=3, dim=16), build_encoder("text", "words", dim=16))
    run = make_run(tmp_path / "run", captions(tmp_path / "said", ["a"]), one=images)
    with pytest.raises(ConfigError, match="models/one .*image"):
        listeners(run)
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path))):
        listeners(tmp_path)


def test_real_speech_with_pretrained_encoders(data_dir, weights_dir, monkeypatch):
    monkeypatch.setenv("MMCL_WEIGHTS", str(weights_dir))
    model = TwoTower(
        build_encoder("audio", "openai/whisper-base", subsampling=4),
        build_encoder("text", "sentence-transformers/all-MiniLM-L6-v2"),
        second_head="none",
    )
    listener = Listener(model)
    answer = listener.answer(Barista(data_dir / "barista", "test").utterances[0].path, INTENTS)
    assert {each.intent for each in answer.predictions} == set(INTENTS) and answer.sentences == []
