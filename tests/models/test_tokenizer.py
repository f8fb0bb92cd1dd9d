import errno
import json
import random
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from mmcl.data.base import Entity
from mmcl.data.speech.slurp import read_sentences
from mmcl.errors import CheckpointError, ConfigError, DataError, LabelError
from mmcl.models import Frame, FrameTokenizer
from mmcl.models.frame import Marker
from mmcl.models.tokenizer import UNKNOWN
from mmcl.seeding import random_state, seed_everything, set_random_state

COMMANDS = [
    Frame("lights on", (Entity("room", "kitchen"),), "turn on the lights in the kitchen"),
    Frame("lights off", (), "lights off"),
    Frame("music play", (Entity("song", "hello"), Entity("room", "bath")), "play hello in the bath"),
]
INTENTS = ["lights off", "lights on", "music play"]


@pytest.fixture(scope="module")
def sentences(data_dir):
    """Return all available sentences of SLURP."""
    return [sentence for name in ("devel", "test") for sentence in read_sentences(data_dir / "slurp" / f"{name}.jsonl")]


@pytest.fixture(scope="module")
def frames(sentences):
    return [Frame(sentence.intent, sentence.entities, sentence.text) for sentence in sentences]


@pytest.fixture(scope="module")
def slurp(frames):
    return FrameTokenizer.train(frames, sorted({frame.intent for frame in frames}))


@pytest.fixture
def tokenizer():
    return FrameTokenizer.train(COMMANDS, INTENTS, vocabulary=70, dropout=0.3)


@cache
def trained_once():
    return FrameTokenizer.train(COMMANDS, INTENTS, vocabulary=70)


def with_dropout(tokenizer, dropout):
    return FrameTokenizer(tokenizer._tokenizer, tokenizer.intents, dropout=dropout)


def test_separators_have_one_token_each():
    tokenizer = FrameTokenizer.train(COMMANDS, INTENTS, dropout=0.0)
    ids = tokenizer.encode(COMMANDS[0])
    separator, fill = (tokenizer.marker_id(marker) for marker in (Marker.SEP, Marker.FILL))
    assert ids.count(separator) == 2 and ids.count(fill) == 1 and separator != fill


def test_all_frames_of_slurp_round_trip(slurp, sentences, frames):
    assert len(slurp) == 1000 and len(sentences) > 5000
    for sentence, frame in zip(sentences, frames, strict=True):
        assert slurp.frame(slurp.intents.index(sentence.intent), sentence.entities, sentence.text) == frame
        assert slurp.decode(slurp.encode(frame)) == frame


def test_frames_encoded_with_dropout_round_trip(slurp, frames):
    seed_everything(0)
    sampled = with_dropout(slurp, 0.5)
    different = 0
    for frame in frames[:500]:
        tokens = sampled.encode(frame, sample=True)
        different += tokens != slurp.encode(frame)
        assert sampled.decode(tokens) == frame
    assert different > 450


def test_each_intent_and_marker_is_one_token(slurp):
    assert len(slurp.intents) > 50
    ids = [slurp.intent_id(label) for label in range(len(slurp.intents))]
    assert len(set(ids)) == len(ids)
    for label, intent in enumerate(slurp.intents):
        tokens = slurp.encode(Frame(intent, (Entity("a", "b"),), "c"))
        assert tokens == [ids[label], tokens[1], tokens[2], tokens[3], tokens[4], tokens[1], tokens[6], slurp.end]
        assert [tokens[1], tokens[3]] == [slurp._marker_ids[Marker.SEP], slurp._marker_ids[Marker.FILL]]


def test_with_almost_no_dropout_words_are_split_as_by_the_library(slurp, frames):
    nearly_none = with_dropout(slurp, 1e-12)  # 0 would skip sampling
    assert all(nearly_none.encode(frame, sample=True) == slurp.encode(frame) for frame in frames)


def segmentations(tokenizer, word, dropout):
    """Return the probability of each segmentation by algorithm 1 of BPE-dropout, over all draws of all steps."""
    ranks = {
        tuple(pair): rank for rank, pair in enumerate(json.loads(tokenizer._tokenizer.to_str())["model"]["merges"])
    }
    found = Counter()

    def step(parts, probability):
        merges = sorted((ranks[pair], place) for place, pair in enumerate(zip(parts, parts[1:])) if pair in ranks)  # noqa: B905
        for before, (_, place) in enumerate(merges):  # those before it are dropped, and this one is kept
            merged = (*parts[:place], parts[place] + parts[place + 1], *parts[place + 2 :])
            step(merged, probability * dropout**before * (1 - dropout))
        found[parts] += probability * dropout ** len(merges)

    step(("\u2581", *word), 1.0)
    return found


@pytest.mark.parametrize("word", ["tomorrow", "calendar", "weather", "playlist"])
def test_segmentations_follow_the_distribution_of_the_paper(slurp, word):
    """The library's dropout differs: it draws again for dropped merges after an outdated merge, which keeps more words
    whole than the paper, and it cannot be seeded."""
    seed_everything(0)
    draws, dropout = 4000, 0.3
    tokenizer = with_dropout(slurp, dropout)
    library = Tokenizer.from_str(slurp._tokenizer.to_str())
    library.model.dropout = dropout
    ours = Counter(tuple(tokenizer._subwords(word)) for _ in range(draws))
    theirs = Counter(tuple(library.encode(word).ids) for _ in range(draws))

    expected = segmentations(slurp, word, dropout)
    assert sum(expected.values()) == pytest.approx(1)
    for parts, probability in expected.most_common(8):
        error = (probability * (1 - probability) / draws) ** 0.5
        ids = tuple(slurp._id_of[part] for part in parts)
        assert abs(ours[ids] / draws - probability) < 4 * error, parts
        if parts == (f"\u2581{word}",):
            assert theirs[ids] / draws - probability > 4 * error


def test_sampling_follows_the_seed_and_a_restored_random_state(slurp, frames):
    def sampled():
        return [slurp.encode(frame, sample=True) for frame in frames[:200]]

    seed_everything(3)
    first = sampled()
    state = random_state()
    second = sampled()
    seed_everything(3)
    assert sampled() == first != second
    set_random_state(state)
    assert sampled() == second


def test_encoding_without_sample_draws_no_random_numbers(tokenizer):
    before = random.getstate()
    assert len({tuple(tokenizer.encode(COMMANDS[0])) for _ in range(20)}) == 1
    assert random.getstate() == before
    assert len({tuple(tokenizer.encode(COMMANDS[0], sample=True)) for _ in range(20)}) > 10
    assert len({tuple(with_dropout(tokenizer, 0.0).encode(COMMANDS[0], sample=True)) for _ in range(20)}) == 1


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Turn ON, the lights!", "turn on the lights"),
        ("it's 5 o'clock", "it's 5 o'clock"),
        ("  tabs\tand\nlines ", "tabs and lines"),
        ("at&t (twenty-one)", "at t twenty one"),
        ("\N{FULLWIDTH LATIN CAPITAL LETTER A}\N{LATIN SMALL LIGATURE FI}ne", "afine"),
        ("place_name", "place_name"),
        ("?!", ""),
        ("", ""),
    ],
)
def test_normalization_by_hand(tokenizer, text, normal):
    assert tokenizer.normalized(text) == normal
    frame = tokenizer.frame(1, [Entity(text, text)], text)
    assert frame == Frame("lights on", (Entity(normal, normal),), normal)


@given(st.text(max_size=12))
def test_normalization_is_idempotent_and_its_result_can_be_encoded(text):
    tokenizer = trained_once()
    once = tokenizer.normalized(text)
    assert tokenizer.normalized(once) == once
    tokenizer.decode(tokenizer.encode(Frame("lights on", (), text)))


def test_each_unseen_character_is_the_unknown_token(tokenizer):
    unknown = tokenizer._tokenizer.token_to_id(UNKNOWN)
    frame = Frame("lights on", (), "turn 猫 lights ßon")
    for tokens in (tokenizer.encode(frame), tokenizer.encode(frame, sample=True)):
        assert tokens.count(unknown) == 2
        assert UNKNOWN in tokenizer.decode(tokens).transcript
    assert with_dropout(tokenizer, 1e-12).encode(frame, sample=True) == tokenizer.encode(frame)


def test_special_tokens_in_a_text_are_words():
    tokenizer = FrameTokenizer.train([*COMMANDS, Frame("lights on", (), "sep end")], INTENTS)
    tokens = tokenizer.encode(Frame("lights off", (), "turn <sep> lights <lights on> <end> off"))
    assert tokens.count(tokens[1]) == 1
    assert tokenizer.decode(tokens) == Frame("lights off", (), "turn sep lights lights on end off")


@pytest.mark.parametrize("name", ["sep", "fill", "end", "start", "pad", "unknown"])
def test_an_intent_may_have_the_name_of_a_special_token(name):
    frames = [Frame(name, (Entity("room", "bath"),), "go"), Frame("go", (), "go")]
    tokenizer = FrameTokenizer.train(frames, [name, "go"], vocabulary=60)
    assert [tokenizer.decode(tokenizer.encode(frame)) for frame in frames] == frames


def test_decoding_stops_at_the_end_token_and_skips_padding(tokenizer):
    tokens = tokenizer.encode(COMMANDS[2])
    noisy = [tokenizer.start, tokens[0], tokenizer.pad, *tokens[1:], *tokens[:4], tokenizer.pad]
    assert tokenizer.decode(noisy) == COMMANDS[2]
    assert tokenizer.decode(tokens[:-1]) == COMMANDS[2]
    assert tokenizer.decode([]) == tokenizer.decode([tokenizer.end, *tokens]) == Frame("")


def test_a_saved_tokenizer_encodes_the_same(slurp, frames, tmp_path):
    path = tmp_path / "tokenizer.json"
    original = with_dropout(slurp, 0.25)
    original.save(path)
    loaded = FrameTokenizer.load(path)
    assert loaded.fingerprint == slurp.fingerprint and len(loaded) == len(slurp)
    assert (loaded.intents, loaded.dropout) == (slurp.intents, 0.25)
    assert all(loaded.encode(frame) == slurp.encode(frame) for frame in frames[:300])
    seed_everything(0)
    expected = [original.encode(frame, sample=True) for frame in frames[:50]]
    seed_everything(0)
    assert [loaded.encode(frame, sample=True) for frame in frames[:50]] == expected
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]


def test_training_is_deterministic(slurp, frames, tokenizer):
    assert FrameTokenizer.train(frames, slurp.intents).fingerprint == slurp.fingerprint
    assert FrameTokenizer.train(COMMANDS[::-1], INTENTS, vocabulary=70).fingerprint == tokenizer.fingerprint


def test_different_tokenizers_have_different_fingerprints(tokenizer):
    assert FrameTokenizer.train(COMMANDS, INTENTS, vocabulary=69).fingerprint != tokenizer.fingerprint
    assert FrameTokenizer.train(COMMANDS, INTENTS[::-1], vocabulary=70).fingerprint != tokenizer.fingerprint


def test_a_failed_save_leaves_no_partial_file(tokenizer, tmp_path, monkeypatch):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    before = path.read_bytes()

    def full(self, content, **kwargs):
        self.write_bytes(content[:20].encode())
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DataError, match="tokenizer.json .*No space left on device"):
        with_dropout(tokenizer, 0.0).save(path)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]
    with pytest.raises(DataError, match="No such file"):
        tokenizer.save(tmp_path / "nowhere" / "tokenizer.json")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: "",
        lambda content: "[]",
        lambda content: content.replace('"intents"', '"names"'),
        lambda content: content.replace('"lights on"', '"lights up"'),
        lambda content: content.replace('"dropout": 0.3', '"dropout": 3'),
        lambda content: content.replace('"type": "BPE"', '"type": "B"'),
    ],
)
def test_a_damaged_file_is_an_error(damage, tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    damaged = damage(path.read_text())
    assert damaged != path.read_text()
    path.write_text(damaged)
    with pytest.raises(CheckpointError, match="tokenizer.json"):
        FrameTokenizer.load(path)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="tokenizer.json"):
        FrameTokenizer.load(tmp_path / "tokenizer.json")


def test_a_vocabulary_that_is_too_small_is_an_error():
    with pytest.raises(ConfigError, match=r"12, expected at least (\d+): 9 special") as caught:
        FrameTokenizer.train(COMMANDS, INTENTS, vocabulary=12)
    least = int(str(caught.value).split("at least ")[1].split(":")[0])
    assert len(FrameTokenizer.train(COMMANDS, INTENTS, vocabulary=least)) == least
    with pytest.raises(ConfigError):
        FrameTokenizer.train(COMMANDS, INTENTS, vocabulary=least - 1)


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_a_dropout_outside_its_range_is_an_error(dropout):
    with pytest.raises(ConfigError, match=f"dropout is {dropout}"):
        FrameTokenizer.train(COMMANDS, INTENTS, dropout=dropout)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_without_an_intent_is_an_error(tokenizer, label):
    with pytest.raises(LabelError, match=f"label {label} .*0 to 2"):
        tokenizer.frame(label, (), "lights")


def test_an_unknown_intent_is_an_error(tokenizer):
    with pytest.raises(LabelError, match="'lights up'"):
        tokenizer.encode(Frame("lights up", (), "lights up"))


def test_a_tokenizer_without_the_special_tokens_is_an_error(tokenizer):
    with pytest.raises(ConfigError, match="'<lights up>'"):
        FrameTokenizer(tokenizer._tokenizer, ["lights up"])
