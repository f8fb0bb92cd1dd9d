import numpy as np
import pytest
import torch
from torchaudio.functional import melscale_fbanks

from mmcl.encoders.log_mel import LogMel


def loop_reference(waveform, mels):
    """Compute the definition frame by frame in float64."""
    filters = melscale_fbanks(201, 20.0, 8000.0, mels, 16000).double().numpy()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = []
    for start in range(0, len(waveform) - 399, 160):
        power = np.abs(np.fft.rfft(waveform[start : start + 400].astype(np.float64) * window)) ** 2
        frames.append(np.log(power @ filters + 1e-6))
    frames = np.array(frames)
    return (frames - frames.mean(0)) / np.maximum(frames.std(0), 0.1)


@pytest.mark.parametrize("mels", [40, 64])
def test_real_speech_equals_the_definition(digits, mels):
    reference = loop_reference(digits[0].numpy(), mels)
    # In float64, since in float32 the logarithm of a nearly silent bin depends on the rounding of the processor.
    frames, lengths = LogMel(mels).double()(digits[0][None].double())
    assert frames.shape[1:] == reference.shape and lengths.tolist() == [len(reference)]
    assert np.abs(frames[0].numpy() - reference).max() < 1e-3
    assert np.abs(LogMel(mels)(digits[0][None])[0][0].numpy() - reference).mean() < 1e-4


def test_a_padded_batch_equals_its_utterances(digits, batch):
    frames, lengths = LogMel()(batch["audio"], batch["audio_lengths"])
    for row, audio in enumerate(digits):
        alone, length = LogMel()(audio[None])
        assert lengths[row] == length[0] == 1 + (len(audio) - 400) // 160
        assert (frames[row, : lengths[row]] - alone[0]).abs().max() < 1e-4
        assert not frames[row, lengths[row] :].any()


def test_the_content_of_the_padding_is_ignored(digits, batch):
    noisy = batch["audio"].clone()
    for row, audio in enumerate(digits):
        noisy[row, len(audio) :] = 0.5
    frames, lengths = LogMel()(batch["audio"], batch["audio_lengths"])
    assert torch.equal(LogMel()(noisy, batch["audio_lengths"])[0], frames)


def test_a_tone_peaks_in_its_band():
    time = torch.arange(16000) / 16000
    waveform = torch.where(time < 0.5, (2000 * torch.pi * time).sin(), (6000 * torch.pi * time).sin())
    frames, _ = LogMel(64)(waveform[None])
    filters = melscale_fbanks(201, 20.0, 8000.0, 64, 16000)
    low, high = filters[25].argmax(), filters[75].argmax()  # bins of 40 Hz: 1 kHz and 3 kHz
    assert frames[0, :45, low].min() > 0 > frames[0, 55:, low].max()
    assert frames[0, 55:, high].min() > 0 > frames[0, :45, high].max()


@pytest.mark.parametrize("level", [0.0, 1e-5, 1.0])
def test_silence_and_constants_are_finite(level):
    frames, _ = LogMel()(torch.full((1, 16000), level))
    assert frames.isfinite().all() and frames.abs().max() < 0.01


def test_frames_do_not_depend_on_the_volume(digits):
    audio = digits[1][None]
    assert (LogMel()(audio)[0] - LogMel()(audio * 0.5)[0]).abs().mean() < 0.05


def test_the_fingerprint_depends_on_the_bands():
    assert LogMel(40).fingerprint() != LogMel(64).fingerprint() == LogMel(64).fingerprint()
