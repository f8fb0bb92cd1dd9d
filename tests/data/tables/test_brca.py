import numpy as np

from mmcl.data import Brca


def test_five_subtypes_of_three_views(tmp_path):
    for number, columns in enumerate((6, 5, 4), start=1):
        np.savetxt(tmp_path / f"{number}_te.csv", np.random.default_rng(number).random((5, columns)), delimiter=",")
    np.savetxt(tmp_path / "labels_te.csv", [4, 0, 1, 2, 3])
    (tmp_path / "1_tr.csv").touch()  # the marker of the folder
    data = Brca(tmp_path, "test")
    assert data.texts == ["luminal B", "normal-like", "basal-like", "HER2-enriched", "luminal A"]
    assert data.features == {"mrna": 6, "methylation": 5, "mirna": 4}
