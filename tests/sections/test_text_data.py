import pytest

from mmcl.config.checks import Checks
from mmcl.errors import ConfigError, MissingDataError
from mmcl.sections.text_data import TextDataSection, TextTowerSection


@pytest.fixture
def table(tmp_path):
    rows = [f"query {n},passage {n},{split}" for n, split in enumerate(("train", "train", "valid", "test"))]
    (tmp_path / "own.csv").write_text("\n".join(["query,answer,split", *rows]))
    return TextDataSection(name="table", root=str(tmp_path / "own.csv"), options={"columns": {"passage": "answer"}})


def test_own_files_are_opened_and_checked(table):
    assert table.open("train").first == ["query 0", "query 1"] and len(table.open("test")) == 1
    checks = Checks()
    assert table.check(checks, "data").second == ["passage 0", "passage 1"] and checks.faults == []
    assert table.model_copy(update={"valid": "vaild"}).check(checks, "data") is None
    assert "'vaild'" in str(checks.faults) and "data" in str(checks.faults)


def test_exercises_are_pairs_of_question_and_answer(data_dir, monkeypatch):
    monkeypatch.setenv("MMCL_DATA", str(data_dir))
    pairs = TextDataSection(name="cqa", options={"teachers": [], "size": 3}).open("test")
    assert len(pairs) == 3 and not any("Choices" in text for text in pairs.first)


def test_data_without_text_pairs_is_refused(table, data_dir, monkeypatch):
    monkeypatch.setenv("MMCL_DATA", str(data_dir))
    with pytest.raises(ConfigError, match="fsdd"):
        TextDataSection(name="fsdd").open("train")
    with pytest.raises(ConfigError, match="root"):
        TextDataSection(name="table").open("train")
    with pytest.raises(ConfigError, match="'colums'"):
        table.model_copy(update={"options": {"colums": {}}}).open("train")
    with pytest.raises(MissingDataError, match="other.csv"):
        TextDataSection(name="table", root="other.csv").open("train")


def test_the_tower_is_of_texts():
    encoder, head = TextTowerSection(options={"dim": 8}).build()
    assert encoder.modality == "text" and head.name == "none"
