import pytest

from mmcl.batch import Batch
from mmcl.data.augment.texts import TextAugmentation
from mmcl.errors import ConfigError, InputError

TEXT = " ".join(f"w{number}" for number in range(20))


def test_a_crop_is_a_span_of_the_words():
    for view in TextAugmentation(smallest=0.5, largest=0.7, dropped=0.0)(Batch(text=[TEXT] * 30))["text"]:
        assert view in TEXT and 10 <= len(view.split()) <= 14


def test_words_are_left_out_in_their_order():
    views = TextAugmentation(smallest=1.0, dropped=0.5)(Batch(text=[TEXT] * 30))["text"]
    numbers = [[int(word[1:]) for word in view.split()] for view in views]
    assert all(each == sorted(each) for each in numbers)
    assert 8 < sum(map(len, numbers)) / 30 < 12


def test_a_text_keeps_a_word_and_an_empty_one_stays_empty():
    assert TextAugmentation(dropped=0.99)(Batch(text=["one", ""]))["text"] == ["one", ""]


def test_bad_settings_and_batches_are_refused():
    with pytest.raises(ConfigError, match=r"1\.0"):
        TextAugmentation(dropped=1.0)
    with pytest.raises(InputError, match="label"):
        TextAugmentation()(Batch(label=[1]))
