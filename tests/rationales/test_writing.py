import json

import pytest

from mmcl.data import Cqa, Esnli, Svamp
from mmcl.errors import ConfigError, DataError, EndpointError
from mmcl.rationales.writers import EndpointWriter
from mmcl.rationales.writing import Estimate, Writing


@pytest.fixture
def root(data_dir):
    return data_dir / "rationales" / "svamp"


@pytest.fixture
def exercises(root):
    return Svamp(root, "train", teachers=(), size=6)


@pytest.fixture
def writer(endpoint):
    return EndpointWriter(endpoint.url, "llama", longest=50, timeout=0.5, retries=0, workers=2)


def test_exported_completions_are_read_as_rationales(exercises, writer, root, tmp_path):
    writing = Writing(exercises, writer, tmp_path, "mine", samples=2)
    read = sum(len(exercises.prompt(each.question)) for each in exercises) * 2 // 4
    assert writing.estimate() == Estimate(12, read, 600)
    seen = []
    writing.write(seen.append)
    assert seen == list(range(1, 13)) and writing.estimate() == Estimate(0, 0, 0)
    assert [path.relative_to(tmp_path).as_posix() for path in writing.export()] == [
        "mine/train_CoT_0.json",
        "mine-2/train_CoT_0.json",
    ]
    again = Svamp(root, "train", completions=tmp_path)
    assert list(again.unparsed) == ["llama3", "palm", "mine", "mine-2"] and again.unparsed["mine"] == 0
    told = f"( {len(exercises.prompt(again[5].question))}.0 + 1.0 )"
    assert again[5].rationales[2] == ("Because.", told, "mine") and again[6].rationales[3] == ("", None, "mine-2")
    # The drawn validation split is part of the training data, so it shares the file.
    valid = Svamp(root, "valid", teachers=(), size=2)
    more = Writing(valid, writer, tmp_path, "mine", samples=1)
    assert more.estimate().requests == 2
    more.write()
    more.export()
    assert Svamp(root, "valid", teachers="mine", size=2, completions=tmp_path)[1].rationales[0].text == "Because."
    assert Svamp(root, "train", teachers="mine", size=2, completions=tmp_path)[1].rationales[0].text == "Because."


def test_completions_before_a_timeout_are_kept(exercises, writer, endpoint, tmp_path):
    endpoint.answers = iter([None, None, None, 1.5])
    writing = Writing(exercises, writer, tmp_path, "mine")
    with pytest.raises(EndpointError, match="APITimeoutError"):
        writing.write()
    kept = dict(writing.completions)
    assert 3 <= len(kept) < 6
    again = Writing(exercises, writer, tmp_path, "mine")
    assert again.completions == kept
    before = len(endpoint.asked)
    again.write()
    assert len(endpoint.asked) - before == 6 - len(kept) and len(again.completions) == 6
    assert again.path.read_text().count("\n") == 7
    assert Writing(exercises, writer, tmp_path, "mine").completions == again.completions


def test_incomplete_last_line_is_replaced(exercises, writer, tmp_path):
    writing = Writing(exercises, writer, tmp_path, "mine")
    writing.write()
    whole = writing.path.read_text()
    writing.path.write_text(whole[:-9])
    again = Writing(exercises, writer, tmp_path, "mine")
    assert len(again.completions) == 5
    again.write()
    assert sorted(writing.path.read_text().splitlines()) == sorted(whole.splitlines())
    for cut in ("", whole[:9]):  # the header line is missing or incomplete
        writing.path.write_text(cut)
        again = Writing(exercises, writer, tmp_path, "mine")
        assert again.completions == {}
        again.write()
        assert sorted(writing.path.read_text().splitlines()) == sorted(whole.splitlines())


def test_full_disk_is_reported(exercises, writer, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mmcl.rationales.writing.os.fsync", full)
    writing = Writing(exercises, writer, tmp_path, "mine")
    with pytest.raises(DataError, match=r"mine\.train\.jsonl.*No space left on device"):
        writing.write()
    monkeypatch.undo()
    writing.write()
    monkeypatch.setattr("mmcl.rationales.writing.written_whole", full)
    with pytest.raises(DataError, match=r"train_CoT_0\.json.*No space left on device"):
        writing.export()


def test_invalid_arguments_and_files_are_refused(exercises, writer, endpoint, root, tmp_path):
    writing = Writing(exercises, writer, tmp_path, "mine")
    writing.write()
    other = EndpointWriter(endpoint.url, "another")
    with pytest.raises(ConfigError, match=r"mine\.train\.jsonl.*llama.*another"):
        Writing(exercises, other, tmp_path, "mine")
    for name in ("", "../mine", ".mine"):
        with pytest.raises(ConfigError, match=f"'{name}'"):
            Writing(exercises, writer, tmp_path, name)
    with pytest.raises(ConfigError, match="samples.*0"):
        Writing(exercises, writer, tmp_path, "mine", samples=0)
    lines = writing.path.read_text().splitlines()
    writing.path.write_text("\n".join([*lines[:3], "{", *lines[3:]]) + "\n")
    with pytest.raises(DataError, match="line 4"):
        Writing(exercises, writer, tmp_path, "mine")
    writing.path.write_text("\n".join([lines[0], json.dumps({"row": 1})]) + "\n")
    with pytest.raises(DataError, match=r"line 2 .*'\w+'"):
        Writing(exercises, writer, tmp_path, "mine")
    (tmp_path / "palm").mkdir()
    (tmp_path / "palm" / "train_CoT_0.json").write_text("[]")
    with pytest.raises(DataError, match="'palm'"):
        Svamp(root, "train", completions=tmp_path)


@pytest.mark.parametrize(
    ("kind", "question", "completion", "answer"),
    [
        (Svamp, "Dan had 8.", "He spent 3. The answer is ( 8.0 - 3.0 ).", "( 8.0 - 3.0 )"),
        (Cqa, "Where?\nAnswer Choices:\n(a) lake", "It is wet. So the answer is (b) river bank.", "river bank"),
        (Esnli, "A dog runs.</s>It sleeps.", "It cannot do both. Answer: contradiction.", "contradiction"),
    ],
)
def test_completions_that_follow_the_prompt_are_parsed(kind, question, completion, answer):
    prompt = object.__new__(kind).prompt(question)
    assert all(part in prompt for part in question.split("</s>"))
    assert kind.parse(completion)[1] == answer
    told = {Svamp: "The answer is", Cqa: "So the answer is", Esnli: "Answer:"}[kind]
    assert f'"{told}"' in prompt
