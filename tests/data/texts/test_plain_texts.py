import pytest

from mmcl.data.texts.plain_texts import PlainTexts
from mmcl.errors import DataError


def test_texts_are_samples():
    data = PlainTexts(("wing", "heat"))
    assert (len(data), data.labels, data[-1]) == (2, [0, 0], {"id": "1", "text": "heat", "label": 0})
    with pytest.raises(IndexError):
        data[2]


def test_no_texts_are_an_error():
    with pytest.raises(DataError, match="0 texts"):
        PlainTexts([])
