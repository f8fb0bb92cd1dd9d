import json
import logging

import pytest

from mmcl.data.texts.own_pairs import OwnPairs
from mmcl.errors import DataError, MissingDataError

PAIRS = [{"query": f"query {n // 2}", "passage": f"passage {n}"} for n in range(40)]


def write(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.jsonl"])
def test_missing_splits_are_drawn_by_query(name, tmp_path):
    path = write(tmp_path / name, PAIRS)
    splits = {split: OwnPairs(path, split) for split in ("train", "valid", "test")}
    assert [len(each) for each in splits.values()] == [28, 4, 8]
    queries = [set(each.first) for each in splits.values()]
    assert len(set.union(*queries)) == sum(map(len, queries)) == 20
    assert splits["train"].negatives is None and splits["train"].scores is None


def test_triples_and_graded_pairs_in_a_folder_of_splits(tmp_path):
    triples = [{**row, "negative": "no", "score": 3} for row in PAIRS]
    for name in ("train", "dev"):
        write(tmp_path / f"{name}.jsonl", triples)
    valid = OwnPairs(tmp_path, "valid")
    assert len(valid) == 40 and valid.negatives == ["no"] * 40 and valid.scores == [3.0] * 40
    with pytest.raises(MissingDataError, match="'test'.*dev, train"):
        OwnPairs(tmp_path, "test")


def test_columns_are_renamed_and_a_column_split_is_followed(tmp_path):
    rows = [{"anchor": "a", "positive": "b", "split": split, "id": 1} for split in ("train", "validation", "test")]
    columns = {"query": "anchor", "passage": "positive"}
    valid = OwnPairs(write(tmp_path / "own.csv", rows), "valid", columns=columns)
    assert (valid.first, valid.second) == (["a"], ["b"])


def test_rows_without_a_score_are_skipped_and_counted(tmp_path, caplog):
    rows = [{**row, "score": "" if n < 3 else n, "split": "train"} for n, row in enumerate(PAIRS)]
    path = write(tmp_path / "own.csv", [*rows, *({**row, "split": "valid"} for row in rows)])
    with caplog.at_level(logging.WARNING):
        train = OwnPairs(path, "valid")
    assert (len(train), train.skipped) == (37, 3) and "3 of 40" in caplog.text


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"query": "a", "pasage": "b"}], "no column passage.*'pasage'"),
        ([{"query": "a", "passage": " "}], "line 2, column passage"),
        ([{"query": "a", "passage": "b", "negative": ""}], "line 2, column negative"),
        ([{"query": "a", "passage": "b", "score": "high"}], "'high' in line 2, column score"),
        ([{"query": "a", "passage": "b", "score": ""}], "no pairs in split 'train'"),
    ],
)
def test_unusable_tables_are_refused(rows, words, tmp_path):
    with pytest.raises(DataError, match=words):
        OwnPairs(write(tmp_path / "own.csv", rows))


def test_files_that_do_not_exist_and_folders_without_tables_are_named(tmp_path):
    with pytest.raises(MissingDataError, match="own.csv"):
        OwnPairs(tmp_path / "own.csv")
    with pytest.raises(MissingDataError, match="no tables"):
        OwnPairs(tmp_path)
    (tmp_path / "own.csv").write_text("query,passage\n")
    with pytest.raises(DataError, match="no rows"):
        OwnPairs(tmp_path / "own.csv")
    write(tmp_path / "own.csv", PAIRS)
    write(tmp_path / "test.csv", [{**row, "score": 1} for row in PAIRS])
    with pytest.raises(DataError, match="score"):
        OwnPairs(tmp_path)


def test_a_folder_saved_by_datasets_is_read(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    folder = tmp_path / "train"
    folder.mkdir()
    table = pyarrow.Table.from_pylist(PAIRS)
    with pyarrow.OSFile(str(folder / "data.arrow"), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train"]}))
    train, test = (OwnPairs(tmp_path, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (28, 8)
