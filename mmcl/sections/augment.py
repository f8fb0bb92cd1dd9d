"""Config sections of augmentations, one for each modality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from mmcl.config.model import StrictModel
from mmcl.config.signature import section_of

if TYPE_CHECKING:
    from mmcl.training.contrastive import Augmentation


@section_of("mmcl.data.augment.images:ImageAugmentation")
class ImageAugmentSection(StrictModel):
    """Views of images; see :class:`mmcl.data.augment.images.ImageAugmentation`."""


@section_of("mmcl.data.augment.speech:SpeechAugmentation")
class SpeechAugmentSection(StrictModel):
    """Views of recordings; see :class:`mmcl.data.augment.speech.SpeechAugmentation`."""


@section_of("mmcl.data.augment.tables:TableAugmentation")
class TableAugmentSection(StrictModel):
    """Views of feature vectors; see :class:`mmcl.data.augment.tables.TableAugmentation`."""


@section_of("mmcl.data.augment.texts:TextAugmentation")
class TextAugmentSection(StrictModel):
    """Views of texts; see :class:`mmcl.data.augment.texts.TextAugmentation`."""


class AugmentSection(StrictModel):
    """Random views of samples: the section of the encoder's modality applies."""

    image: ImageAugmentSection = ImageAugmentSection()
    audio: SpeechAugmentSection = SpeechAugmentSection()
    tabular: TableAugmentSection = TableAugmentSection()
    text: TextAugmentSection = TextAugmentSection()
    small: int = Field(0, ge=0, description="further views of small crops (multi-crop)")
    small_smallest: float = Field(0.2, gt=0, le=1, description="smallest share that a small crop keeps")
    small_largest: float = Field(0.5, gt=0, le=1, description="largest share that a small crop keeps")

    def build(self, modality: str, views: int) -> list[Augmentation]:
        """Build the augmentation of each view, those of small crops last.

        Args:
            modality: modality of the encoder.
            views: number of views, with those of small crops.

        Raises:
            ConfigError: all views are small crops, or a table has no crops.
        """
        from mmcl.data.augment.images import ImageAugmentation
        from mmcl.data.augment.speech import SpeechAugmentation
        from mmcl.data.augment.tables import TableAugmentation
        from mmcl.data.augment.texts import TextAugmentation
        from mmcl.errors import ConfigError

        if self.small >= views or (self.small and modality == "tabular"):
            expected = "fewer than views" if modality != "tabular" else "0, because a table has no crops"
            raise ConfigError(f"augment.small is {self.small} with views={views}, expected {expected}")
        kinds: dict[str, Any] = {
            "image": ImageAugmentation,
            "audio": SpeechAugmentation,
            "tabular": TableAugmentation,
            "text": TextAugmentation,
        }
        settings: dict[str, Any] = getattr(self, modality).model_dump()
        small = {**settings, "smallest": self.small_smallest, "largest": self.small_largest}
        large = [kinds[modality](**settings) for _ in range(views - self.small)]
        return [*large, *(kinds[modality](**small) for _ in range(self.small))]
