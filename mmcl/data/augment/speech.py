"""SpeechAugmentation: random masks and crops of frames, and noise and speed of waveforms."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchaudio.transforms import SpecAugment, SpeedPerturbation

from mmcl.batch import Batch, length_mask
from mmcl.config.numbers import Factor, Probability, Share, Size
from mmcl.data.augment.crop import check_crop, independent_crop
from mmcl.errors import ConfigError, InputError


class SpeechAugmentation:
    """Return a random view of the recordings of a batch.

    Frames, such as cached log-mel features, are cropped and masked (SpecAugment, Park et al. 2019, arXiv 1904.08779).
    Masked frames are 0, the mean of log-mel frames. Waveforms get noise and another speed; their frames must then be
    computed again in each step. A batch of waveforms is changed by ``crop_waveforms``, ``noise`` and ``speed`` only, a
    batch of frames by the others only.

    Args:
        smallest: smallest share of the frames that a crop keeps; 1 crops nothing.
        largest: largest share.
        time_masks: masked spans of frames.
        time_share: largest share of the frames that a span masks.
        band_masks: masked spans of bands.
        band_share: largest share of the bands that a span masks.
        noise: signal-to-noise ratios of white noise in dB, lowest and highest; empty for none.
        speed: factors of the speed to choose from for each batch; empty for none.
        dropped: probability of deleting a frame of the crop, as Contriever deletes tokens.
        crop_waveforms: crop waveforms in place of frames, by the same shares.

    Raises:
        ConfigError: a setting is out of range.
        InputError: (when called) the batch has neither frames nor waveforms.

    >>> _ = torch.manual_seed(0)
    >>> frames = Batch(features=torch.ones(2, 50, 64), features_lengths=torch.tensor([50, 40]))
    >>> SpeechAugmentation(smallest=0.5, time_masks=0, band_masks=0)(frames)["features_lengths"].tolist()
    [37, 35]
    """

    def __init__(
        self,
        smallest: Factor = 0.7,
        largest: Factor = 1.0,
        time_masks: Size = 2,
        time_share: Share = 0.2,
        band_masks: Size = 2,
        band_share: Share = 0.15,
        noise: tuple[float, ...] = (),
        speed: tuple[float, ...] = (),
        dropped: Probability = 0.0,
        crop_waveforms: bool = False,
    ) -> None:
        check_crop(smallest, largest)
        if not (0 <= time_share <= 1 and 0 <= band_share <= 1) or min(time_masks, band_masks) < 0:
            raise ConfigError(
                f"time_share is {time_share}, band_share {band_share}, masks {time_masks} and {band_masks}: expected "
                "shares of 0 to 1, and no negative number of masks"
            )
        if not 0 <= dropped < 1:
            raise ConfigError(f"dropped is {dropped}, expected 0 or more and less than 1")
        if len(noise) not in (0, 2) or (noise and noise[0] > noise[1]) or any(each <= 0 for each in speed):
            raise ConfigError(
                f"noise is {list(noise)} and speed {list(speed)}: expected noise as [lowest, highest] in dB, and "
                "factors of the speed above 0"
            )
        self.smallest, self.largest = smallest, largest
        self.dropped, self.crop_waveforms = dropped, crop_waveforms
        self.noise, self.speed = tuple(noise), tuple(speed)
        self.time_masks, self.time_share = time_masks, time_share
        self.band_masks, self.band_share = band_masks, band_share

    @property
    def needs_inputs(self) -> bool:
        """Whether waveforms are changed, so that cached frames do not serve."""
        return bool(self.noise or self.speed or self.crop_waveforms)

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with other frames or waveforms; its other entries stay."""
        if "features_lengths" in batch:
            crop = self.smallest, self.largest, self.dropped
            features, lengths = independent_crop(batch["features"], batch["features_lengths"], *crop)
            return Batch({**batch, "features": self._masked(features), "features_lengths": lengths})
        if "audio" in batch:
            waveforms, lengths = batch["audio"], batch["audio_lengths"]
            if self.crop_waveforms:
                waveforms, lengths = independent_crop(waveforms, lengths, self.smallest, self.largest)
            waveforms, lengths = self._waveforms(waveforms, lengths)
            return Batch({**batch, "audio": waveforms, "audio_lengths": lengths})
        raise InputError(f"the batch has {', '.join(batch) or 'no entries'}, expected frames or waveforms to augment")

    def _masked(self, frames: Tensor) -> Tensor:
        _, steps, bands = frames.shape
        widest = max(1, math.floor(self.time_share * steps)), max(1, math.floor(self.band_share * bands))
        masks = SpecAugment(
            self.time_masks, widest[0], self.band_masks, widest[1], iid_masks=True, p=self.time_share, zero_masking=True
        )
        masked: Tensor = masks(frames.transpose(1, 2)).transpose(1, 2)
        return masked

    def _waveforms(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        if self.speed:
            waveforms, lengths = SpeedPerturbation(1000, self.speed).to(waveforms.device)(waveforms, lengths)
            lengths = lengths.round().long().clamp(1, waveforms.shape[1])
        if self.noise:
            low, high = self.noise
            decibels = low + (high - low) * torch.rand(len(waveforms), 1, device=waveforms.device)
            inside = length_mask(lengths, waveforms.shape[1])
            power = (waveforms.square() * inside).sum(1, keepdim=True) / lengths[:, None]
            scale = (power / 10 ** (decibels / 10)).sqrt()
            waveforms = waveforms + scale * torch.randn_like(waveforms) * inside
        return waveforms.clamp(-1, 1), lengths
