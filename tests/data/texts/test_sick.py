import pytest

from mmcl.data import Sick
from mmcl.errors import DataError

HEADER = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n"


def test_splits_have_their_pairs(tmp_path):
    (tmp_path / "SICK_trial.txt").write_text(HEADER + "7\tA boy plays\tA kid plays\t4.5\tENTAILMENT\n")
    pairs = Sick(tmp_path, "valid")
    assert (pairs.ids, pairs.first, pairs.second, pairs.scores) == (["7"], ["A boy plays"], ["A kid plays"], [4.5])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id\ta\tb\n", "starts with 'id"),
        (HEADER + "1\ta\tb\t3\n", "line 2 has 4 cells"),
        (HEADER + "1\ta\t\t3\tNEUTRAL\n", "line 2 has 4 cells"),
        (HEADER + "1\ta\tb\t0.5\tNEUTRAL\n", "line 2 has score 0.5"),
        (HEADER + "1\ta\tb\tnan\tNEUTRAL\n", "line 2 has score 'nan'"),
        ("", "starts with ''"),
    ],
)
def test_faulty_files_are_refused(text, words, tmp_path):
    (tmp_path / "SICK_train.txt").write_text(text)
    with pytest.raises(DataError, match=words):
        Sick(tmp_path)


def test_the_real_splits(data_dir):
    assert [len(Sick(data_dir / "sick2014", split)) for split in Sick.splits] == [4500, 500, 4927]
