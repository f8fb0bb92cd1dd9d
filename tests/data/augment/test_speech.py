import pytest
import torch

from mmcl.batch import Batch
from mmcl.data.augment.speech import SpeechAugmentation
from mmcl.errors import ConfigError, InputError

OFF = {"smallest": 1.0, "time_masks": 0, "band_masks": 0}


def frames(count=40, steps=50, bands=16):
    values = torch.arange(1, steps + 1.0)[None, :, None].repeat(count, 1, bands)
    lengths = torch.randint(10, steps + 1, (count,))
    return Batch(features=values * (torch.arange(steps) < lengths[:, None])[:, :, None], features_lengths=lengths)


def test_nothing_is_changed_where_all_is_off():
    given = frames()
    seen = SpeechAugmentation(**OFF)(given)
    assert torch.equal(seen["features"], given["features"])
    assert torch.equal(seen["features_lengths"], given["features_lengths"])


def test_a_crop_is_a_span_of_the_sample_without_padding():
    given = frames()
    seen = SpeechAugmentation(smallest=0.5, largest=0.8, time_masks=0, band_masks=0)(given)
    starts = set()
    for values, kept, length in zip(
        seen["features"][:, :, 0], seen["features_lengths"].tolist(), given["features_lengths"].tolist(), strict=True
    ):
        assert int(0.5 * length) <= kept <= 0.8 * length and not values[kept:].any()
        assert (values[:kept].diff() == 1).all() and values[0] >= 1 and values[kept - 1] <= length
        starts.add(values[0].item())
    assert len(starts) > 5


def test_recordings_shorter_than_crops_and_masks_keep_a_frame():
    given = Batch(features=torch.ones(4, 2, 20), features_lengths=torch.tensor([1, 2, 1, 2]))
    seen = SpeechAugmentation(smallest=0.1, largest=0.2, time_masks=5, time_share=1.0)(given)
    assert seen["features_lengths"].tolist() == [1] * 4 and seen["features"].shape == (4, 2, 20)
    assert seen["features"].isfinite().all()


def test_masks_set_spans_of_frames_and_bands_to_their_mean():
    given = Batch(features=torch.ones(100, 50, 20), features_lengths=torch.full((100,), 50))
    settings = {"smallest": 1.0, "time_masks": 1, "time_share": 0.2, "band_masks": 1, "band_share": 0.25}
    seen = SpeechAugmentation(**settings)(given)["features"]
    in_time, in_bands = (seen == 0).all(2).sum(1), (seen == 0).all(1).sum(1)
    assert in_time.float().mean() > 0 and in_time.max() <= 10 and in_bands.float().mean() > 0 and in_bands.max() <= 5
    assert len({tuple(each.tolist()) for each in (seen == 0).all(2)}) > 5


def test_noise_has_the_ratio_asked_for_and_leaves_padding():
    lengths = torch.tensor([16000, 8000])
    speech = 0.05 * torch.randn(2, 16000) * (torch.arange(16000) < lengths[:, None])
    seen = SpeechAugmentation(noise=(10.0, 10.0))(Batch(audio=speech, audio_lengths=lengths))["audio"]
    noise = seen - speech
    for row, length in enumerate(lengths.tolist()):
        ratio = speech[row, :length].square().mean() / noise[row, :length].square().mean()
        assert 10 * ratio.log10() == pytest.approx(10.0, abs=0.3)
    assert not noise[1, 8000:].any()


def test_speed_changes_lengths():
    given = Batch(audio=0.1 * torch.randn(2, 16000), audio_lengths=torch.tensor([16000, 8000]))
    found = {tuple(SpeechAugmentation(speed=(0.8, 1.25))(given)["audio_lengths"].tolist()) for _ in range(20)}
    assert found == {(20000, 10000), (12800, 6400)}
    assert SpeechAugmentation(speed=(0.9,)).needs_inputs and not SpeechAugmentation().needs_inputs


def test_frames_are_deleted_in_their_order():
    given = frames()
    seen = SpeechAugmentation(**OFF, dropped=0.3)(given)
    share = seen["features_lengths"].sum() / given["features_lengths"].sum()
    assert 0.65 < share < 0.75
    for values, kept in zip(seen["features"][:, :, 0], seen["features_lengths"].tolist(), strict=True):
        assert (values[:kept].diff() >= 1).all() and not values[kept:].any()


def test_waveforms_are_cropped_where_asked_for():
    waveforms = torch.linspace(0.001, 0.9, 800).repeat(40, 1)
    given = Batch(audio=waveforms, audio_lengths=torch.full((40,), 800))
    assert torch.equal(SpeechAugmentation(smallest=0.1)(given)["audio"], waveforms)
    augment = SpeechAugmentation(smallest=0.1, largest=0.5, crop_waveforms=True)
    seen, other = augment(given), augment(given)
    assert augment.needs_inputs and seen["audio_lengths"].min() >= 80 and seen["audio_lengths"].max() <= 400
    for values, kept in zip(seen["audio"], seen["audio_lengths"].tolist(), strict=True):
        assert (values[:kept].diff() > 0).all() and not values[kept:].any()
    assert not torch.equal(seen["audio_lengths"], other["audio_lengths"])


def test_bad_settings_and_batches_are_refused():
    for wrong in (
        {"time_share": 2.0},
        {"band_masks": -1},
        {"noise": (5.0,)},
        {"noise": (9.0, 3.0)},
        {"speed": (0.0,)},
        {"dropped": 1.0},
    ):
        with pytest.raises(ConfigError):
            SpeechAugmentation(**wrong)
    with pytest.raises(InputError, match="text"):
        SpeechAugmentation()(Batch(text=["one"]))
