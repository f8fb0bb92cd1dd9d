import pytest

from mmcl.errors import DataError, MissingDataError
from mmcl.files.records import read_records


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,n\nhi,3\n"),
        ("a.TSV", "text\tn\nhi\t3\n"),
        ("a.jsonl", '{"text": "hi", "n": 3}\n'),
        ("a.ndjson", '\ufeff{"text": "hi", "n": 3}\n'),
    ],
)
def test_formats_give_equal_cells(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    found = read_records(tmp_path / name)
    assert found.columns == ("text", "n") and [row for _, row in found.rows] == [{"text": "hi", "n": "3"}]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"text": "hi"}\n{"text": \n', "a.jsonl line 2"),
        ("a.jsonl", "[1]\n", "a.jsonl line 1"),
        ("a.jsonl", '{"caf\u00e9": 1, "cafe\u0301": 2}\n', "column café"),
        ("a.tsv", "text\tn\nhi\n", "a.tsv line 2 has 1 cells, expected 2"),
        ("a.xlsx", "", "a.xlsx.*csv"),
    ],
)
def test_faults_name_the_line(tmp_path, name, content, said):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        read_records(tmp_path / name)


def test_cells_of_json_become_text(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": true, "b": null, "c": 1.5, "d": [1]}\n')
    assert read_records(tmp_path / "a.jsonl").rows[0][1] == {"a": "true", "b": "", "c": "1.5", "d": [1]}
    with pytest.raises(MissingDataError, match="b.jsonl"):
        read_records(tmp_path / "b.jsonl")
