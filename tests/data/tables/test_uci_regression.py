import pytest
import torch

from mmcl.data import UciRegression, open_dataset
from mmcl.errors import ConfigError, DataError, MissingDataError


@pytest.fixture
def root(tmp_path):
    lines = [f"{row}.5 \t 7 \t{row * row} \t{3 * row}.25 " for row in range(20)]
    (tmp_path / "concrete.txt").write_text("\n".join([*lines, "", ""]))
    return tmp_path


def splits_of(root, **options):
    return {split: UciRegression(root, split, table="concrete", **options) for split in UciRegression.splits}


def test_the_splits_partition_the_rows(root):
    splits = splits_of(root)
    assert {name: len(data) for name, data in splits.items()} == {"train": 14, "valid": 2, "test": 4}
    targets = sorted(target for data in splits.values() for target in data.targets)
    assert targets == [3 * row + 0.25 for row in range(20)]
    assert splits["test"].targets == splits_of(root)["test"].targets != splits_of(root, seed=1)["test"].targets


def test_features_are_standardized_by_the_training_rows(root):
    splits = splits_of(root)
    train = torch.stack([splits["train"][row]["numbers"] for row in range(14)])
    assert torch.allclose(train.mean(0), torch.zeros(3), atol=1e-6)
    assert torch.allclose(train.std(0, correction=0), torch.tensor([1.0, 0.0, 1.0]))  # the second is constant
    raw = torch.tensor([(target - 0.25) / 3 + 0.5 for target in splits["train"].targets])
    test = splits["test"]
    expected = ((test.targets[0] - 0.25) / 3 + 0.5 - raw.mean()) / raw.std(correction=0)
    assert test[0]["numbers"][0].item() == pytest.approx(expected.item(), abs=1e-5)


def test_bins_are_those_of_the_training_targets(root):
    splits = splits_of(root, bins=4)
    low, high = min(splits["train"].targets), max(splits["train"].targets)
    for data in splits.values():
        assert len(data.classes) == 4 and data.classes[0].startswith(f"{low:g} to ")
        width = (high - low) / 4
        expected = [min(max(int((target - low) // width), 0), 3) for target in data.targets]
        assert data.labels == expected


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("3.5 \t 7", "3.5 \t x", ["line 4", "'x'", "column 2"]),
        ("3.5 \t 7", "3.5 \t nan", ["line 4", "'nan'", "finite"]),
        ("3.5 \t 7", "3.5", ["line 4", "3 cells", "4 as in line 1"]),
        ("9.25 ", "inf", ["line 4", "'inf'", "column 4"]),
    ],
)
def test_a_corrupt_line_is_named(old, new, words, root):
    path = root / "concrete.txt"
    lines = path.read_text().split("\n")
    lines[3] = lines[3].replace(old, new)
    path.write_text("\n".join(lines))
    with pytest.raises(DataError) as caught:
        UciRegression(root, table="concrete")
    assert all(word in str(caught.value) for word in ["concrete.txt", *words]), caught.value


def test_constant_targets_and_short_tables_are_refused(root):
    path = root / "concrete.txt"
    path.write_text("\n".join(f"{row} 5" for row in range(20)))
    with pytest.raises(DataError, match=r"concrete\.txt has the target 5\.0"):
        UciRegression(root, table="concrete")
    for text in ("1 2\n" * 9, "1\n" * 20, ""):
        path.write_text(text)
        with pytest.raises(DataError, match="at least 10"):
            UciRegression(root, table="concrete")


def test_missing_files_and_unknown_names(root):
    with pytest.raises(MissingDataError, match="UciRegression"):
        UciRegression(root / "none")
    with pytest.raises(MissingDataError, match=r"yacht\.txt"):
        UciRegression(root, table="yacht")
    with pytest.raises(ConfigError, match="'concrte'.*'concrete'"):
        UciRegression(root, table="concrte")
    with pytest.raises(ConfigError, match="bins is 1"):
        UciRegression(root, table="concrete", bins=1)
    with pytest.raises(DataError, match="'tset'"):
        UciRegression(root, "tset")


def test_the_real_tables(data_dir):
    root = data_dir / "uci_regression"
    if not root.is_dir():
        pytest.skip("MMCL_DATA has no uci_regression")
    sizes = {
        table: (sum(len(UciRegression(root, split, table=table)) for split in UciRegression.splits), features)
        for table, features in (("concrete", 8), ("energy", 8), ("wine", 11), ("yacht", 6), ("power_plant", 4))
    }
    assert sizes == {
        **{"concrete": (1030, 8), "energy": (768, 8), "wine": (1599, 11), "yacht": (308, 6)},
        "power_plant": (9568, 4),
    }
    airfoil = open_dataset("uci_regression", "train", root)
    assert airfoil[0]["target"] == 126.201 and airfoil.features == {"numbers": 5}
