import json

import numpy as np
import pytest

from mmcl.data import Svamp
from mmcl.errors import DataError


@pytest.mark.parametrize(
    ("completion", "read"),
    [
        ("She had 5. The answer is (5 - 2).\n\nQ: There are 3.\nA: The answer is (3).", ("She had 5.", "(5 - 2)")),
        ("The answer is ((29/2) and (30/2)).", ("", "(30/2)")),
        ("So (8 / 4) and (6 / 4). The answer is (8 / 4) and (6 / 4).", ("So (8 / 4) and (6 / 4).", "(6 / 4)")),
        ("Some. The answer is (some - 8).", ("Some.", None)),
        ("The answer is 12.", ("", None)),
        ("The answer is (1 / 0).", ("", None)),
        ("So Jake has", ("So Jake has", None)),
    ],
)
def test_completions(completion, read):
    assert Svamp.parse(completion) == read


def test_the_split_is_that_of_distilling_step_by_step(data_dir):
    folder = data_dir / "rationales" / "svamp"
    order = np.random.RandomState(0).permutation(1000)
    problems = json.loads((folder / "SVAMP.json").read_text())
    test = Svamp(folder, "test")
    assert [each.id for each in test] == [problems[row]["ID"] for row in order[800:]]
    assert test[0].question == f"{problems[order[800]]['Body']}\n{problems[order[800]]['Question']}"
    train, valid = (Svamp(folder, split, teachers=()) for split in ("train", "valid"))
    assert (len(train), len(valid), len(test)) == (720, 80, 200)
    assert not {each.id for each in train} & {each.id for each in [*valid, *test]}


def test_a_broken_file(tmp_path):
    (tmp_path / "SVAMP.json").write_text("[")
    with pytest.raises(DataError, match="SVAMP.json is not JSON"):
        Svamp(tmp_path)
    (tmp_path / "SVAMP.json").write_text('[{"ID": "1", "Body": "b"}]')
    with pytest.raises(DataError, match="SVAMP.json, problem 1 has no 'Equation'"):
        Svamp(tmp_path)
