import pytest

from mmcl.data.own_cells import entities_in, stored_file
from mmcl.errors import DataError


@pytest.mark.parametrize(
    "cell",
    [
        "size: large; drink: latte;",
        '{"size": "large", "drink": "latte"}',
        '[["size", "large"], ["drink", "latte"]]',
        [{"type": "size", "value": "large"}, {"type": "drink", "value": "latte"}],
        {"size": "large", "drink": "latte"},
    ],
)
def test_forms_of_entities(cell):
    assert entities_in(cell, "a.csv has %s in line 2") == (("size", "large"), ("drink", "latte"))


@pytest.mark.parametrize("cell", ["", "  ", [], {}, "[]"])
def test_a_row_may_have_no_entities(cell):
    assert entities_in(cell, "") == ()


@pytest.mark.parametrize("cell", ["large", b"x", ["large"], [["a", "b", "c"]], {"a": None}, {"a": ""}, "{", "3 %s", 3])
def test_other_forms_raise(cell):
    with pytest.raises(DataError, match="a.csv has .* in line 2"):
        entities_in(cell, "a.csv has %s in line 2")


def test_bytes_of_a_cell_become_one_file(tmp_path, monkeypatch):
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path))
    path = stored_file({"bytes": b"RIFF", "path": "../x/a.WAV"})
    assert path.read_bytes() == b"RIFF" and path.suffix == ".wav" and path.parent == tmp_path / "embedded"
    assert stored_file({"bytes": b"RIFF", "path": "b.wav"}) == path
    assert stored_file({"bytes": None, "path": "b.wav"}) is stored_file("b.wav") is None
    path.write_bytes(b"")
    assert stored_file({"bytes": b"RIFF", "path": "a.wav"}).read_bytes() == b"RIFF"
    monkeypatch.setenv("MMCL_CACHE", str(path))
    with pytest.raises(DataError, match="MMCL_CACHE"):
        stored_file(b"other")
