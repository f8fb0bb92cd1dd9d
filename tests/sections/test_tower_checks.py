"""Checks of towers against pairs. The messages are tested in cli/test_validate.py."""

from __future__ import annotations

import pytest
import torch

from mmcl.config.checks import Checks
from mmcl.errors import ConfigError
from mmcl.sections.tower_checks import check_pairs, check_sides, check_tower
from mmcl.sections.towers import PairsSection, PretrainingSection, TowerSection


class Images:
    classes, labels, texts = ("a", "b"), [0, 1], ["a", "b"]

    def __init__(self, channels=3):
        self.channels = channels

    def __len__(self):
        return 2

    def __getitem__(self, row):
        return {"image": torch.rand(self.channels, 8, 8), "text": self.texts[row], "label": row}


def test_a_tower_needs_its_modality():
    check_tower(Images(), "image")
    check_tower(Images(), "text")
    with pytest.raises(ConfigError, match="audio.*image"):
        check_tower(Images(), "audio")


@pytest.mark.parametrize(
    ("channels", "given", "count"),
    [(3, {}, 0), (3, {"channels": 3}, 0), (1, {"channels": 3}, 0), (3, {"channels": 1}, 1)],
)
def test_channels_must_be_those_of_the_images(channels, given, count):
    checks = Checks()
    first = TowerSection(modality="image", name="cnn", options=given)
    check_sides(checks, "pairs.name", Images(channels), PretrainingSection(first=first))
    assert len(checks.faults) == count and all("channels is 1" in fault for fault in checks.faults)


def test_captions_are_checked(tmp_path):
    checks = Checks()
    assert check_pairs(checks, PairsSection(name="captions", options={"train": str(tmp_path / "none.csv")})) is None
    assert len(checks.faults) == 2 and "none.csv" in checks.faults[0] and "valid" in checks.faults[1]
