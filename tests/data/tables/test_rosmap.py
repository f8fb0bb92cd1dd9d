from mmcl.data import Rosmap
from mmcl.data.tables.mogonet import VIEWS


def test_sizes_match_the_publication(data_dir):
    train, valid, test = (Rosmap(data_dir / "rosmap", split) for split in ("train", "valid", "test"))
    both = train + valid
    assert len(both) == 245 and sum(both.labels) == 127
    assert len(test) == 106 and sum(test.labels) == 55
    assert set(test.features.values()) == {200} and tuple(test.features) == VIEWS
