from collections import Counter
from hashlib import sha256

import pytest

from mmcl.data import open_dataset
from mmcl.data.synthesis import command_plan
from mmcl.data.synthesis.command_plan import voices
from mmcl.data.synthesis.spoken_sentences import SentenceParameters, SpokenSentences, plan_sentences
from mmcl.data.synthesis.spoken_texts import read_texts, texts_digest
from mmcl.errors import ConfigError, DataError, MissingDataError


@pytest.fixture(scope="module")
def corpus(text_root, tmp_path_factory):
    pytest.importorskip("espeakng_loader", reason="the extra 'synth' is not installed")
    root = tmp_path_factory.mktemp("made") / "corpus"
    return SpokenSentences.generate(
        root, texts=["slurp", "commonsense_qa"], takes=2, text_root=text_root, progress=False
    )


def opened(corpus, split="train", **options):
    return SpokenSentences(corpus, split, make=False, **options)


def test_each_text_is_spoken_once_per_take_without_test_sentences(corpus, sentences):
    train, valid = opened(corpus), opened(corpus, "valid")
    assert len(valid.texts) == 1 and valid.texts[0] in sentences  # a tenth of 13
    wanted = [*(set(sentences) - set(valid.texts)), "news", "What makes tea?", "kettle", "a cat"]
    assert Counter(train.texts) == dict.fromkeys(wanted, 2)
    assert train.classes == ("speech",) and set(train.labels) == {0}


def test_splits_have_disjoint_voices_and_takes_vary(corpus):
    train, valid = opened(corpus), opened(corpus, "valid")
    timbres = {split: {v.variant for v in each} for split, each in voices(0).items()}
    for split, data in (("train", train), ("valid", valid)):
        assert {u.speaker.rpartition("-")[2] for u in data.utterances} <= timbres[split]
    speakers = {}
    for utterance in train.utterances:
        speakers.setdefault(utterance.text, set()).add(utterance.speaker)
    assert sum(len(each) > 1 for each in speakers.values()) > 12


def test_a_sample_is_speech_with_its_text(corpus):
    sample = opened(corpus)[0]
    assert 0.4 < len(sample["audio"]) / 16000 < 4 and sample["audio"].abs().max() > 0.05
    assert sample["text"] == opened(corpus).texts[0]


def test_equal_arguments_give_equal_samples(corpus, text_root, tmp_path):
    again = SpokenSentences.generate(
        tmp_path / "again", texts=["slurp", "commonsense_qa"], takes=2, text_root=text_root, progress=False
    )
    digests = [
        {path.relative_to(root): sha256(path.read_bytes()).hexdigest() for path in root.rglob("*.*") if path.is_file()}
        for root in (corpus, again)
    ]
    assert digests[0] == digests[1] and len(digests[0]) == 2 * 15 + 1 + 3


def test_a_sentence_sounds_as_in_a_larger_corpus(sentences):
    texts = {"slurp": sentences}
    small, large = (
        plan_sentences(SentenceParameters(sentences=number, takes=takes), texts)
        for number, takes in ((4, 1), (None, 2))
    )
    assert set(small["train"]) < set(large["train"]) and len(small["train"]) == 4


def test_each_word_is_inserted_once_into_a_train_sentence():
    words = [f"word{number}" for number in range(25)]
    texts = {"slurp": [f"a{n} b{n} c{n}" for n in range(12)], "varied": words, "vocabulary": words}
    parameters = SentenceParameters(texts=("vocabulary", "varied", "slurp"))
    assert parameters.texts == ("slurp", "varied", "vocabulary")
    planned = plan_sentences(parameters, texts)
    varied = [command.text.split() for name, command in planned["train"] if "/varied/" in name]
    assert Counter(word for text in varied for word in text if word in words) == dict.fromkeys(words, 1)
    held_out = planned["valid"][0][1].text.split()
    for text in varied:  # one word of three is new
        kept = [place for place, word in enumerate(text) if word not in words]
        assert len(text) == 3 and len(kept) == 2
        assert not any(text[place] in held_out for place in kept)
    other = plan_sentences(SentenceParameters(texts=("slurp", "varied"), seed=1), texts)
    assert [c.text for n, c in other["train"] if "/varied/" in n] != [" ".join(text) for text in varied]


def test_recording_conditions_vary_in_train_only():
    said = plan_sentences(SentenceParameters(), {"slurp": [f"call number {number}" for number in range(2000)]})
    train, valid = ([command for _, command in said[split]] for split in ("train", "valid"))
    assert 0.25 < sum(c.telephone for c in train) / len(train) < 0.35 and not any(c.telephone for c in valid)
    assert 0.45 < sum(c.before == 0 for c in train) / len(train) < 0.55 and min(c.before for c in valid) >= 50
    assert max(c.noise for c in train) > 300 and max(c.noise for c in valid) <= 60


def test_interrupted_generation_resumes(corpus, text_root, tmp_path, monkeypatch):
    settings = {"texts": ["slurp", "commonsense_qa"], "takes": 2, "text_root": text_root, "progress": False}
    record, made = command_plan.record, []

    def some(command):
        if len(made) >= 5:
            raise KeyboardInterrupt
        made.append(command)
        return record(command)

    monkeypatch.setattr(command_plan, "record", some)
    with pytest.raises(KeyboardInterrupt):
        SpokenSentences.generate(tmp_path / "corpus", **settings)
    assert not (tmp_path / "corpus").exists()
    again = []
    monkeypatch.setattr(command_plan, "record", lambda command: (again.append(command), record(command))[1])
    SpokenSentences.generate(tmp_path / "corpus", **settings)
    assert len(again) <= 31 - 5 and not {str(c) for c in again} & {str(c) for c in made}
    assert (tmp_path / "corpus" / "train.jsonl").read_bytes() == (corpus / "train.jsonl").read_bytes()


def test_existing_corpus_is_used(corpus, monkeypatch):
    monkeypatch.setattr(command_plan, "record", None)  # fails if called
    assert len(SpokenSentences(corpus, "train")) == 30
    with pytest.raises(DataError, match=r"takes 2, expected 3"):
        SpokenSentences(corpus, "train", takes=3)


def test_invalid_arguments_raise(corpus, text_root, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="no texts 'slrup'.*did you mean 'slurp'"):
        SpokenSentences(tmp_path / "no", texts=["slrup"])
    with pytest.raises(ConfigError, match="each once"):
        SentenceParameters(texts=("slurp", "slurp"))
    with pytest.raises(ConfigError, match="expected slurp as well"):
        SentenceParameters(texts=("varied",))
    with pytest.raises(ConfigError, match="takes is 0"):
        SentenceParameters(takes=0)
    with pytest.raises(DataError, match="no split 'test'"):
        opened(corpus, "test")
    with pytest.raises(MissingDataError, match="no corpus in .*make it with 'mmcl data make sentences_tts'"):
        opened(tmp_path / "nothing")
    monkeypatch.delenv("MMCL_DATA", raising=False)
    with pytest.raises(MissingDataError, match="MMCL_DATA, which is not set"):
        SpokenSentences.generate(tmp_path / "no", progress=False)
    (tmp_path / "slurp").mkdir()
    for name in ("devel", "test"):
        (tmp_path / "slurp" / f"{name}.jsonl").write_bytes((text_root / "slurp" / f"{name}.jsonl").read_bytes())
    with pytest.raises(MissingDataError, match=r"there is no .*lm\.txt"):
        SpokenSentences.generate(tmp_path / "no", text_root=tmp_path, progress=False)
    (corpus / "train.jsonl").rename(corpus / "kept.jsonl")
    try:
        with pytest.raises(MissingDataError, match=r"there is no file .*train\.jsonl"):
            opened(corpus)
    finally:
        (corpus / "kept.jsonl").rename(corpus / "train.jsonl")


def test_digest_of_the_published_text(data_dir):
    if not (data_dir / "slurp" / "lm.txt").exists():
        pytest.skip("MMCL_DATA has no text of SLURP")
    texts = read_texts(("slurp",), data_dir)
    assert len(texts["slurp"]) == 11492 and texts_digest(texts) == SentenceParameters().digest
    planned = plan_sentences(SentenceParameters(), texts)
    assert {split: len(said) for split, said in planned.items()} == {"train": 10992, "valid": 500}


def test_the_catalog_has_it():
    with pytest.raises(ConfigError, match="no option 'take'.*takes"):
        open_dataset("sentences_tts", "train", take=2)
