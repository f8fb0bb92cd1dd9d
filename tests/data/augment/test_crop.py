import pytest
import torch

from mmcl.data.augment.crop import check_crop, independent_crop
from mmcl.data.augment.images import ImageAugmentation
from mmcl.data.augment.speech import SpeechAugmentation
from mmcl.data.augment.texts import TextAugmentation
from mmcl.errors import ConfigError


@pytest.mark.parametrize("ends", [(0.0, 1.0), (0.6, 0.5), (0.5, 1.1), (-1.0, 1.0)])
def test_shares_outside_the_range_are_refused(ends):
    for check in (check_crop, ImageAugmentation, SpeechAugmentation, TextAugmentation):
        with pytest.raises(ConfigError, match=f"smallest is {ends[0]} and largest {ends[1]}"):
            check(smallest=ends[0], largest=ends[1])


def tokens(count=200, steps=40):
    lengths = torch.randint(1, steps + 1, (count,))
    ids = torch.arange(1, steps + 1).repeat(count, 1)
    return ids * (torch.arange(steps) < lengths[:, None]), lengths


def test_a_crop_of_tokens_is_a_span_of_a_share_of_them():
    ids, lengths = tokens()
    cropped, kept = independent_crop(ids, lengths, 0.25, 0.5)
    assert cropped.dtype == ids.dtype and cropped.shape == ids.shape
    for row, size, length in zip(cropped.tolist(), kept.tolist(), lengths.tolist(), strict=True):
        assert max(1, int(0.25 * length)) <= size <= max(1, length // 2)
        assert row[:size] == list(range(row[0], row[0] + size)) and not any(row[size:]) and row[size - 1] <= length


def test_shares_and_starts_are_uniform():
    ids, lengths = torch.arange(1, 101).repeat(4000, 1), torch.full((4000,), 100)
    cropped, kept = independent_crop(ids, lengths, 0.2, 0.6)
    assert kept.float().mean().item() == pytest.approx(39.5, abs=0.8)  # rounded down
    free = (100 - kept).float()
    assert ((cropped[:, 0] - 1) / free).mean().item() == pytest.approx(0.5, abs=0.02)


def test_steps_are_deleted_with_a_probability_and_one_is_kept():
    ids, lengths = tokens(2000)
    thinned, kept = independent_crop(ids, lengths, 1.0, 1.0, dropped=0.3)
    assert (kept.sum() / lengths.sum()).item() == pytest.approx(0.7, abs=0.02) and kept.min() == 1
    for row, size in zip(thinned[:100].tolist(), kept[:100].tolist(), strict=True):
        assert row[:size] == sorted(set(row[:size])) and 0 not in row[:size] and not any(row[size:])
    _, one = independent_crop(ids, lengths, 1.0, 1.0, dropped=0.9999)
    assert (one == 1).float().mean() > 0.98


def test_frames_move_as_a_whole_and_empty_sequences_stay_empty():
    frames = torch.arange(1.0, 7).view(1, 3, 2).repeat(5, 1, 1)
    cropped, kept = independent_crop(frames, torch.tensor([3, 3, 3, 3, 1]), 0.4, 1.0, 0.2)
    assert ((cropped[..., 1] - cropped[..., 0]) == (cropped[..., 0] > 0)).all() and kept.min() == 1
    _, none = independent_crop(frames[:1], torch.tensor([0]), 1.0, 1.0, 0.2)
    assert none.tolist() == [0]


@pytest.mark.parametrize("dropped", [-0.1, 1.0, float("nan")])
def test_a_probability_outside_the_range_is_refused(dropped):
    with pytest.raises(ConfigError, match=f"dropped is {dropped}"):
        independent_crop(*tokens(), 0.5, 1.0, dropped)
