from mmcl.data import FashionMnist
from mmcl.data.catalog import entries


def test_catalog_entry():
    assert len(FashionMnist.classes) == len(set(FashionMnist.classes)) == 10
    entry = next(entry for entry in entries() if entry.name == "fashion_mnist")
    assert entry.load() is FashionMnist and "torchvision" in entry.url
