import pytest

from mmcl.data.texts.table_text import TableText
from mmcl.errors import DataError


def test_rows_are_exercises_with_optional_rationales(tmp_path):
    lines = "".join(f"buy {n},{('shop', 'pay')[n % 2]},{'money' if n == 4 else ''}\n" for n in range(20))
    (tmp_path / "a.csv").write_text("text,label,rationale\n" + lines)
    parts = [TableText(tmp_path / "a.csv", split) for split in ("train", "valid", "test")]
    assert [len(part) for part in parts] == [14, 2, 4] and parts[0][0].choices == ("pay", "shop")
    told = [each for part in parts for each in part.exercises if each.rationales]
    assert [(each.question, each.rationales[0].text) for each in told] == [("buy 4", "money")]
    assert len(TableText(tmp_path / "a.csv", "train", 3)) == 3


def test_faults(tmp_path):
    (tmp_path / "a.csv").write_text("x,label\n1,a\n2,b\n")
    with pytest.raises(DataError, match="no column text"):
        TableText(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("transcript,label\nhello,a\n,a\n")
    with pytest.raises(DataError, match="b.csv has no text in line 3"):
        TableText(tmp_path / "b.csv", "train") and TableText(tmp_path / "b.csv", "test")
