import pytest

from mmcl.data.own_tables import read_tables, renamed, split_of_table
from mmcl.errors import DataError, MissingDataError

TEXT = "anchor,positive\na,b\n"


def test_a_file_and_a_folder_of_files_are_tables_and_other_folders_are_not(tmp_path):
    assert read_tables(tmp_path) is None
    (tmp_path / "train-00000-of-00001.csv").write_text(TEXT)
    (tmp_path / ".hidden.csv").write_text(TEXT)
    folder, (path, *_) = read_tables(tmp_path), tmp_path.glob("train*")
    assert folder.layout == "tables" and [split_of_table(folder, name) for name in folder.tables] == ["train"]
    alone = read_tables(path)
    assert alone.layout == "table" and [split_of_table(alone, name) for name in alone.tables] == [""]
    with pytest.raises(MissingDataError, match="none"):
        read_tables(tmp_path / "none")


def test_columns_get_the_names_of_their_meaning(tmp_path):
    (tmp_path / "own.csv").write_text(TEXT)
    table = read_tables(tmp_path / "own.csv").tables[""]
    assert renamed(table, {"query": "anchor"}, ["query"]).rows == [("line 2", {"query": "a", "positive": "b"})]
    for columns, words in (({"qeury": "anchor"}, "'qeury'.*'query'"), ({"query": "ancor"}, "ancor.*'anchor'")):
        with pytest.raises(DataError, match=words):
            renamed(table, columns, ["query"])
