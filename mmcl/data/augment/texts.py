"""TextAugmentation: random spans of a text, with words left out."""

from __future__ import annotations

import torch

from mmcl.batch import Batch
from mmcl.config.numbers import Factor, Probability
from mmcl.data.augment.crop import check_crop
from mmcl.errors import ConfigError, InputError


class TextAugmentation:
    """Return a random view of the texts of a batch: a span of the words, some of which are left out.

    A view has at least one word, unless the text has none. Texts are encoded again in each step. With
    ``smallest=0.05`` and ``largest=0.5``, two views are the independent crops of Contriever (Izacard et al. 2022, arXiv
    2112.09118), which takes both from one passage of 256 tokens: split longer texts. Differs from the paper: spans are
    of words instead of tokens. :func:`~mmcl.data.augment.crop.independent_crop` crops token ids.

    Args:
        smallest: smallest share of the words that a span keeps; 1 keeps all.
        largest: largest share.
        dropped: probability of leaving out a word of the span.

    Raises:
        ConfigError: a setting is out of range.
        InputError: (when called) the batch has no texts.

    >>> TextAugmentation(smallest=1.0, dropped=0.0)(Batch(text=["wake me  at seven"]))["text"]
    ['wake me at seven']
    """

    def __init__(self, smallest: Factor = 0.7, largest: Factor = 1.0, dropped: Probability = 0.1) -> None:
        check_crop(smallest, largest)
        if not 0 <= dropped < 1:
            raise ConfigError(f"dropped is {dropped}, expected 0 or more and less than 1")
        self.smallest, self.largest, self.dropped = smallest, largest, dropped

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with other texts; its other entries stay."""
        if "text" not in batch:
            raise InputError(f"the batch has {', '.join(batch) or 'no entries'}, expected texts to augment")
        return Batch({**batch, "text": [self._view(text) for text in batch["text"]]})

    def _view(self, text: str) -> str:
        words = text.split()
        share, place = torch.rand(2).tolist()
        kept = max(1, round(len(words) * (self.smallest + (self.largest - self.smallest) * share)))
        start = int(place * (len(words) - kept + 1))
        span = words[start : start + kept]
        drawn = torch.rand(len(span)).tolist()
        left = [word for word, value in zip(span, drawn, strict=True) if value >= self.dropped]
        return " ".join(left or span[:1])
