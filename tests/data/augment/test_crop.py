import pytest

from mmcl.data.augment.crop import check_crop
from mmcl.data.augment.images import ImageAugmentation
from mmcl.data.augment.speech import SpeechAugmentation
from mmcl.data.augment.texts import TextAugmentation
from mmcl.errors import ConfigError


@pytest.mark.parametrize("ends", [(0.0, 1.0), (0.6, 0.5), (0.5, 1.1), (-1.0, 1.0)])
def test_shares_outside_the_range_are_refused(ends):
    for check in (check_crop, ImageAugmentation, SpeechAugmentation, TextAugmentation):
        with pytest.raises(ConfigError, match=f"smallest is {ends[0]} and largest {ends[1]}"):
            check(smallest=ends[0], largest=ends[1])
