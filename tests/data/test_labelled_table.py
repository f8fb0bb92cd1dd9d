import pytest
import soundfile
import torch
from torchvision.io import write_png

from mmcl.data import LabelledTable
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
