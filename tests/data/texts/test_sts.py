import pytest

from mmcl.data import Sts
from mmcl.data.texts.sts import FILES
from mmcl.errors import DataError, MissingDataError

ROW = "4.5\tA dog runs.\tA  dog is running.\n"


@pytest.fixture
def folder(tmp_path):
    for names in FILES.values():
        for name in names:
            path = tmp_path / f"{name}.tsv"
            path.parent.mkdir(exist_ok=True)
            path.write_text(ROW)
    return tmp_path


def test_rows_without_a_score_are_skipped_and_counted(folder):
    (folder / "2015" / "belief.test.tsv").write_text('\tNo "score\there.\n' + ROW + "0\tYes\tNo\n")
    test = Sts(folder, "test")
    assert (len(test), test.skipped) == (6, 1) and min(test.scores) == 0
    assert (test.first[0], test.second[0]) == ("A dog runs.", "A dog is running.")
    assert test.sources.count("2015 belief") == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [("5.5\ta\tb\n", "5.5"), ("x\ta\tb\n", "'x'"), ("1\ta\n", "1 sent"), ("1\ta\t \n", "1 sent")],
)
def test_faulty_lines_are_named(line, words, folder):
    (folder / "2014" / "tweet-news.test.tsv").write_text(ROW + line)
    with pytest.raises(DataError, match=rf"tweet-news.test.tsv line 2 .*{words}"):
        Sts(folder, "valid")


def test_a_missing_file_and_an_unknown_split_are_named(folder):
    (folder / "2013" / "FNWN.test.tsv").unlink()
    with pytest.raises(MissingDataError, match="FNWN"):
        Sts(folder, "train")
    with pytest.raises(DataError, match="'2015'"):
        Sts(folder, "2015")


def test_the_real_splits_share_no_file_and_count_missing_scores(data_dir):
    splits = {name: Sts(data_dir / "sts", name) for name in Sts.splits}
    assert {name: (len(each), each.skipped) for name, each in splits.items()} == {
        "train": (8342, 0),
        "valid": (750, 0),
        "test": (3000, 5500),
    }
    assert all(source.startswith("2015") for source in splits["test"].sources)
    assert len({source for each in splits.values() for source in each.sources}) == 18
