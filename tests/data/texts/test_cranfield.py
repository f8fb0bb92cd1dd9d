import pytest

from mmcl.data import Cranfield
from mmcl.errors import DataError, MissingDataError


def write(root, documents=3, judgements="1 1 1\n1 2 4\n"):
    root.mkdir(exist_ok=True)
    texts = [f".I {n}\n.T\ntitle {n}\n.A\nwho\n.B\nwhere\n.W\ntitle {n}\nabout {n}\n" for n in range(1, documents)]
    (root / "cran.all.1400").write_text("".join(texts) + f".I {documents}\n.T\n.A\n.B\n.W\n")
    (root / "cran.qry").write_text("".join(f".I {2 * n:03}\r\n.W\r\nquery {n}\r\n" for n in range(1, 226)))
    (root / "cranqrel").write_text(judgements)
    return root


def test_queries_are_numbered_by_their_order_and_grades_become_gains(tmp_path):
    train = Cranfield(write(tmp_path, judgements="1 1 1\n1 2 4\n2 2 -1\n2 1 2\n121 1 1\n"), "train")
    assert train.documents == ["title 1 about 1", "title 2 about 2"] and train.missing["documents"] == 1
    assert train.queries == ["query 1", "query 2"] and train.judgements == [{0: 4, 1: 1}, {1: 0, 0: 3}]
    assert Cranfield(tmp_path, "valid").queries == ["query 121"]


def test_markers_within_a_text_are_no_fields(tmp_path):
    path = write(tmp_path) / "cran.all.1400"
    path.write_text(path.read_text().replace("about 1\n", "about\n.A\none\n.B\nmore\n"))
    assert Cranfield(tmp_path).documents[0] == "title 1 about one more"


@pytest.mark.parametrize(
    ("judgements", "words"),
    [
        ("1 9 1\n", "document '9'"),
        ("226 1 1\n", "line 1 has query 226"),
        ("1 1\n", "line 1 is '1 1'"),
        ("1 one 1\n", "line 1"),
        ("", "no query"),
    ],
)
def test_faulty_judgements_are_refused(judgements, words, tmp_path):
    with pytest.raises(DataError, match=words):
        Cranfield(write(tmp_path, judgements=judgements))


def test_faulty_records_and_missing_files_are_named(tmp_path):
    path = write(tmp_path) / "cran.all.1400"
    path.write_text(path.read_text().replace(".I 2\n.T\ntitle 2\n.A\nwho\n.B\nwhere\n.W\n", ".I 2\n.T\n"))
    with pytest.raises(DataError, match="record 2"):
        Cranfield(tmp_path)
    (write(tmp_path) / "cran.qry").unlink()
    with pytest.raises(MissingDataError, match=r"cran\.qry"):
        Cranfield(tmp_path)


def test_the_real_collection_is_split_by_query(data_dir):
    splits = {name: Cranfield(data_dir / "cranfield", name) for name in Cranfield.splits}
    assert [len(each.queries) for each in splits.values()] == [120, 35, 70]
    assert sum(len(own) for each in splits.values() for own in each.judgements) == 1836
    for each in splits.values():
        assert len(each.documents) == 1398 and each.missing["documents"] == 2
    assert splits["train"].judgements[0][splits["train"].document_ids.index("486")] == 4
