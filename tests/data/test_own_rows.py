"""User data in every layout and format, on recordings of FSDD; and each fault with its place."""

from __future__ import annotations

import csv
import json
import shutil
import unicodedata

import pytest

from mmcl.data import LabelledTable, open_dataset
from mmcl.data.fingerprint import noted_by, sample_digests
from mmcl.data.own_rows import read_own, same_split
from mmcl.errors import ConfigError, DataError, MissingDataError

NAMES = ["zero", "one", "two"]


@pytest.fixture
def clips(data_dir, tmp_path):
    """Rows of 36 recordings: three digits of six speakers, two takes each."""
    (tmp_path / "clips").mkdir()
    rows = []
    for path in sorted((data_dir / "fsdd" / "recordings").glob("[0-2]_*_[0-1].wav")):
        shutil.copy(path, tmp_path / "clips")
        digit, speaker, _ = path.stem.split("_")
        rows.append({"audio": f"clips/{path.name}", "label": NAMES[int(digit)], "speaker": speaker})
    return tmp_path, rows


def write(path, rows):
    """Write rows in the format of the suffix."""
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


FORMATS = [".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_same_data(clips, suffix):
    folder, rows = clips
    path = write(folder / f"orders{suffix}", rows)
    parts = {split: LabelledTable(path, split) for split in ("train", "valid", "test")}
    assert parts["train"].classes == ("one", "two", "zero") and parts["train"].made == ("valid", "test")
    assert sum(map(len, parts.values())) == 36
    speakers = [set(part.speakers) for part in parts.values()]
    assert sum(map(len, speakers)) == 6 == len(set().union(*speakers))
    first = parts["train"].utterances[0]
    row = next(row for row in rows if row["audio"] == first.id)
    assert (first.text, first.speaker) == (row["label"], row["speaker"]) and first.path == folder / row["audio"]
    assert parts["test"][0]["audio"].shape[0] > 1000 and parts["test"][0]["speaker"] == parts["test"].speakers[0]
    again = LabelledTable(path, "train")
    assert sample_digests(again) == sample_digests(parts["train"])
    assert LabelledTable(path, "train", split_seed=1).speakers != parts["train"].speakers


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_given_splits_are_kept_and_missing_ones_are_made(clips, suffix):
    folder, rows = clips
    for row in rows:
        row["split"] = "test" if row["speaker"] == "theo" else "train"
    path = write(folder / f"orders{suffix}", rows)
    assert set(LabelledTable(path, "test").speakers) == {"theo"}
    train, valid = LabelledTable(path, "train"), LabelledTable(path, "valid")
    assert valid.made == ("valid",) and not set(train.speakers) & set(valid.speakers)
    assert len(train) + len(valid) == 30
    joined = train + valid
    assert len(joined.utterances) == 30 == len(set(joined.labels)) * 10
    for row in rows:
        row["split"] = "dev" if row["speaker"] == "jackson" else row["split"]
    path = write(folder / f"orders{suffix}", rows)
    assert set(LabelledTable(path, "valid").speakers) == {"jackson"} and LabelledTable(path, "valid").made == ()
    assert same_split("train", ["training"]) == "training"


def test_all_columns_of_a_row_are_read(clips):
    folder, rows = clips
    rows = [{**row, "transcript": "Café " + row["label"], "age": 30 + place % 3} for place, row in enumerate(rows)]
    given = ("size: large; drink: latte", {"size": "large", "drink": "latte"}, [["size", "large"], ["drink", "latte"]])
    for place, row in enumerate(rows):
        row["entities"] = given[place % 3]
    data = LabelledTable(write(folder / "orders.jsonl", rows), by_speaker=False)
    assert {tuple(each) for each in data.entities} == {(("size", "large"), ("drink", "latte"))}
    assert data.modalities == {"audio": "audio", "text": "text", "numbers": "tabular"}
    sample = data[3]
    assert sample["text"].startswith("Café ") and sample["entities"][0].type == "size"
    assert sample["numbers"].shape == (1,) and data.utterances[3].entities == data.entities[3]


def test_folders_of_labels_and_of_splits(clips):
    folder, rows = clips
    for root, split_of in (
        ("by_label", lambda row: ""),
        ("by_split", lambda row: ("train", "val")[row["speaker"] > "n"]),
    ):
        for row in rows:
            target = folder / root / split_of(row) / row["label"]
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / row["audio"], target)
    made = LabelledTable(folder / "by_label", "test")
    assert made.made == ("valid", "test") and len(made) == 6 and made.classes == ("one", "two", "zero")
    given = LabelledTable(folder / "by_split", "valid")
    assert given.made == ("test",) and {each.id.split("/")[0] for each in given.utterances} == {"val"}
    (folder / "by_label" / "zero" / "loose.txt").write_text("not beside a recording")
    assert len(LabelledTable(folder / "by_label", "test")) == 6
    shutil.copy(folder / rows[0]["audio"], folder / "by_label")
    with pytest.raises(DataError, match="0_george_0.wav.*LABEL"):
        LabelledTable(folder / "by_label")


def test_folders_of_texts(tmp_path):
    for label in ("spam", "ham"):
        (tmp_path / label).mkdir()
        for number in range(10):
            (tmp_path / label / f"{number}.txt").write_text(f"{label} {number}")
    data = LabelledTable(tmp_path, "train")
    assert data.modalities == {"text": "text"} and len(data) == 14 and data.texts[0].split()[0] == "ham"
    (tmp_path / "ham" / "3.txt").write_text(" \n")
    with pytest.raises(DataError, match=r"ham/3\.txt"):
        LabelledTable(tmp_path)


def test_a_saved_folder_of_datasets(clips):
    pyarrow = pytest.importorskip("pyarrow")
    folder, rows = clips
    features = {"label": {"names": NAMES, "_type": "ClassLabel"}, "audio": {"_type": "Audio"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    for split, chosen in (("train", rows[::2]), ("test", rows[1::2])):
        cells = [
            {
                "audio": {"bytes": (folder / row["audio"]).read_bytes(), "path": row["audio"]},
                "label": NAMES.index(row["label"]),
            }
            for row in chosen
        ]
        table = pyarrow.Table.from_pylist(cells).replace_schema_metadata(metadata)
        (folder / "saved" / split).mkdir(parents=True)
        path = str(folder / "saved" / split / "data-00000-of-00001.arrow")
        with pyarrow.OSFile(path, "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
        (folder / "saved" / split / "state.json").write_text(json.dumps(state))
    (folder / "saved" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    data = LabelledTable(folder / "saved", "test")
    assert data.classes == ("one", "two", "zero") and len(data) == 18 and len(data[0]["audio"]) > 1000


@pytest.mark.parametrize("name", ["orders.parquet", "saved"])
def test_without_pyarrow_the_error_says_what_to_install(tmp_path, monkeypatch, name):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    if name == "saved":
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").write_text('{"_data_files": [{"filename": "a.arrow"}]}')
    else:
        (tmp_path / name).write_bytes(b"PAR1")
    with pytest.raises(MissingDataError, match=rf"{name}.*mmcl\[parquet\]"):
        LabelledTable(tmp_path / name)


FAULTS = [
    ({"label": ""}, "orders.* line 3, column label"),
    ({"audio": ""}, "orders.* line 3, column audio"),
    ({"audio": "../out.wav"}, "'../out.wav' in line 3, column audio.*absolute path"),
    ({"audio": "clips/../../out.wav"}, "line 3, column audio.*absolute path"),
    ({"audio": "clips/none.wav"}, r"1 of \d+ files.*clips/none.wav in line 3"),
    ({"age": "old"}, "'old' in line 3, column age"),
    ({"age": "nan"}, "'nan' in line 3, column age"),
    ({"age": ""}, "empty cell in line 3, column age"),
    ({"entities": "large"}, "'large' in line 3, column entities.*TYPE: VALUE"),
    ({"split": ""}, "empty cell in line 3, column split"),
]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
@pytest.mark.parametrize(("fault", "said"), FAULTS)
def test_faults_name_file_place_and_column(clips, suffix, fault, said):
    folder, rows = clips
    rows = [{**row, "age": 20, "entities": "size: small", "split": "train"} for row in rows]
    rows[1 if suffix != ".jsonl" else 2].update(fault)
    path = write(folder / f"orders{suffix}", rows)
    with pytest.raises(DataError, match=said):
        LabelledTable(path, by_speaker=False, split_seed=3) + LabelledTable(path, "test", by_speaker=False)


@pytest.mark.parametrize("value", [["a"], {"a": 1}, "a\0b"])
def test_other_types_in_json_are_refused(clips, value):
    folder, rows = clips
    rows[4]["label"] = value
    with pytest.raises(DataError, match="line 5, column label"):
        LabelledTable(write(folder / "orders.jsonl", rows))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"label": "lable"}, "no column lable.*'label'"),
        ({"lable": "label"}, "'lable'.*'label'"),
        ({"label": None}, "columns audio, speaker, expected label"),
    ],
)
def test_columns_are_renamed(clips, columns, said):
    folder, rows = clips
    path = write(folder / "orders.csv", rows)
    with pytest.raises(DataError, match=said):
        LabelledTable(path, columns=columns)
    renamed = [{"file": row["audio"], "intent": row["label"], "speaker": row["speaker"]} for row in rows]
    data = LabelledTable(write(path, renamed), columns={"audio": "file", "label": "intent", "speaker": None})
    assert data.classes == ("one", "two", "zero") and not any(data.speakers)


def test_absolute_paths_links_and_accents(clips):
    folder, rows = clips
    (folder / "elsewhere").mkdir()
    shutil.copy(folder / rows[0]["audio"], folder / "elsewhere" / unicodedata.normalize("NFD", "café.wav"))
    (folder / "list").mkdir()
    (folder / "list" / "linked").symlink_to(folder / "elsewhere")
    written = ["linked/" + unicodedata.normalize("NFC", "café.wav"), str(folder / rows[1]["audio"])]
    files = zip([*written, *written], ["train", "test", "valid", "train"], strict=True)
    path = write(folder / "list" / "a.csv", [{"audio": each, "label": "x", "split": split} for each, split in files])
    found = [each.path for split in ("train", "valid", "test") for each in LabelledTable(path, split).utterances]
    assert len(found) == 4 and len({each.resolve() for each in found}) == 2


def test_unknown_splits_columns_and_roots(clips, tmp_path):
    folder, rows = clips
    path = write(folder / "orders.csv", rows)
    with pytest.raises(MissingDataError, match="'tset'.*'test'.*train, valid, test"):
        LabelledTable(path, "tset")
    with pytest.raises(ConfigError, match="data.root"):
        open_dataset("table", "train")
    with pytest.raises(ConfigError, match="'colums'.*'columns'"):
        open_dataset("table", "train", path, colums={})
    with pytest.raises(MissingDataError, match="nowhere"):
        open_dataset("table", "train", tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"orders.txt.*\.csv"):
        read_own(path.rename(folder / "orders.txt"))
    (folder / "empty").mkdir()
    with pytest.raises(MissingDataError, match="empty has no data"):
        read_own(folder / "empty")


def test_too_few_speakers_cannot_be_kept_apart(clips):
    folder, rows = clips
    path = write(folder / "orders.csv", [row for row in rows if row["speaker"] in ("theo", "lucas")])
    with pytest.raises(DataError, match="orders.csv.*2 speakers.*by_speaker=false"):
        LabelledTable(path)
    assert LabelledTable(path, "test", by_speaker=False).labels == [2, 0, 1]


def test_opened_tables_are_noted_for_resuming(clips):
    folder, rows = clips
    path = write(folder / "orders.csv", rows)
    seen = []
    with noted_by(lambda name, dataset: seen.append((name, sample_digests(dataset)))):
        open_dataset("table", "train", path)
        changed = next(row for row in rows if row["speaker"] == LabelledTable(path).speakers[0])
        changed["label"] = NAMES[NAMES.index(changed["label"]) - 1]
        open_dataset("table", "train", write(path, rows))
    assert seen[0][0] == seen[1][0] == f"table train root={path!r}" and seen[0][1] != seen[1][1]
