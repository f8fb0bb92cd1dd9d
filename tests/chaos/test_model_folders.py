"""Model folders with one field of one file changed: each loads and answers as before, or is refused in words, at once.

Without digests, as models were saved before there were any, what a field changes can go unnoticed, but never as
another error, a hang, or memory beyond all bounds.
"""

import copy
import itertools
import json
import os
import random
import shutil
import signal
import time
from contextlib import contextmanager

import pytest
import torch
from peak_memory import PeakMemory
from safetensors.torch import load_file, save_file
from thinned import thinned
from transformers import (
    BertConfig,
    BertModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from mmcl.batch import Batch, collate
from mmcl.encoders import build_encoder
from mmcl.encoders.pretrained import quiet
from mmcl.errors import CheckpointError, MMCLError
from mmcl.models import Frame, FrameTokenizer, SLUClassifier, SLUSeq2Seq, TwoTower, from_pretrained
from mmcl.models.heads import HeadOptions
from mmcl.models.saved import save_slu
from mmcl.models.text_to_text import TextToText

DEEP = json.loads("[" * 200 + "]" * 200)
VALUES = [None, True, -1, 0, 2**33, 1e308, "", "x", [], {}, DEEP]
MISSING = object()
TEXTS = ["one and one is two", "two"]
QUICK = 25  # changes of each kind that are tried in every run
SECONDS = 20
BYTES = 1_500_000_000


def speech():
    generator = torch.Generator().manual_seed(1)
    return collate([{"audio": torch.randn(size, generator=generator)} for size in (6000, 4000)])


def two_towers(folder):
    audio = build_encoder("audio", "cnn", dim=16, blocks=1, mels=16)
    heads = {"first_head": HeadOptions("attention", 16, layers=1, heads=2), "second_head": HeadOptions("mlp", 16)}
    TwoTower(audio, build_encoder("text", "words", dim=16, buckets=32), **heads, dim=8).eval().save(folder)


def towers_on_a_folder(folder):
    bert(folder / "bert")
    text = build_encoder("text", folder / "bert")
    text.spec["name"] = "./bert"
    here = os.getcwd()
    os.chdir(folder)
    try:
        TwoTower(build_encoder("audio", "cnn", dim=16, blocks=1), text, second_head="none").eval().save(folder)
    finally:
        os.chdir(here)


def images(folder):
    image = build_encoder("image", "cnn", dim=16, blocks=2, size=16)
    TwoTower(image, build_encoder("text", "words", dim=16, buckets=32), dim=8).eval().save(folder)


def classifier(folder):
    model = SLUClassifier(build_encoder("audio", "conformer", dim=16, layers=1, heads=2, mels=16), hidden=8)
    model.grow([0, 1])
    save_slu(model.eval(), folder, ["on", "off"])


def writer(folder):
    names = ["lights on", "lights off"]
    tokenizer = FrameTokenizer.train([Frame(name, (), f"please {name}") for name in names], names, vocabulary=60)
    sizes = {"dim": 16, "layers": 1, "heads": 2, "feedforward": 16, "max_tokens": 6, "projection": 8, "beams": 2}
    encoder = build_encoder("audio", "cnn", dim=16, blocks=1, mels=16, frozen=True)
    save_slu(SLUSeq2Seq(encoder, tokenizer, **sizes).eval(), folder, names)


def student(folder):
    TextToText.from_scratch(["one and one is two"] * 3, vocabulary=110, dim=16, layers=1, heads=2).save(folder)


def bert(folder):
    TextToText.from_scratch(["one and one is two"] * 3, vocabulary=110, dim=16, layers=1, heads=2).save(folder)
    for name in ("config.json", "model.safetensors", "generation_config.json"):
        (folder / name).unlink()
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    with quiet():
        BertModel(BertConfig(vocab_size=120, **sizes)).save_pretrained(folder)


def wav2vec2(folder):
    sizes = {"conv_dim": [8, 8], "conv_stride": [20, 16], "conv_kernel": [20, 16], "num_conv_pos_embeddings": 8}
    sizes |= {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = Wav2Vec2Config(num_conv_pos_embedding_groups=2, num_feat_extract_layers=2, **sizes)
    with quiet():
        Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)


def clip(folder):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    with quiet():
        CLIPVisionModel(CLIPVisionConfig(image_size=16, patch_size=8, **sizes)).save_pretrained(folder)
    settings = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}, "do_center_crop": True}
    settings |= {"resample": 3, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_normalize": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))


def embedded(modality):
    def answer(model):
        rows = [model.tower("text")(Batch(text=TEXTS))]
        batch = speech() if modality == "audio" else Batch(image=torch.linspace(0, 1, 800).view(2, 1, 20, 20))
        return torch.cat([*rows, model.tower(modality)(batch)])

    return answer


def encoder(modality, inputs):
    return lambda folder: build_encoder(modality, folder), lambda model: model(*inputs()).pooled


def waveforms():
    batch = speech()
    return batch["audio"], batch["audio_lengths"]


SAVED = {
    "two_towers": (two_towers, from_pretrained, embedded("audio")),
    "images": (images, from_pretrained, embedded("image")),
    "towers_on_a_folder": (towers_on_a_folder, from_pretrained, embedded("audio")),
    "classifier": (classifier, from_pretrained, lambda model: model(speech()).logits),
    "writer": (writer, from_pretrained, lambda model: [str(frame) for frame in model(speech()).frames]),
    "student": (student, from_pretrained, lambda model: model.write(TEXTS, longest=3)),
}
BARE = {
    "bert": (bert, *encoder("text", lambda: (TEXTS,))),
    "wav2vec2": (wav2vec2, *encoder("audio", waveforms)),
    "clip": (clip, *encoder("image", lambda: (torch.linspace(0, 1, 2400).view(2, 3, 20, 20),))),
    "whisper": (None, *encoder("audio", waveforms)),
}


def fields(value, path=()):
    """The paths of all fields; of long lists and objects, of the first and last few."""
    if path:
        yield path
    items = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    for key, each in items if len(items) <= 40 else [*items[:2], *items[-2:]]:
        yield from fields(each, (*path, key))


def changes(folder):
    """Every change: a file, the path of a field in it, and what is put there."""
    for file in sorted(folder.rglob("*.json")):
        content = json.loads(file.read_text())
        content.pop("mmcl_digests", None)
        for path in fields(content):
            for value in (*VALUES, MISSING):
                yield file.relative_to(folder), path, value


def changed(content, path, value):
    content = copy.deepcopy(content)
    part = content
    for key in path[:-1]:
        part = part[key]
    if value is MISSING:
        del part[path[-1]]
    else:
        part[path[-1]] = value
    return content


class TookTooLong(BaseException):
    """Raised by the clock, whatever the library at hand makes of it."""


@contextmanager
def within_seconds(seconds):
    def stop(*_):
        raise TookTooLong

    before, started = signal.signal(signal.SIGALRM, stop), time.monotonic()
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        if time.monotonic() - started >= seconds:
            raise TookTooLong


def same(given, expected):
    return torch.equal(given, expected) if isinstance(expected, torch.Tensor) else given == expected


def tried(kinds, name, tmp_path, small_whisper, monkeypatch):
    monkeypatch.delenv("MMCL_WEIGHTS", raising=False)
    torch.manual_seed(0)
    make, load, answer = kinds[name]
    folder = tmp_path / name
    folder.mkdir()
    small_whisper(folder) if make is None else make(folder)
    with torch.no_grad():
        torch.manual_seed(0)
        return folder, load, answer, answer(load(folder).eval())


def sweep(folder, load, answer, expected, chosen, *, digests):
    """Try changes, and return what is wrong with any."""
    wrong = []
    for file, path, value in chosen:
        whole = (folder / file).read_text()
        content = changed(json.loads(whole), path, value)
        if not digests:
            content.pop("mmcl_digests", None)
        (folder / file).write_text(json.dumps(content))
        memory = PeakMemory()
        what = f"{file} {'.'.join(map(str, path))} = {'missing' if value is MISSING else str(value)[:20]}"
        try:
            with within_seconds(SECONDS), torch.no_grad():
                torch.manual_seed(0)
                given = answer(load(folder).eval())
            if digests and not same(given, expected):
                wrong.append(f"{what}: answers otherwise")
        except MMCLError as error:
            if "\n" in str(error) or len(str(error)) > 1000:
                wrong.append(f"{what}: {error}")
        except BaseException as error:
            wrong.append(f"{what}: {type(error).__name__} {str(error)[:150]}")
        finally:
            (folder / file).write_text(whole)
        if memory.grown() > BYTES:
            wrong.append(f"{what}: took more memory than {BYTES:,} bytes")
    return wrong


def strip(folder):
    """Make a model as it was saved before there were digests."""
    for file in folder.rglob("*.json"):
        content = json.loads(file.read_text())
        if content.pop("mmcl_digests", None) is not None:
            file.write_text(json.dumps(content))


def some(folder, share):
    every = list(changes(folder))
    return every if share is None else random.Random(0).sample(every, min(share, len(every)))


@pytest.mark.parametrize("share", [QUICK, pytest.param(None, marks=pytest.mark.slow)], ids=["some", "all"])
@pytest.mark.parametrize("name", SAVED)
def test_a_saved_model_with_a_changed_field(name, share, tmp_path, small_whisper, monkeypatch):
    opened = tried(SAVED, name, tmp_path, small_whisper, monkeypatch)
    chosen = [each for each in some(opened[0], share) if each[0].parts[0] != "bert"]  # which was not saved by mmcl
    assert sweep(*opened, chosen, digests=True) == []


@pytest.mark.parametrize("share", [QUICK, pytest.param(None, marks=pytest.mark.slow)], ids=["some", "all"])
@pytest.mark.parametrize("name", [*SAVED, *BARE])
def test_a_model_without_digests_with_a_changed_field(name, share, tmp_path, small_whisper, monkeypatch):
    opened = tried({**SAVED, **BARE}, name, tmp_path, small_whisper, monkeypatch)
    strip(opened[0])
    assert sweep(*opened, some(opened[0], share), digests=False) == []


@pytest.mark.parametrize("name", SAVED)
def test_every_flipped_bit_of_the_weights_is_noticed(name, tmp_path, small_whisper, monkeypatch):
    folder, load, *_ = tried(SAVED, name, tmp_path, small_whisper, monkeypatch)
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    draw = random.Random(0)
    for _ in range(25):
        place, bit = draw.randrange(start, len(whole)), draw.randrange(8)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        with pytest.raises(CheckpointError, match="tensor '.*' .* is damaged"):
            load(folder)
    for _ in range(15):  # in the header
        place, bit = draw.randrange(start), draw.randrange(8)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        with pytest.raises(MMCLError):
            load(folder)


@pytest.mark.parametrize(
    ("name", "how"), thinned(itertools.product([*SAVED, *BARE], ["bool", "int32", "nan", "inf"]), 3)
)
def test_weights_that_are_no_finite_floats(name, how, tmp_path, small_whisper, monkeypatch):
    folder, load, *_ = tried({**SAVED, **BARE}, name, tmp_path, small_whisper, monkeypatch)
    strip(folder)
    path = folder / "model.safetensors"
    state = load_file(path)
    tensor = next(key for key in sorted(state) if state[key].is_floating_point() and ("encoder" in key or "." in key))
    bad = {
        "bool": state[tensor] > 0,
        "int32": state[tensor].int(),
        "nan": state[tensor].clone().index_fill_(0, torch.tensor(0), float("nan")),
        "inf": state[tensor].clone().index_fill_(0, torch.tensor(0), float("-inf")),
    }
    save_file({**state, tensor: bad[how]}, path, metadata={"format": "pt"})
    with pytest.raises(MMCLError, match=f"tensor '.*{tensor.rpartition('.')[2]}' .*(expected float|not finite)"):
        load(folder)


@pytest.mark.parametrize("name", ["student", "writer"])
def test_a_changed_tokenizer_is_noticed(name, tmp_path, small_whisper, monkeypatch):
    folder, load, *_ = tried(SAVED, name, tmp_path, small_whisper, monkeypatch)
    whole = (folder / "tokenizer.json").read_bytes()
    (folder / "tokenizer.json").write_bytes(whole + b" ")
    with pytest.raises(CheckpointError, match="tokenizer.json was changed after the model was saved"):
        load(folder)
    (folder / "tokenizer.json").write_bytes(whole)
    load(folder)


@pytest.mark.parametrize("name", SAVED)
def test_a_model_saved_before_there_were_digests_loads(name, tmp_path, small_whisper, monkeypatch):
    folder, load, answer, expected = tried(SAVED, name, tmp_path, small_whisper, monkeypatch)
    strip(folder)
    moved = shutil.copytree(folder, tmp_path / "moved")
    with torch.no_grad():
        assert same(answer(load(moved)), expected)
