import pytest
import soundfile
import torch
from torchvision.io import write_png

from mmcl.data.captions import Captions
from mmcl.encoders import build_encoder, cached_features
from mmcl.errors import AudioError, ConfigError, DataError, MissingDataError


def write_audio(path, seconds=0.5):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, torch.sin(torch.arange(int(16000 * seconds)) / 9).numpy() * 0.3, 16000)


def write_image(path, height=20, width=30, value=128):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(torch.full((3, height, width), value, dtype=torch.uint8), str(path))


def test_a_csv_of_recordings(tmp_path):
    for name in ("a", "b"):
        write_audio(tmp_path / "wav" / f"{name}.wav")
    (tmp_path / "said.csv").write_text('speaker,audio,text\n1,wav/b.wav,"hello,  you"\n2,wav/a.wav,good bye\n')
    data = Captions(tmp_path / "said.csv")
    assert data.modality == "audio" and data.texts == ["hello, you", "good bye"] and data.labels == [0, 0]
    assert data[0]["audio"].shape == (8000,) and data[0]["id"] == "b"
    features = cached_features(data, build_encoder("audio", "cnn"), tmp_path / "cache", progress=False)
    assert features.texts == data.texts and len(features[1]["features"]) > 10


@pytest.mark.parametrize("suffix", ["opus", "oga", "OPUS", "w64", "aiff", "au", "caf", "mp2"])
def test_recordings_of_any_suffix_are_found(tmp_path, suffix):
    format = {"opus": "OGG", "oga": "OGG", "mp2": "MP3"}.get(suffix.lower(), suffix)
    soundfile.write(tmp_path / f"1.{suffix}", torch.zeros(8000).numpy(), 16000, format=format)
    (tmp_path / "1.txt").write_text("nothing")
    assert len(Captions(tmp_path)[0]["audio"]) >= 8000


def test_max_seconds_applies_while_decoding(tmp_path):
    write_audio(tmp_path / "1.wav")
    (tmp_path / "1.txt").write_text("a tone")
    data = Captions(tmp_path, max_seconds=0.5)
    write_audio(tmp_path / "1.wav", 0.6)
    with pytest.raises(AudioError, match=r"1\.wav lasts 0\.6 s or more, expected at most 0\.5 s"):
        data[0]


def test_nested_folder_of_images(tmp_path):
    write_image(tmp_path / "00" / "2.png", 20, 40, 255)
    write_image(tmp_path / "01" / "1.PNG", 60, 30, 0)
    (tmp_path / "00" / "2.txt").write_text("white\n")
    (tmp_path / "01" / "1.txt").write_text("black")
    (tmp_path / "01" / "1.json").write_text("{}")
    data = Captions(tmp_path, size=16)
    assert data.modality == "image" and data.texts == ["white", "black"]
    assert torch.equal(data[0]["image"], torch.ones(3, 16, 16)) and data[1]["image"].max() == 0


def test_images_are_center_cropped(tmp_path):
    image = torch.zeros(3, 10, 30, dtype=torch.uint8)
    image[:, :, 10:20] = 200
    write_png(image, str(tmp_path / "1.png"))
    (tmp_path / "1.txt").write_text("bar")
    assert torch.allclose(Captions(tmp_path, size=10)[0]["image"], torch.full((3, 10, 10), 200 / 255))


def test_long_recordings_are_skipped_and_counted(tmp_path, caplog):
    for name, seconds in (("a", 0.5), ("b", 2.0)):
        write_audio(tmp_path / f"{name}.flac", seconds)
        (tmp_path / f"{name}.txt").write_text(name)
    data = Captions(tmp_path, max_seconds=1.0)
    assert data.texts == ["a"] and len(data) == 1 and "1 recordings longer than 1 s" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("audoi,text\na.wav,hello\n", "columns audoi, text.*did you mean 'audoi'.*expected audio or image"),
        ("audio,image,text\na.wav,a.png,hello\n", "expected audio or image"),
        ("", "columns none"),
        ("audio,text\n", "has no pair"),
        ("audio,text\na.wav, \n", "line 2 of .* has no text"),
        ("audio,text\na.wav\n", "line 2 has 1 cells, expected 2 as in line 1"),
        ('audio,text\na.wav,"hello\n', "line 2 is not CSV .a quote is not closed"),
    ],
)
def test_malformed_csv_raises(content, message, tmp_path):
    write_audio(tmp_path / "a.wav")
    (tmp_path / "said.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        Captions(tmp_path / "said.csv")


def test_invalid_arguments_raise(tmp_path):
    with pytest.raises(MissingDataError, match="nowhere does not exist"):
        Captions(tmp_path / "nowhere")
    with pytest.raises(DataError, match="has no pair"):
        Captions(tmp_path)
    with pytest.raises(ConfigError, match="size is 0"):
        Captions(tmp_path, size=0)
    write_audio(tmp_path / "a.wav")
    with pytest.raises(DataError, match=r"a\.wav has no text: expected a\.txt"):
        Captions(tmp_path)
    (tmp_path / "a.txt").write_text("a")
    write_image(tmp_path / "b.png")
    (tmp_path / "b.txt").write_text("b")
    with pytest.raises(DataError, match="recordings and images"):
        Captions(tmp_path)
    (tmp_path / "a.wav").unlink()
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"b\.png is not an image"):
        Captions(tmp_path)[0]
    (tmp_path / "said.csv").write_text("audio,text\nx.wav,x\ny.wav,y\n")
    with pytest.raises(MissingDataError, match=r"2 of 2 files .* first .*x\.wav"):
        Captions(tmp_path / "said.csv")
    (tmp_path / "x.wav").write_bytes(b"")
    (tmp_path / "y.wav").write_bytes(b"")
    with pytest.raises(AudioError, match=r"x\.wav is empty"):
        Captions(tmp_path / "said.csv")[0]


def test_linked_folders_are_entered(tmp_path):
    for place, name in (("root/own", "a"), ("disk", "b"), ("disk/deep", "c")):
        write_audio(tmp_path / place / f"{name}.wav")
        (tmp_path / place / f"{name}.txt").write_text(name)
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "disk")
    (tmp_path / "root" / "own" / "circle").symlink_to(tmp_path / "root")
    assert sorted(Captions(tmp_path / "root").texts) == ["a", "b", "c"]


def test_unquoted_comma_in_text_raises(tmp_path):
    write_audio(tmp_path / "a.wav")
    (tmp_path / "said.csv").write_text("audio,text\na.wav,on\na.wav,turn it on, then off\n")
    with pytest.raises(DataError, match=r"said\.csv line 3 has 3 cells, expected 2 as in line 1"):
        Captions(tmp_path / "said.csv")


@pytest.mark.parametrize("content", [b"\xff", "déjà".encode("latin-1"), "hello".encode("utf-16"), b"", b" \n"])
def test_blank_text_raises(tmp_path, content):
    write_audio(tmp_path / "a.wav")
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.txt"):
        Captions(tmp_path)
