import json

import pytest

from mmcl.data import open_dataset
from mmcl.data.texts.exercises import Exercises, field, first_answer, label_of
from mmcl.errors import DataError, MissingDataError


class Sums(Exercises):
    """Ten exercises of a small file."""

    def _read(self, part):
        rows = [row for _, row in self._lines(f"{part}.json")]
        return [(str(n), field(row, "sum", "sums"), field(row, "label", "sums"), ()) for n, row in enumerate(rows)]

    @classmethod
    def parse(cls, completion):
        text, answer = first_answer(completion, "Q:", "It is")
        return text, label_of(answer)


@pytest.fixture
def folder(tmp_path):
    lines = [json.dumps({"sum": f"{n} + 1", "label": str(n + 1)}) for n in range(10)]
    for part in ("train", "test"):
        (tmp_path / f"{part}.json").write_text("\n".join(lines))
    said = [f"One more than {n}. It is {n + 1}.\n\nQ: and {n}? It is 0." for n in range(9)] + ["I do not know."]
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "train_CoT_0.json").write_text(json.dumps(said[:7]))
    (tmp_path / "llm" / "train_CoT_1.json").write_text(json.dumps(said[7:]))
    (tmp_path / "notes").mkdir()
    return tmp_path


def test_completions_follow_the_exercises_through_files_and_splits(folder):
    train, valid, test = (Sums(folder, split) for split in ("train", "valid", "test"))
    assert (len(train), len(valid), len(test)) == (9, 1, 10)
    assert {each.id for each in train} | {each.id for each in valid} == {str(n) for n in range(10)}
    for each in [*train, *valid]:
        (said,) = each.rationales
        if each.id == "9":
            assert said.answer is None and said.text == "I do not know."
        else:
            assert said == (f"One more than {each.id}.", each.label, "llm")
    assert train.unparsed["llm"] + valid.unparsed["llm"] == 1 and test.unparsed == {}
    assert Sums(folder, "train", teachers=()).exercises[0].rationales == ()
    assert [each.id for each in Sums(folder, "test", size=3)] == ["0", "1", "2"]


def test_answer_outside_the_choices_is_unreadable(folder):
    class Choices(Sums):
        def _read(self, part):
            return [(*row[:3], ("1", "2", "3")) for row in super()._read(part)]

    train = Choices(folder, "train")
    assert train.outside["llm"] + train.unparsed["llm"] == sum(each.rationales[0].answer is None for each in train)
    assert train.outside["llm"] >= 5


def test_malformed_files_raise(folder, tmp_path):
    with pytest.raises(DataError, match="has no completions of 'lln' .did you mean 'llm'"):
        Sums(folder, "train", teachers=["lln"])
    with pytest.raises(DataError, match="has no completions of 'llm' for test: none"):
        Sums(folder, "test", teachers="llm")
    with pytest.raises(DataError, match="0 exercises in split 'train' with size=0"):
        Sums(folder, "train", size=0)
    (folder / "llm" / "train_CoT_1.json").write_text(json.dumps(["one"]))
    with pytest.raises(DataError, match="llm has 8 completions for the 10 exercises of train"):
        Sums(folder, "train")
    (folder / "llm" / "train_CoT_1.json").write_text('{"a": 1}')
    with pytest.raises(DataError, match="train_CoT_1.json holds a dict, expected a list"):
        Sums(folder, "train")
    (folder / "train.json").write_text('{"sum": "1"}\n{"sum": ')
    with pytest.raises(DataError, match="train.json line 2 is not JSON"):
        Sums(folder, "train")
    (folder / "train.json").write_text('{"sum": "1"}')
    with pytest.raises(DataError, match="sums has no 'label'"):
        Sums(folder, "train")
    (folder / "train.json").unlink()
    with pytest.raises(MissingDataError, match="there is no .*train.json"):
        Sums(folder, "train")


def rate(name, parts, **options):
    right, counted = 0, 0
    for part in parts:
        data = open_dataset(name, part, **options)
        counted += len(data)
        for each in data:
            answer = each.rationales[0].answer
            right += answer is not None and data.same(answer) == data.same(each.label)
    return round(100 * right / counted, 1), counted


def test_labels_are_recovered_at_the_known_rates(data_dir, monkeypatch):
    monkeypatch.setenv("MMCL_DATA", str(data_dir))
    assert rate("svamp", ("train", "valid"), teachers=["palm"]) == (73.5, 800)
    assert rate("cqa", ("train", "valid"), teachers=["palm"]) == (74.3, 9741)
    assert rate("svamp", ("test",), teachers=["palm"]) == (74.0, 200)
