import logging
import shutil

import numpy as np
import pytest
import torch

from mmcl.data import Brca, Rosmap, class_incremental
from mmcl.errors import ConfigError, DataError, MissingDataError


@pytest.fixture
def folder(tmp_path):
    """Small tables in MOGONET's layout: 20 training and 6 test samples."""
    random = np.random.default_rng(0)
    for end, rows in (("tr", 20), ("te", 6)):
        for number, columns in enumerate((4, 3, 2), start=1):
            np.savetxt(tmp_path / f"{number}_{end}.csv", random.random((rows, columns)), delimiter=",")
        np.savetxt(tmp_path / f"labels_{end}.csv", np.arange(rows) % 2)
    return tmp_path


def test_views_and_labels_match_the_files(folder):
    data = Rosmap(folder, "test")
    assert data.features == {"mrna": 4, "methylation": 3, "mirna": 2}
    assert data.labels == [0, 1, 0, 1, 0, 1] and data.texts[1] == "Alzheimer's disease"
    table = torch.tensor(np.loadtxt(folder / "2_te.csv", delimiter=",")).float()
    assert torch.equal(data.batch(torch.tensor([4, 1]))["methylation"], table[[4, 1]])
    assert torch.equal(data[-1]["methylation"], table[5]) and data[-1]["label"] == 1


def test_folds_partition_the_training_set(folder):
    parts = [Rosmap(folder, "valid", folds=5, fold=fold) for fold in range(5)]
    assert sorted(id for part in parts for id in part.ids) == sorted(f"tr-{row}" for row in range(20))
    assert [sorted(part.labels) for part in parts] == [[0, 0, 1, 1]] * 5
    for fold, part in enumerate(parts):
        train = Rosmap(folder, "train", folds=5, fold=fold)
        assert len(train) == 16 and not set(train.ids) & set(part.ids)
        both = train + part
        assert len(both) == 20 and both.labels == train.labels + part.labels
        assert torch.equal(both[16]["mrna"], part[0]["mrna"])
    assert Rosmap(folder, "valid", seed=1).ids != parts[0].ids


def test_works_in_a_stream(folder):
    stream = class_incremental(Rosmap(folder), Rosmap(folder, "test"), 2).train_stream
    assert [len(experience.dataset) for experience in stream] == [8, 8]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("2_tr.csv", "1,2,3\n4,word,6\n", r"2_tr.csv has 'word' in line 2, column 2, expected a number"),
        ("2_tr.csv", "1,2,3\n4,,6\n", r"has '' in line 2, column 2"),
        ("2_tr.csv", "1,2,3\n4,5\n", "line 2 has 2 cells, expected 3 as in line 1"),
        ("2_tr.csv", "1,2,3\n4,nan,6\n", "has 'nan' in line 2, column 2, expected a finite number: fill it in"),
        ("2_tr.csv", "1,2,3\n", "2_tr.csv has 1 rows and .*labels_tr.csv 20, expected"),
        ("labels_tr.csv", "0\n1\n", "1_tr.csv has 20 rows and .*labels_tr.csv 2, expected"),
        ("labels_tr.csv", "0\n2\n", r"labels_tr.csv has \[2.0\] in line 2, expected one label from 0 to 1"),
        ("labels_tr.csv", "0\n\n" * 3 + "0.5\n", r"has \[0.5\] in line"),
        ("2_tr.csv", "", "2_tr.csv is empty"),
    ],
)
def test_malformed_files_raise(folder, file, content, message):
    (folder / file).write_text(content)
    with pytest.raises(DataError, match=message):
        Rosmap(folder)


def test_constant_features_are_counted(folder, caplog):
    table = np.loadtxt(folder / "1_tr.csv", delimiter=",")
    table[:, [1, 3]] = 7
    np.savetxt(folder / "1_tr.csv", table, delimiter=",")
    with caplog.at_level(logging.WARNING):
        Rosmap(folder)
    assert "1_tr.csv has 2 features" in caplog.text and "first column 2" in caplog.text


def test_invalid_arguments_raise(folder, tmp_path):
    (folder / "3_te.csv").unlink()
    with pytest.raises(MissingDataError, match="there is no .*3_te.csv"):
        Rosmap(folder, "test")
    with pytest.raises(MissingDataError, match="Brca is missing: there is no folder .*MOGONET"):
        Brca(tmp_path / "nowhere")
    with pytest.raises(DataError, match="Rosmap has no split 'tset' .did you mean 'test'"):
        Rosmap(folder, "tset")
    with pytest.raises(ConfigError, match="fold is 5 of 5 folds"):
        Rosmap(folder, folds=5, fold=5)
    with pytest.raises(ConfigError, match="folds is 11, but class 0 has 10 samples"):
        Rosmap(folder, folds=11)
    other = shutil.copytree(folder, tmp_path / "other", ignore=shutil.ignore_patterns("other"))
    np.savetxt(other / "1_tr.csv", np.random.default_rng(1).random((20, 9)), delimiter=",")
    with pytest.raises(DataError, match="are different data sets"):
        Rosmap(folder) + Rosmap(other)
