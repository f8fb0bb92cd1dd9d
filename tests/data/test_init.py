import re
import subprocess
import sys
from pathlib import Path

import pytest

import mmcl.data

CHECKOUT = Path(mmcl.data.__file__).parents[2]


@pytest.mark.parametrize("name", mmcl.data.DATASETS)
def test_every_data_set_can_be_imported_from_here(name):
    dataset = getattr(mmcl.data, name)
    assert dataset.__name__ == name
    assert dataset.splits and (dataset.source is None or dataset.source.name)


@pytest.mark.parametrize("name", mmcl.data.__all__)
def test_every_name_is_defined_where_it_is_looked_for(name):
    """Reads the module instead of importing it: that of the streams loads all of avalanche."""
    source = (CHECKOUT / (mmcl.data._LAZY[name].replace(".", "/") + ".py")).read_text(encoding="utf-8")
    assert re.search(rf"^(def|class) {name}\b", source, re.MULTILINE)


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'mmcl.data' has no attribute 'Imagenet'"):
        mmcl.data.Imagenet  # noqa: B018


def test_every_name_is_listed():
    assert set(dir(mmcl.data)) == set(mmcl.data.__all__)


def test_reading_annotations_loads_no_torch():
    code = "import sys; from mmcl.data import Barista, Slurp, SpokenDigits; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert done.stdout == "False\n"
