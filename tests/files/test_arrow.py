import json
import sys

import pytest

from mmcl.errors import DataError, MissingDataError
from mmcl.files.arrow import read_parquet, read_saved


def test_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingDataError, match=r"a\.parquet.*mmcl\[parquet\]"):
        read_parquet(tmp_path / "a.parquet")


def test_class_labels_become_names(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    features = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = pyarrow.table({"label": [1, 0], "text": ["a", None]}).replace_schema_metadata(metadata)
    parquet.write_table(table, tmp_path / "a.parquet")
    expected = [{"label": "yes", "text": "a"}, {"label": "no", "text": None}]
    assert read_parquet(tmp_path / "a.parquet") == (("label", "text"), expected)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(40) + b"PAR1"])
def test_damaged_parquet(tmp_path, content):
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(DataError, match="a.parquet"):
        read_parquet(tmp_path / "a.parquet")


@pytest.mark.parametrize("name", ["../a.arrow", "", "..", "/etc/passwd"])
def test_saved_folders_list_files_of_their_own(tmp_path, name, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", sys)  # the name is refused before anything is read
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(DataError, match="state.json"):
        read_saved(tmp_path)
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": [name]}))
    with pytest.raises(DataError, match="dataset_dict.json"):
        read_saved(tmp_path)
