from pathlib import Path

import pytest

from mmcl.data import espeak

CHECKOUT = Path(espeak.__file__).parents[2]
TEXT = "she hardly hears the music in the kitchen"  # with every kind of noise: h, s, sh, z, ch

needs_espeak = pytest.mark.skipif(
    __import__("importlib.util").util.find_spec("espeakng_loader") is None, reason="espeakng-loader is not installed"
)
