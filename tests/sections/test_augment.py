import pytest

from mmcl.data.augment.images import ImageAugmentation
from mmcl.data.augment.tables import TableAugmentation
from mmcl.errors import ConfigError
from mmcl.sections.augment import AugmentSection, ImageAugmentSection


def test_each_view_has_the_augmentation_of_its_modality():
    section = AugmentSection(image=ImageAugmentSection(rotation=3.0))
    views = section.build("image", 3)
    assert [type(view) for view in views] == [ImageAugmentation] * 3 and {view.rotation for view in views} == {3.0}
    assert isinstance(section.build("tabular", 2)[1], TableAugmentation)


@pytest.mark.parametrize("modality", ["image", "audio", "text"])
def test_small_crops_come_last(modality):
    views = AugmentSection(small=2, small_smallest=0.1, small_largest=0.3).build(modality, 4)
    assert [view.largest for view in views] == [1.0, 1.0, 0.3, 0.3] and views[3].smallest == 0.1


def test_impossible_views_are_refused():
    for modality, views, number in (("image", 2, 2), ("tabular", 4, 1)):
        with pytest.raises(ConfigError, match=f"small is {number}"):
            AugmentSection(small=number).build(modality, views)
