import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from mmcl.data import espeak
from mmcl.data.espeak import ACCENTS, ESPEAK_RATE, VARIANTS, Voice, espeak_version, speak
from mmcl.errors import ConfigError, DataError, MissingDataError

CHECKOUT = Path(espeak.__file__).parents[2]
TEXT = "she hardly hears the music in the kitchen"  # with every kind of noise: h, s, sh, z, ch

needs_espeak = pytest.mark.skipif(
    __import__("importlib.util").util.find_spec("espeakng_loader") is None, reason="espeakng-loader is not installed"
)
