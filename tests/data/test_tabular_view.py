import pytest
import torch

from mmcl.data import open_dataset
from mmcl.data.tabular_view import TabularView
from mmcl.errors import DataError


def test_all_views_of_rosmap_are_one_vector(data_dir):
    source = open_dataset("rosmap", "test")
    view = TabularView(source)
    assert len(view) == len(source) and view.labels == source.labels and view.features == {"tabular": 600}
    expected = torch.cat([source[3][name] for name in source.modalities])
    assert torch.equal(view[3]["tabular"], expected) and set(view[3]).isdisjoint(source.modalities)


def test_a_data_set_without_numbers_is_refused():
    class Said:
        classes, labels, texts, modalities = ("on",), [0], ["on"], {"audio": "audio"}

        def __len__(self):
            return 1

    with pytest.raises(DataError, match="audio"):
        TabularView(Said())
