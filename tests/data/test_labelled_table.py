import pytest
import soundfile
import torch
from torchvision.io import write_png

from mmcl.data import LabelledTable
from mmcl.data.fingerprint import sample_digests
from mmcl.errors import ConfigError, DataError, MissingDataError

HEADER = "audio,image,text,age,weight,label\n"


@pytest.fixture
def folder(tmp_path):
    soundfile.write(tmp_path / "1.wav", torch.zeros(1600).numpy(), 16000)
    write_png(torch.zeros(3, 10, 12, dtype=torch.uint8), str(tmp_path / "1.png"))
    (tmp_path / "train.csv").write_text(HEADER + "1.wav,1.png,a dog,3,4.5,animal\n1.wav,1.png,a car,1,900,machine\n")
    (tmp_path / "test.csv").write_text(HEADER + "1.wav,1.png,a crane,7,8,bird\n")
    return tmp_path


def test_a_row_is_a_sample_of_all_its_views(folder):
    data = LabelledTable(folder, "train", size=6)
    assert data.modalities == {"audio": "audio", "image": "image", "text": "text", "numbers": "tabular"}
    assert data.features == {"numbers": 2} and data.classes == ("animal", "bird", "machine") and data.labels == [0, 2]
    sample = data[1]
    assert sample["audio"].shape == (1600,) and sample["image"].shape == (3, 6, 6)
    assert sample["text"] == "a car" and sample["numbers"].tolist() == [1.0, 900.0] and sample["label"] == 2
    assert LabelledTable(folder, "test").classes == data.classes


def test_missing_views_are_omitted(tmp_path):
    (tmp_path / "train.csv").write_text("x,y,label\n1,2,a\n3,4,b\n")
    data = LabelledTable(tmp_path)
    assert data.modalities == {"numbers": "tabular"} and data.texts == ["a", "b"]
    assert data[-1].keys() == {"id", "label", "text", "numbers"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + "1.wav,1.png,a,old,2,animal\n", "train.csv has 'old' in line 2, column age, expected a number"),
        (HEADER + "1.wav,1.png,a,1,2,\n", "train.csv .* in line 2, column label: fill it in"),
        (HEADER + "1.wav,1.png,a,1\n", "train.csv line 2 has 4 cells, expected 6 as in line 1"),
        ("audio,lable\n1.wav,a\n", "has columns audio, lable .*, expected label, and audio, image, text or numbers"),
        ("label\na\n", "has columns label, expected label, and"),
        (HEADER, "train.csv has no rows"),
        (
            "image,label\n1.png,a\n",
            r"train.csv has columns image, label .*test.csv audio, .*same columns",
        ),
    ],
)
def test_malformed_files_raise(folder, content, message):
    (folder / "train.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        LabelledTable(folder)


def test_missing_files_raise(folder):
    with pytest.raises(
        MissingDataError, match="there is no .*trian.csv .did you mean 'train'..: expected one file per split"
    ):
        LabelledTable(folder, "trian")
    with pytest.raises(ConfigError, match="size is 0"):
        LabelledTable(folder, size=0)
    (folder / "1.png").unlink()
    with pytest.raises(MissingDataError, match="2 of 4 files .*train.csv .*, first .*1.png"):
        LabelledTable(folder)


PRICES = "rooms,area,price,label\n" + "".join(f"{row % 3},{row},{10 * row + 5},\n" for row in range(20))


def test_a_column_of_targets_takes_the_place_of_labels(tmp_path):
    """The column label, which is empty here, is not read; a target of its name is."""
    (tmp_path / "prices.csv").write_text(PRICES)
    parts = [LabelledTable(tmp_path / "prices.csv", split, target="price", bins=4) for split in ("train", "test")]
    assert sorted(row for part in parts for row in part.targets)[0] == 5.0 and len(parts[0]) + len(parts[1]) == 18
    assert parts[0].classes == parts[1].classes and len(parts[0].classes) == 4 and set(parts[0].labels) == {0, 1, 2, 3}
    assert parts[0].features == {"numbers": 2} and parts[0].texts[0] in parts[0].classes
    values = torch.stack([parts[0][row]["numbers"] for row in range(len(parts[0]))])
    assert values.mean(0).abs().max() < 1e-6 and (values.std(0, correction=0) - 1).abs().max() < 1e-6
    assert parts[1][0]["target"] == parts[1].targets[0]
    joined = parts[0] + parts[1]
    assert joined.targets == [*parts[0].targets, *parts[1].targets]
    (tmp_path / "labels.csv").write_text(PRICES.replace("label", "x").replace("price", "label").replace(",\n", ",1\n"))
    named = LabelledTable(tmp_path / "labels.csv", target="label", bins=4)
    assert sorted(named.targets + LabelledTable(tmp_path / "labels.csv", "test", target="label").targets)[0] == 5.0
    assert named.features == {"numbers": 3} and LabelledTable(tmp_path / "labels.csv").targets is None


def test_targets_count_in_fingerprints(tmp_path):
    digests = []
    for price in (5, 6):
        (tmp_path / "train.csv").write_text(f"x,price\n1,0\n2,{price}\n3,9\n")
        digests.append(sample_digests(LabelledTable(tmp_path, target="price", bins=2)))
    assert digests[0][1] != digests[1][1] and digests[0][::2] == digests[1][::2]


@pytest.mark.parametrize(
    ("content", "target", "message"),
    [
        (PRICES, "pric", "no column pric .*'price'"),
        (PRICES.replace(",5,", ",nan,"), "price", "'nan' in line 2, column price"),
        (PRICES.replace(",15,", ",cheap,"), "price", "'cheap' in line 3, column price"),
        (PRICES.replace(",25,", ",,"), "price", "line 4, column price"),
        (PRICES.replace(",25,", ",1e39,"), "price", "'1e39' in line 4, column price"),
        ("x,price\n1,5\n2,5\n3,5\n", "price", "target 5.0 in all"),
        ("text,price\n7,5\n8,6\n", "text", "target is text"),
        ("price,label\n7,a\n8,b\n", "price", "expected label, and audio"),
    ],
    ids=["missing", "nan", "text", "empty", "too large", "constant", "another meaning", "no view"],
)
def test_columns_without_usable_targets_raise(tmp_path, content, target, message):
    (tmp_path / "prices.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        LabelledTable(tmp_path / "prices.csv", target=target)


def test_one_bin_and_folders_of_labels_have_no_targets(tmp_path):
    (tmp_path / "prices.csv").write_text(PRICES)
    with pytest.raises(ConfigError, match="bins is 1"):
        LabelledTable(tmp_path / "prices.csv", target="price", bins=1)
    (tmp_path / "texts" / "a").mkdir(parents=True)
    (tmp_path / "texts" / "a" / "1.txt").write_text("good")
    with pytest.raises(DataError, match="price"):
        LabelledTable(tmp_path / "texts", target="price")
