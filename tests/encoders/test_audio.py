import pytest
import torch
from torch import nn

from mmcl.batch import collate
from mmcl.data.audio import load_audio
from mmcl.encoders.audio import cnn, conformer
from mmcl.encoders.base import pool
from mmcl.errors import ConfigError


@pytest.mark.parametrize("build", [cnn, conformer])
def test_shapes_and_pooling(build, batch):
    encoder = build(dim=32, pooling="mean_max").eval()
    encoded = encoder(batch["audio"], batch["audio_lengths"])
    assert (encoder.modality, encoder.dim, encoder.pooled_dim, encoder.frozen) == ("audio", 32, 64, False)
    assert encoded.sequence.shape == (5, int(encoded.lengths.max()), 32)
    assert torch.equal(encoded.pooled, pool(encoded.sequence, encoded.lengths, "mean_max"))
    encoded.pooled.sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


@pytest.mark.parametrize("build", [cnn, conformer])
def test_forward_runs_both_steps(build, batch):
    encoder = build(dim=32).eval()
    features, lengths = encoder.frozen_features(batch["audio"], batch["audio_lengths"])
    halves = encoder.from_features(features, lengths)
    assert torch.equal(halves.pooled, encoder(batch["audio"], batch["audio_lengths"]).pooled)


def test_spec_augment_masks_during_training_only(batch):
    encoder = cnn(dim=32, dropout=0.0)
    features, lengths = encoder.frozen_features(batch["audio"], batch["audio_lengths"])
    plain = encoder.eval().from_features(features, lengths).pooled
    assert torch.equal(encoder.eval().from_features(features, lengths).pooled, plain)
    torch.manual_seed(0)
    first = encoder.train().from_features(features, lengths).pooled
    assert not torch.equal(first, plain)
    assert not torch.equal(encoder.from_features(features, lengths).pooled, first)
    torch.manual_seed(0)
    assert torch.equal(encoder.from_features(features, lengths).pooled, first)
    without = cnn(dim=32, dropout=0.0, spec_augment=False)
    without.load_state_dict(encoder.state_dict())
    assert torch.equal(without.train().from_features(features, lengths).pooled, plain)


def test_spec_augment_masks_each_utterance_differently():
    torch.manual_seed(0)
    masked = cnn(dim=32).spec_augment(torch.ones(8, 64, 100)) == 0
    bands, spans = masked.all(2).sum(1), masked.all(1).sum(1)
    assert 0 < bands.max() <= 16 and 0 < spans.max() <= 40
    assert len(set(bands.tolist())) > 1 and len(set(spans.tolist())) > 1


def test_it_generalizes_to_unheard_digits(data_dir):
    folder = data_dir / "fsdd" / "recordings"
    names = [
        (digit, f"{digit}_{speaker}_{index}.wav")
        for digit in (1, 6)
        for speaker in ("theo", "lucas")
        for index in range(20)
    ]
    torch.manual_seed(0)
    encoder, head = cnn(dim=32, blocks=2), nn.Linear(32, 2)
    samples = [{"audio": load_audio(folder / name), "label": int(digit == 6)} for digit, name in names]
    heard, unheard = collate([s for i, s in enumerate(samples) if i % 4]), collate(samples[::4])
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=3e-3)
    features = encoder.frozen_features(heard["audio"], heard["audio_lengths"])
    for _ in range(25):
        loss = nn.functional.cross_entropy(head(encoder.from_features(*features).pooled), heard["label"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    encoder.eval()
    predicted = head(encoder(unheard["audio"], unheard["audio_lengths"]).pooled).argmax(1)
    assert (predicted == unheard["label"]).float().mean() >= 0.9


def test_fingerprint():
    encoder = cnn(dim=32)
    assert encoder.fingerprint() == cnn(dim=64, blocks=1, pooling="max").fingerprint() != cnn(mels=40).fingerprint()
    encoder.frozen = True
    before = encoder.fingerprint()
    encoder.network.subsampling.first.linear.bias.data += 1
    assert encoder.fingerprint() != before


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (cnn, {"dim": 0}, "dim .* 0"),
        (cnn, {"blocks": -1}, "blocks .* -1"),
        (conformer, {"heads": 3}, "dim=128, heads=3, kernel=15"),
        (conformer, {"kernel": 8}, "kernel=8"),
    ],
)
def test_invalid_sizes_raise(build, options, message):
    with pytest.raises(ConfigError, match=message):
        build(**options)
