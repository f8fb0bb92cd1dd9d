"""Inputs of predictions."""

import pytest

from mmcl.errors import ConfigError, DataError
from mmcl.predict.inputs import Answered, answer_all, prediction_inputs


@pytest.fixture
def folder(tmp_path):
    for name in ("b/2.wav", "a.FLAC", "photo.jpg", "notes.md", ".hidden.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "said.txt").write_text("lights on\n\n  play a song \n")
    return tmp_path


def test_folders_stand_for_their_files_of_the_modality(folder):
    names = [each.name for each in prediction_inputs([folder, folder / "notes.md"], [], "audio")]
    assert names == [str(folder / name) for name in ("a.FLAC", "b/2.wav", "notes.md")]
    assert [each.path for each in prediction_inputs([folder], [], "image")] == [folder / "photo.jpg"]


def test_each_line_of_a_text_file_is_a_text(folder):
    path = folder / "said.txt"
    for files in ([path], [folder]):
        found = prediction_inputs(files, ["stop"], "text")
        assert [each.text for each in found] == ["stop", "lights on", "play a song"]
        assert [each.name for each in found] == ["stop", f"{path} line 1", f"{path} line 3"]


def test_unreadable_text_files_do_not_lose_the_others(folder):
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    (folder / "empty.txt").touch()
    files = [folder / name for name in ("latin.txt", "empty.txt", "none.txt", "said.txt")]
    found = list(answer_all(prediction_inputs(files, [], "text"), lambda each: each.text))
    assert [each.answer for each in found] == [None, None, None, "lights on", "play a song"]
    assert all(file.name in each.error for file, each in zip(files[:3], found[:3], strict=True))


def test_each_row_of_a_table_is_an_input_of_a_model_of_views(folder):
    (folder / "rows.csv").write_text("image,age,label\nphoto.jpg,3,old\nphoto.jpg,4,young\n")
    (folder / "bad.csv").write_text("image,age\nphoto.jpg\n")
    found = prediction_inputs([folder / name for name in ("rows.csv", "bad.csv", "none.csv")], [], "views")
    assert [each.row.numbers for each in found[:2]] == [(3.0,), (4.0,)]
    assert found[0].row.files == {"image": folder / "photo.jpg"} and found[1].name.endswith("rows.csv line 3")
    errors = [each.error for each in answer_all(found, lambda each: each.row)]
    assert errors[:2] == ["", ""] and "bad.csv" in errors[2] and "none.csv" in errors[3]


def test_unusable_inputs_raise(folder, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.md").touch()
    for files, texts, modality, word in (
        ([], [], "audio", "FILE"),
        ([], [], "text", "--text"),
        ([folder], ["on"], "audio", "--text"),
        ([tmp_path / "other"], [], "audio", r"other has no files of audio.*\.wav"),
    ):
        with pytest.raises(ConfigError, match=word):
            prediction_inputs(files, texts, modality)


def test_failures_become_errors():
    def answer(each):
        if each.text == "b":
            raise DataError("b is damaged")
        return each.text.upper()

    done = []
    found = list(answer_all(prediction_inputs([], ["a", "b", "c"], "text"), answer, lambda: done.append(1)))
    assert found == [Answered("a", "A"), Answered("b", None, "b is damaged"), Answered("c", "C")] and len(done) == 3
