import json

import pytest

from mmcl.data import Anli, Esnli
from mmcl.errors import MissingDataError


@pytest.mark.parametrize(
    ("kind", "file", "completion"),
    [
        (Anli, "anli1", "It rains there. So the answer is neutral.\n\nPremise: Next.\nSo the answer is entailment."),
        (Esnli, "esnli", "It rains there. Answer: neutral\n\nPremise: Next.\nAnswer: entailment"),
    ],
)
def test_pairs_in_the_owners_layout(kind, file, completion, tmp_path):
    assert kind.parse(completion) == ("It rains there.", "neutral")
    rows = [{"premise": f"It rains in {n}.", "hypothesis": "It is wet.", "label": "entailment"} for n in range(3)]
    if kind is Anli:
        rows = [{**row, "uid": f"u{n}"} for n, row in enumerate(rows)]
    for part in ("train", "valid", "test"):
        (tmp_path / f"{file}_{part}.json").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "palm").mkdir()
    (tmp_path / "palm" / "valid_CoT_0.json").write_text(json.dumps([completion] * 3))
    valid = kind(tmp_path, "valid")
    assert len(valid) == 3 and valid[1].question == "It rains in 1.</s>It is wet." and valid[1].label == "entailment"
    assert valid[1].id == ("u1" if kind is Anli else "valid-2")
    assert valid[0].rationales == (("It rains there.", "neutral", "palm"),) and valid.outside == {"palm": 0}
    assert len(kind(tmp_path, "train")) == 3  # nothing is taken from it, as there is a validation split
    (tmp_path / f"{file}_valid.json").unlink()
    with pytest.raises(MissingDataError, match="_valid.json: get it from"):
        kind(tmp_path, "valid")
