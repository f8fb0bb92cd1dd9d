from mmcl.data import Svhn
from mmcl.data.catalog import entries


def test_catalog_entry():
    assert len(Svhn.classes) == len(set(Svhn.classes)) == 10
    entry = next(entry for entry in entries() if entry.name == "svhn")
    assert entry.load() is Svhn and "torchvision" in entry.url
