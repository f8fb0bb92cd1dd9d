import subprocess
import sys

import pytest

from mmcl.lazy import lazy_names


@pytest.mark.parametrize("package", ["mmcl", "mmcl.data", "mmcl.encoders", "mmcl.models", "mmcl.unlearning"])
def test_a_package_is_quick_until_a_name_is_used(package):
    named = "sorted(dir(package)) == sorted(package.__all__)"
    code = f"import sys, {package} as package; print('torch' in sys.modules, {named})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"], done.stderr


def test_a_name_is_what_its_module_has():
    from fractions import Fraction

    find, names = lazy_names("example", {"Fraction": "fractions"})
    assert find("Fraction") is Fraction and names() == ["Fraction"]
    with pytest.raises(AttributeError, match="module 'example' has no attribute 'Fractal'"):
        find("Fractal")
