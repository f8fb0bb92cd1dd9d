import subprocess
import sys

import mmcl.encoders


def test_names_are_imported_on_first_use():
    code = (
        "import sys, mmcl.encoders; assert 'torch' not in sys.modules; "
        "from mmcl.encoders import build_encoder; assert 'transformers' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""


def test_every_name_exists():
    for name in mmcl.encoders.__all__:
        assert getattr(mmcl.encoders, name).__name__ == name
