from mmcl.data import Cifar10
from mmcl.data.catalog import entries


def test_catalog_entry():
    assert len(Cifar10.classes) == len(set(Cifar10.classes)) == 10
    entry = next(entry for entry in entries() if entry.name == "cifar10")
    assert entry.load() is Cifar10 and "torchvision" in entry.url
