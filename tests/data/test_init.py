import subprocess
import sys
from pathlib import Path

import pytest

import mmcl.data
from mmcl.data.catalog import entries

CHECKOUT = Path(mmcl.data.__file__).parents[2]


@pytest.mark.parametrize("name", [entry.loader.partition(":")[2] for entry in entries()])
def test_every_data_set_can_be_imported_from_here(name):
    dataset = getattr(mmcl.data, name)
    assert dataset.__name__ == name
    assert dataset.splits and (dataset.source is None or dataset.source.name)


def test_unknown_name_raises():
    with pytest.raises(AttributeError, match="module 'mmcl.data' has no attribute 'Imagenet'"):
        mmcl.data.Imagenet  # noqa: B018


def test_every_name_is_listed():
    assert set(dir(mmcl.data)) == set(mmcl.data.__all__)


def test_reading_annotations_loads_no_torch():
    code = "import sys; from mmcl.data import Barista, Slurp, SpokenDigits; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert done.stdout == "False\n"
