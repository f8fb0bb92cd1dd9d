import json
import logging
from collections import Counter

import numpy as np
import pytest
import soundfile

from mmcl.data.speech.barista import Barista
from mmcl.errors import ConfigError, DataError, MissingDataError

SPLITS = ("train", "valid", "test")


def order(number):
    slots = {"coffeeDrink": "latte" if number % 2 else "mocha"}
    if number % 3 == 0:
        slots["milkAmount"] = " soy milk" if number % 2 else "soy milk"
    if number == 4:
        slots["roast"] = "dark roast"
    return {"intent": "orderDrink", "slots": slots}


def write(root, count=50, suffix=".flac", labels="label.json", folder="speech"):
    for path in (root / labels, root / folder / "any"):
        path.parent.mkdir(parents=True, exist_ok=True)
    (root / labels).write_text(json.dumps({f"id{i:02d}.wav": order(i) for i in range(count)}))
    for i in range(count):
        soundfile.write(root / folder / f"id{i:02d}{suffix}", 0.2 * np.sin(np.arange(800) * 0.3), 16_000)
    return root


@pytest.fixture
def root(tmp_path):
    return write(tmp_path)


def ids(root, split, **options):
    return [utterance.id for utterance in Barista(root, split, **options).utterances]


def test_sample(root):
    dataset = Barista(root, "train")
    assert dataset.classes == ("latte", "mocha")
    index = next(i for i, utterance in enumerate(dataset.utterances) if int(utterance.id[2:]) % 6 == 3)
    sample = dataset[index]
    assert (sample["label"], sample["text"], sample["speaker"]) == (0, "latte", "")
    assert sample["entities"] == (("milkAmount", "soy milk"),), "the other slots, without stray spaces"
    assert sample["audio"].shape == (800,)


def test_slots_as_text(root):
    dataset = Barista(root, "train", words="slots")
    assert set(dataset.texts) >= {"latte", "mocha", "latte soy milk", "mocha soy milk"}
    with pytest.raises(ConfigError, match="words is 'all', expected 'class' or 'slots'"):
        Barista(root, "train", words="all")


@pytest.mark.parametrize("count", [6, 7, 11, 50])
def test_splits_are_a_stratified_partition(tmp_path, count):
    write(tmp_path, count)
    parts = {split: ids(tmp_path, split) for split in SPLITS}
    assert sorted(sum(parts.values(), [])) == [f"id{i:02d}" for i in range(count)]
    for split in SPLITS:
        assert set(Barista(tmp_path, split).labels) == {0, 1}


def test_shares(root):
    counts = {split: Counter(Barista(root, split).labels) for split in SPLITS}
    assert counts == {"train": {0: 16, 1: 16}, "valid": {0: 4, 1: 4}, "test": {0: 5, 1: 5}}


def test_split_is_fixed_by_the_seed_on_every_machine(root):
    assert ids(root, "test") == ids(root, "test", seed=0) != ids(root, "test", seed=1)
    assert ids(root, "test") == ["id07", "id11", "id17", "id33", "id45", "id02", "id14", "id28", "id38", "id40"]


def test_missing_recordings_are_counted_and_do_not_change_splits(root, caplog):
    before = {split: ids(root, split) for split in SPLITS}
    gone = {before["train"][0], before["test"][-1]}
    for name in gone:
        (root / "speech" / f"{name}.flac").unlink()
    with caplog.at_level(logging.WARNING):
        after = {split: ids(root, split) for split in SPLITS}
    assert after == {split: [name for name in names if name not in gone] for split, names in before.items()}
    assert len(caplog.records) == 3, "one for each data set opened"
    for part in ("2 of 50 labels", str(root), f"first {min(gone)}"):
        assert part in caplog.records[0].getMessage()


def test_layout_of_the_owner(root, tmp_path_factory):
    owner = write(tmp_path_factory.mktemp("owner"), suffix=".wav", labels="label/label.json", folder="speech/clean")
    assert ids(owner, "test") == ids(root, "test")
    assert Barista(owner)[0]["audio"].shape == (800,)


def test_another_slot(root):
    dataset = Barista(root, "train", "milkAmount")
    assert dataset.classes == ("soy milk",)
    assert {split: len(Barista(root, split, "milkAmount")) for split in SPLITS} == {"train": 11, "valid": 3, "test": 3}
    assert [entity.type for entity in dataset[0]["entities"]] == ["coffeeDrink"]


def test_unknown_slot(root):
    with pytest.raises(DataError, match=r"no slot 'coffedrink' \(did you mean 'coffeeDrink'\?\): .* milkAmount, roast"):
        Barista(root, slot="coffedrink")


def test_class_with_too_few_recordings(root):
    with pytest.raises(DataError) as caught:
        Barista(root, slot="roast")
    for part in ("class 'dark roast' of slot 'roast'", "0 train, 0 valid, 1 test"):
        assert part in str(caught.value)


def test_no_recordings_at_all(root):
    for path in (root / "speech").iterdir():
        path.unlink()
    with pytest.raises(MissingDataError, match=r"none of the 50 .* expected id00\.flac or \.wav in"):
        Barista(root)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"a.wav": {"intent": "x"}}', '{"a.wav": {"slots": {"roast": 3}}}', '{"a.wav": 1}']
)
def test_malformed_labels_raise(root, text):
    (root / "label.json").write_text(text)
    with pytest.raises(DataError, match=r"label\.json"):
        Barista(root)


def test_real_copy(data_dir, caplog):
    with caplog.at_level(logging.WARNING):
        parts = {split: Barista(data_dir / "barista", split) for split in SPLITS}
    assert len(caplog.records) == 3
    assert "6 of 625 labels" in caplog.text
    assert parts["train"].classes == (
        "americano", "cappuccino", "coffee", "drip coffee", "espresso",
        "house coffee", "iced coffee", "iced mocha", "latte", "mocha",
    )  # fmt: skip
    assert {split: len(part) for split, part in parts.items()} == {"train": 395, "valid": 99, "test": 125}
    assert len({utterance.id for part in parts.values() for utterance in part.utterances}) == 619
    everything = Counter(label for part in parts.values() for label in part.labels)
    for label, count in Counter(parts["test"].labels).items():
        assert abs(count - 0.2 * everything[label]) <= 1.5
    assert all(utterance.path.suffix == ".flac" for utterance in parts["test"].utterances)


def test_other_slots_of_the_real_copy(data_dir):
    assert len(Barista(data_dir / "barista", "test", "size").classes) == 7
    assert len(Barista(data_dir / "barista", "test", "numberOfShots").classes) == 3
    with pytest.raises(DataError, match="class 'a bit of cream' of slot 'milkAmount' has too few recordings"):
        Barista(data_dir / "barista", "test", "milkAmount")
