import json
from pathlib import Path

import pytest

from mmcl.errors import CheckpointError
from mmcl.models.readouts.described import READOUTS, describe_read_out, rebuild_read_out

PATH = Path("config.json")


@pytest.mark.parametrize("name", READOUTS)
def test_a_description_survives_json(name):
    readout = READOUTS[name]()
    described = json.loads(json.dumps(describe_read_out(readout)))
    rebuilt = rebuild_read_out(described, (2, 3), PATH)
    assert type(rebuilt) is type(readout) and rebuilt.settings == readout.settings
    assert rebuilt.seen.shape == (2,)


def test_a_model_may_have_no_read_out():
    assert rebuild_read_out(None, (2, 3), PATH) is None


@pytest.mark.parametrize(
    ("described", "named"),
    [
        ("slda", "slda"),
        ({"name": "qda"}, "qda"),
        ({"name": "slda", "settings": {"shrinkage": "much"}}, "much"),
        ({"name": "ranpac", "settings": {"projection": 3}}, "projection"),
        ({"name": "ranpac", "settings": {"projections": 2**40}}, str(2**40)),
    ],
)
def test_faulty_descriptions_raise(described, named):
    with pytest.raises(CheckpointError, match=f"config.json.*{named}|{named}.*config.json"):
        rebuild_read_out(described, (2, 3), PATH)
