"""Annotations with one thing changed: a byte, a cell or a value. Each loads, or is an error that says so."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import random
import shutil

import pytest
import soundfile
import torch
from torchvision.io import write_jpeg

from mmcl.data import (
    Anli,
    Barista,
    Captions,
    Cqa,
    Cranfield,
    Esnli,
    FashionMnist,
    FluentSpeechCommands,
    Food101,
    LabelledTable,
    Mnist,
    N24News,
    Rosmap,
    RotatedMnist,
    Sick,
    Slurp,
    SlurpText,
    SpeechCommands,
    SpokenSentences,
    Sts,
    Svamp,
    UciRegression,
)
from mmcl.data.synthesis.corpus import is_made
from mmcl.data.synthesis.spoken_texts import read_texts
from mmcl.data.texts.sts import FILES as STS_FILES
from mmcl.errors import MMCLError
from mmcl.predict import read_intents

MUTATIONS = 60  # of each kind and loader
VALUES = (None, True, 0, -1, 1e400, "", "x", "\ud800", [], {}, [[]], [None], {"a": None}, "9" * 400)
CELLS = ("", " ", "nan", "inf", "1e999", "1_000", "a,b", '"', "\0", "\n", "x" * 200_000, "é", "\ufeff")


def _sound(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * torch.sin(torch.arange(800) * (0.1 + seed / 100)).numpy(), 16_000)


def _picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_jpeg(torch.zeros(3, 8, 8, dtype=torch.uint8), str(path))


def _text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _lines(path, rows):
    _text(path, "".join(json.dumps(row) + "\n" for row in rows))


def barista(root):
    orders = {}
    for number in range(12):
        orders[f"id{number}.wav"] = {"intent": "order", "slots": {"coffeeDrink": ("latte", "mocha")[number % 2]}}
        _sound(root / "speech" / f"id{number}.flac", number)
    _text(root / "label.json", json.dumps(orders))
    return lambda: [Barista(root, split) for split in Barista.splits]


def _sentence(number, file):
    tokens = ["wake", "me", "at", "nine"]
    return {
        "slurp_id": number,
        "sentence": " ".join(tokens),
        "scenario": "alarm",
        "action": ("set", "remove")[number % 2],
        "tokens": [{"surface": token, "id": place} for place, token in enumerate(tokens)],
        "entities": [{"type": "time", "span": [3]}],
        "recordings": [{"file": file}],
    }


def slurp(root):
    for number, name in enumerate(("train", "devel", "test", "train_synthetic")):
        _sound(root / "audio" / f"{name}.flac", number)
        _lines(root / f"{name}.jsonl", [_sentence(number, f"{name}.flac")])
    return lambda: [Slurp(root, split, synthetic=True) for split in Slurp.splits]


def slurp_text(root):
    for number, name in enumerate(("train", "devel", "test")):
        _lines(root / f"{name}.jsonl", [_sentence(number, "")])
    return lambda: [SlurpText(root, split) for split in SlurpText.splits]


def sts(root):
    for names in STS_FILES.values():
        for name in names:
            _text(root / f"{name}.tsv", "4.5\tA dog runs.\tA dog is running.\n\tNo score.\tSkipped.\n")
    return lambda: [Sts(root, split) for split in Sts.splits]


def sick(root):
    header = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n"
    for name in ("SICK_train", "SICK_trial", "SICK_test_annotated"):
        _text(root / f"{name}.txt", header + "1\tA boy plays\tA kid plays\t4.5\tENTAILMENT\n")
    return lambda: [Sick(root, split) for split in Sick.splits]


def cranfield(root):
    _text(root / "cran.all.1400", ".I 1\n.T\nwings\n.A\nwho\n.B\nwhere\n.W\nwings\nflutter .\n")
    _text(root / "cran.qry", "".join(f".I {number}\n.W\nwhy wings\n" for number in range(1, 226)))
    _text(root / "cranqrel", "".join(f"{number} 1 2\n" for number in range(1, 226)))
    return lambda: [Cranfield(root, split) for split in Cranfield.splits]


def svamp(root):
    problems = [
        {"ID": f"c-{n}", "Body": "There are apples.", "Question": "How many?", "Equation": "( 8.0 - 3.0 )"}
        for n in range(1000)
    ]
    _text(root / "SVAMP.json", json.dumps(problems))
    return lambda: Svamp(root, "test")


def cqa(root):
    rows = [{"id": str(n), "question": "where?", "choices": ["bank", "bed"], "answer": "bed"} for n in range(12)]
    said = ["It is soft. So the answer is (b) bed."] * 12
    for part in ("train", "test"):
        _lines(root / f"cqa_{part}.json", rows)
        _text(root / "palm" / f"{part}_CoT_0.json", json.dumps(said))
    return lambda: [Cqa(root, split) for split in Cqa.splits]


def _nli(kind, file):
    def make(root):
        rows = [{"uid": str(n), "premise": "a", "hypothesis": "b", "label": "neutral"} for n in range(3)]
        for part in ("train", "valid", "test"):
            _lines(root / f"{file}_{part}.json", rows)
        return lambda: [kind(root, split) for split in kind.splits]

    make.__name__ = file
    return make


def n24news(root):
    for part in ("train", "dev", "test"):
        rows = [{"image_id": f"{part}{n}", "section": ("Art", "Health")[n % 2], "headline": "news"} for n in range(3)]
        _text(root / "news" / f"nytimes_{part}.json", json.dumps(rows))
        for row in rows:
            _picture(root / "imgs" / f"{row['image_id']}.jpg")
    return lambda: [N24News(root, split) for split in N24News.splits]


def intents(root):
    _text(root / "intents.json", json.dumps({"on": ["lights on", "on"], "off": "lights off"}))
    return lambda: read_intents(root / "intents.json")


def spoken_sentences(root):
    made = {"edition": "1", "parameters": {"texts": ["slurp"], "sentences": None, "takes": 1, "seed": 0, "digest": "d"}}
    _text(root / "corpus.json", json.dumps(made))
    for split in SpokenSentences.splits:
        _sound(root / "audio" / f"{split}.flac", 1)
        _lines(root / f"{split}.jsonl", [{"file": f"audio/{split}.flac", "text": "hello", "speaker": "en-f1"}])

    class Opened(SpokenSentences):  # as it is once the corpus is known to be there
        def __init__(self, split):
            super(SpokenSentences, self).__init__(root, split)

    return lambda: [is_made(root, "1", {}), *map(Opened, SpokenSentences.splits)]


def spoken_texts(root):
    _text(root / "slurp" / "lm.txt", "open the door\nplay a song\n")
    for name in ("devel", "test"):
        _lines(root / "slurp" / f"{name}.jsonl", [_sentence(1, "")])
    _lines(root / "rationales/cqa/cqa_train.json", [{"question": "what?", "choices": ["tea", "cat"]}])
    return lambda: read_texts(("slurp", "commonsense_qa"), root)


def speech_commands(root):
    for number, word in enumerate(("yes", "no")):
        for speaker in range(3):
            _sound(root / word / f"{speaker}_nohash_0.wav", 3 * number + speaker)
    _text(root / "validation_list.txt", "yes/0_nohash_0.wav\n")
    _text(root / "testing_list.txt", "yes/1_nohash_0.wav\nno/1_nohash_0.wav\n")
    return lambda: [SpeechCommands(root, split) for split in SpeechCommands.splits]


def fluent_speech_commands(root):
    head = ",path,speakerId,transcription,action,object,location\n"
    for number, split in enumerate(("train", "valid", "test")):
        _sound(root / "wavs" / f"{split}.wav", number)
        _text(
            root / f"data/{split}_data.csv", f'{head}0,wavs/{split}.wav,s{number},"on, please",activate,lights,none\n'
        )
    return lambda: [FluentSpeechCommands(root, split) for split in FluentSpeechCommands.splits]


def food101(root):
    for part in ("train", "test"):
        rows = []
        for number in range(40):
            name = ("apple_pie", "sushi")[number % 2]
            _picture(root / "images" / part / name / f"{number}.jpg")
            rows.append(f'{number}.jpg,"good, and easy",{name}\n')
        _text(root / "texts" / f"{part}_titles.csv", "".join(rows))
    return lambda: [Food101(root, split) for split in Food101.splits]


def captions(root):
    for name in ("a", "b"):
        _sound(root / "own" / f"{name}.wav", 1)
    _text(root / "said.csv", 'audio,text\nown/a.wav,"on, please"\nown/b.wav,off\n')
    return lambda: Captions(root / "said.csv")


def captions_of_a_folder(root):
    for name in ("a", "b"):
        _sound(root / f"{name}.wav", 1)
        _text(root / f"{name}.txt", "hello")
    return lambda: Captions(root)


def labelled_table(root):
    for number, split in enumerate(("train", "test")):
        rows = "".join(f"a {number}.{n},{n * n},{n}.5e-1,{'xy'[n % 2]}\n" for n in range(4))
        _text(root / f"{split}.csv", f"text,height,weight,label\n{rows}")
    return lambda: [LabelledTable(root, split)[0] for split in ("train", "test")]


def own_file(root):
    rows = [{"text": f"a {n}", "label": "xy"[n % 2], "entities": {"size": str(n)}, "weight": n / 3} for n in range(8)]
    _text(root / "own.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return lambda: [LabelledTable(root / "own.jsonl", split)[0] for split in ("train", "test")]


def rosmap(root):
    draw = random.Random(0)
    for end, count in (("tr", 12), ("te", 4)):
        for number in (1, 2, 3):
            rows = (",".join(f"{draw.random():.3f}" for _ in range(3)) for _ in range(count))
            _text(root / f"{number}_{end}.csv", "\n".join(rows) + "\n")
        _text(root / f"labels_{end}.csv", "\n".join(str(n % 2) for n in range(count)) + "\n")
    return lambda: [Rosmap(root, split) for split in Rosmap.splits]


def uci_regression(root):
    _text(root / "yacht.txt", "".join(f"{n}.5 {n % 3}\t{n * n}e-1\n" for n in range(12)))
    return lambda: [UciRegression(root, split, table="yacht") for split in UciRegression.splits]


def _idx(kind):
    def make(root):
        (root / "raw").mkdir()
        for name in ("train", "t10k"):
            for what, sizes in (("images-idx3", (3, 28, 28)), ("labels-idx1", (3,))):
                head = bytes((0, 0, 8, len(sizes))) + b"".join(size.to_bytes(4, "big") for size in sizes)
                values = bytes([1] * (3 * 28 * 28 if len(sizes) == 3 else 3))
                (root / "raw" / f"{name}-{what}-ubyte").write_bytes(head + values)
        return lambda: kind(root, "test").texts

    make.__name__ = kind.__name__
    return make


LOADERS = (
    barista, slurp, slurp_text, sts, sick, cranfield, svamp, cqa, _nli(Esnli, "esnli"), _nli(Anli, "anli1"), n24news,
    intents, spoken_sentences, spoken_texts, speech_commands, fluent_speech_commands, food101, captions,
    captions_of_a_folder, labelled_table, own_file, rosmap, uci_regression, _idx(Mnist), _idx(FashionMnist),
    _idx(RotatedMnist),
)  # fmt: skip
_ANNOTATIONS = (".json", ".jsonl", ".csv", ".tsv", ".txt", "-ubyte", ".1400", ".qry", "qrel")


def _annotations(root):
    return sorted(path for path in root.rglob("*") if path.is_file() and path.name.endswith(_ANNOTATIONS))


@pytest.fixture
def kept(request, tmp_path):
    """The loader of a small valid folder, whose annotations come back after each mutation."""
    root = tmp_path / "data"
    root.mkdir()
    load = request.param(root)
    load()  # it is valid
    return load, {path: path.read_bytes() for path in _annotations(root)}


def _try(load, contents, path, mutated):
    """Load with one file changed; an error has to be ours, and about this folder."""
    path.write_bytes(mutated)
    try:
        load()
    except MMCLError as error:
        assert "\n" not in str(error) and len(str(error)) < 1500, "one line, without the whole value"
        return str(error)
    finally:
        path.write_bytes(contents[path])
    return None


def _byte(draw, content):
    place = draw.randrange(max(1, len(content)))
    new = bytes([draw.choice((0, 10, 34, 44, 92, 123, 255, draw.randrange(256)))])
    return draw.choice((content[:place] + new + content[place + 1 :], content[:place] + new + content[place:],
                        content[:place] + content[place + 1 :], content[:place]))  # fmt: skip


@pytest.mark.parametrize("kept", LOADERS, indirect=True)
def test_a_byte_is_changed(kept):
    load, contents = kept
    draw = random.Random(0)
    for _ in range(MUTATIONS):
        path = draw.choice(list(contents))
        _try(load, contents, path, _byte(draw, contents[path]))


def _places(value, at=()):
    """Where there is a value in JSON, the outermost first."""
    yield at
    for key, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _places(each, (*at, key))


def _with(value, at, new):
    if not at:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[at[0]] = _with(value[at[0]], at[1:], new)
    return changed


_OF_JSON = [each for each in LOADERS if each.__name__ in (
    "barista", "slurp", "slurp_text", "svamp", "cqa", "esnli", "anli1", "n24news", "intents", "spoken_sentences",
    "spoken_texts", "own_file")]  # fmt: skip


@pytest.mark.parametrize("kept", _OF_JSON, indirect=True)
def test_a_value_of_json_is_another(kept):
    load, contents = kept
    draw = random.Random(0)
    refused = 0
    for _ in range(MUTATIONS):
        path = draw.choice([path for path in contents if path.suffix in (".json", ".jsonl")])
        lines = contents[path].decode().rstrip("\n").split("\n")
        number = draw.randrange(len(lines))
        value = json.loads(lines[number])
        lines[number] = json.dumps(_with(value, draw.choice(list(_places(value))), draw.choice(VALUES)))
        said = _try(load, contents, path, "\n".join(lines).encode())
        refused += said is not None
    assert refused > MUTATIONS / 5, "most values have one type"


@pytest.mark.parametrize("kept", _OF_JSON, indirect=True)
@pytest.mark.parametrize(
    "content", [b"null", b"[" * 100_000, b'"text"', b"\xff", b"", b"NaN", b'{"a": 1, "a": 2}', b"[1]", b"{}", b"[{}]"]
)
def test_a_file_of_json_is_another(kept, content):
    load, contents = kept
    for path in contents:
        if path.suffix in (".json", ".jsonl"):
            said = _try(load, contents, path, content)
            assert said is None or str(path.parent) in said


_OF_CSV = [each for each in LOADERS if each.__name__ in (
    "fluent_speech_commands", "food101", "captions", "labelled_table", "rosmap")]  # fmt: skip


@pytest.mark.parametrize("kept", _OF_CSV, indirect=True)
def test_a_cell_is_another(kept):
    load, contents = kept
    draw = random.Random(0)
    refused = 0
    for _ in range(MUTATIONS):
        path = draw.choice([path for path in contents if path.suffix == ".csv"])
        rows = list(csv.reader(io.StringIO(contents[path].decode())))
        row = draw.choice(rows)
        place = draw.randrange(len(row))
        row[place] = draw.choice(CELLS)
        text = "\n".join(",".join(cell if place == other else f'"{cell}"' if "," in cell else cell
                                  for other, cell in enumerate(row)) for row in rows)  # fmt: skip
        refused += _try(load, contents, path, text.encode()) is not None
    assert refused > MUTATIONS / 5


@pytest.mark.parametrize("kept", LOADERS, indirect=True)
def test_a_folder_is_in_place_of_a_file(kept):
    load, contents = kept
    for path in contents:
        path.unlink()
        path.mkdir()
        with pytest.raises(MMCLError) if "train" not in path.name or path.suffix else contextlib.suppress(MMCLError):
            load()  # of MNIST's, the test split is opened
        shutil.rmtree(path)
        path.write_bytes(contents[path])
