import pytest
import torch
from step_waits import WatchedSteps
from torch.nn.functional import cross_entropy

from mmcl.batch import Batch
from mmcl.data import SpokenWrittenDigits, class_incremental
from mmcl.encoders import build_encoder
from mmcl.encoders.views import CachedViews
from mmcl.errors import ConfigError
from mmcl.models import MultimodalClassifier
from mmcl.objectives import CLIPLoss, M3CoLoss, SoftClipLoss
from mmcl.seeding import seed_everything
from mmcl.strategies import naive, replay
from mmcl.strategies.m3col import M3CoL, _as_released, ordered_pairs


@pytest.fixture
def trained(make_views):
    """Function that trains a model of three views, and returns the model, the losses per epoch, and the strategy."""

    def train(*plugins, epochs=6, **settings):
        seed_everything(0)
        data = make_views()
        encoders = {view: build_encoder("tabular", "mlp", features=4, dim=6) for view in data.features}
        model = MultimodalClassifier(encoders, hidden=8)
        strategy = naive(
            model,
            torch.optim.AdamW(model.parameters(), lr=1e-2),
            epochs=epochs,
            batch_size=40,
            plugins=plugins,
            **settings,
        )
        noted = []
        after = strategy._after_training_epoch
        strategy._after_training_epoch = lambda **kwargs: (noted.append(dict(strategy.losses)), after(**kwargs))[1]
        strategy.train(
            class_incremental(CachedViews(data, encoders), CachedViews(make_views(1), encoders), 1).train_stream[0]
        )
        return model, noted, strategy

    return train


@pytest.mark.parametrize(
    ("contrast", "share", "expected"),
    [
        ("m3col", 0.33, ["m3co"] * 1 + ["soft_clip"] * 5),
        ("m3col", 0.5, ["m3co"] * 3 + ["soft_clip"] * 3),
        ("m3co", 0.33, ["m3co"] * 6),
        ("soft_clip", 0.33, ["soft_clip"] * 6),
        ("clip", 0.33, ["clip"] * 6),
        ("none", 0.33, [""] * 6),
    ],
)
def test_the_contrast_follows_its_schedule(contrast, share, expected, trained):
    _, noted, _ = trained(M3CoL(contrast, share=share))
    for losses, name in zip(noted, expected, strict=True):
        assert losses.keys() == {"cross_entropy", "views", "loss"} | ({name} if name else set())
        total = losses["cross_entropy"] + losses["views"] + 0.1 * losses.get(name, 0.0)
        assert losses["loss"] == pytest.approx(total, abs=1e-5)
    assert noted[-1]["cross_entropy"] < noted[0]["cross_entropy"]


@pytest.mark.parametrize("contrast", ["m3col", "clip"])
def test_no_step_waits_for_a_device(contrast, trained, on_device):
    watched = WatchedSteps()
    trained(M3CoL(contrast), watched, epochs=4)
    # vectors are checked in training on a CPU only
    assert [place for place in watched.waits.found if not place.startswith("encoders/tabular.py")] == []
    assert watched.steps == 3


def test_zero_weights_equal_training_without_the_plugin(trained):
    one, other = trained()[0], trained(M3CoL(weight=0.0, view_weight=0.0))[0]
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("pairs", ["cyclic", "all"])
def test_terms_by_hand(pairs):
    torch.manual_seed(0)
    views = {name: torch.randn(7, 5, requires_grad=True) for name in "abc"}
    expected_pairs = ["ab", "bc", "ca"] if pairs == "cyclic" else ["ab", "ac", "ba", "bc", "ca", "cb"]
    assert ["".join(pair) for pair in ordered_pairs("abc", pairs)] == expected_pairs
    for name, objective in (("soft_clip", SoftClipLoss()), ("clip", CLIPLoss())):
        total = sum(objective(views[a], views[b]) for a, b in expected_pairs)
        assert M3CoL(pairs=pairs)._sum(name, None, None, views).item() == pytest.approx(total.item(), rel=1e-6)
    torch.manual_seed(1)
    found = M3CoL(pairs=pairs)._sum("m3co", None, None, views)
    torch.manual_seed(1)
    mixed = {view: M3CoLoss().mix(views[view]) for view in "abc"}  # each view is mixed once for all pairs
    total = sum(M3CoLoss().from_mixed(mixed[a][0], views[b], *mixed[a][1:]) for a, b in expected_pairs)
    assert found.item() == pytest.approx(total.item(), rel=1e-6)


def test_the_released_objective_mixes_both_sides_and_lowers_the_target_of_fixed_points():
    row, column = torch.arange(4.0, dtype=torch.double)[:, None], torch.arange(3.0, dtype=torch.double)
    a, b = torch.sin(1 + 3 * row + column), torch.cos(2 + 3 * row + 2 * column)
    lam = torch.tensor([0.9, 1.0, 0.25, 1.0], dtype=torch.double)
    # Expected values computed with the released functions.
    for permutation, released, right in (
        ([2, 0, 3, 1], 8.219348307181, 8.219348307181),
        ([0, 2, 1, 3], 4.652474279104, 8.977195623657),
    ):
        place = torch.tensor(permutation)
        mixed = lam[:, None] * a + (1 - lam[:, None]) * a[place]
        assert _as_released(mixed, place, lam, b, M3CoLoss()).item() == pytest.approx(released, rel=1e-10)
        assert M3CoLoss().from_mixed(mixed, b, place, lam).item() == pytest.approx(right, rel=1e-10)
    assert SoftClipLoss()(a, b).item() == pytest.approx(7.281908127672, rel=1e-10)
    assert SoftClipLoss()(b, a).item() == pytest.approx(7.279137317192, rel=1e-10)
    torch.manual_seed(0)
    found = M3CoL(released=True)._sum("m3co", None, None, {"a": a, "b": b})
    torch.manual_seed(0)
    (one, *how_one), (other, *how_other) = M3CoLoss().mix(a), M3CoLoss().mix(b)
    total = _as_released(one, *how_one, other, M3CoLoss()) + _as_released(other, *how_other, one, M3CoLoss())
    assert found.item() == pytest.approx(total.item(), rel=1e-10)


def test_inputs_are_mixed_except_texts():
    torch.manual_seed(0)
    numbers, text = build_encoder("tabular", "mlp", features=4, dim=6), build_encoder("text", "words", dim=6)
    model = MultimodalClassifier({"numbers": numbers, "text": text}).eval()
    batch = {"numbers": torch.rand(5, 4), "text": ["a", "b c", "d", "a", "b"]}
    encodings = {view: model.encode(view, *model.frozen_features(view, batch)) for view in ("numbers", "text")}
    plugin = M3CoL(mix="inputs")
    torch.manual_seed(1)
    mixed, permutation, lam = plugin._mixed("numbers", model, batch, encodings["numbers"])
    assert (lam < 1).any()
    inputs = lam[:, None] * batch["numbers"] + (1 - lam[:, None]) * batch["numbers"][permutation]
    torch.testing.assert_close(mixed, numbers(inputs).pooled)
    torch.manual_seed(1)
    mixed, permutation, lam = plugin._mixed("text", model, batch, encodings["text"])
    torch.testing.assert_close(
        mixed, lam[:, None] * encodings["text"] + (1 - lam[:, None]) * encodings["text"][permutation]
    )


def test_a_mixture_of_recordings_has_the_length_of_the_longer_one(data_dir):
    torch.manual_seed(0)
    model = MultimodalClassifier({"audio": build_encoder("audio", "cnn", dim=6)}).eval()
    audio = torch.randn(2, 8000)
    audio[1, 4000:] = 0
    batch = {"audio": audio, "audio_lengths": torch.tensor([8000, 4000])}
    features, lengths = model.frozen_features("audio", batch)
    plugin = M3CoL(mix="inputs")
    lam, permutation = torch.tensor([1.0, 0.5]), torch.tensor([1, 0])
    plugin.m3co = type("Fixed", (), {"mix": lambda self, rows: (_mix(rows, permutation, lam), permutation, lam)})()
    mixed, _, _ = plugin._mixed("audio", model, batch, torch.zeros(2, 6))
    both = _mix(features, permutation, lam)
    torch.testing.assert_close(mixed, model.encode("audio", both, torch.stack([lengths[0], lengths[0]])))


def _mix(rows, permutation, lam):
    share = lam.view(-1, *[1] * (rows.dim() - 1))
    return share * rows + (1 - share) * rows[permutation]


def test_a_multimodal_class_incremental_stream(data_dir):
    if not (data_dir / "fsdd").exists() or not (data_dir / "MNIST").exists():
        pytest.skip("MMCL_DATA has no spoken and written digits")
    seed_everything(0)
    encoders = {
        "audio": build_encoder("audio", "cnn", dim=16, blocks=1),
        "image": build_encoder("image", "cnn", dim=16),
    }
    train, test = (Few(SpokenWrittenDigits(data_dir / "fsdd", split)) for split in ("valid", "test"))
    data = [CachedViews(part, encoders, progress=False) for part in (train, test)]
    benchmark = class_incremental(*data, 2, class_order=list(range(10)))
    model = MultimodalClassifier(encoders, hidden=16)
    strategy = replay(
        model, torch.optim.AdamW(model.parameters(), 3e-3), memory_size=20, epochs=2, batch_size=16, plugins=[M3CoL()]
    )
    for experience in benchmark.train_stream:
        strategy.train(experience)
        assert "soft_clip" in strategy.losses and strategy.losses["views"] > 0
    assert model.head.output.seen.tolist() == [True] * 10


class Few:
    """Two samples of each digit."""

    def __init__(self, data):
        counts: dict = {}
        self.rows = [
            row
            for row, label in enumerate(data.labels)
            if (counts.update({label: counts.get(label, 0) + 1}) or counts[label]) <= 2
        ]
        self.data, self.classes, self.modalities = data, data.classes, data.modalities
        self.labels, self.texts = [data.labels[row] for row in self.rows], [data.texts[row] for row in self.rows]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.data[self.rows[index]]


def test_settings_out_of_range_and_encodings_of_unequal_size_raise():
    with pytest.raises(ConfigError, match="contrast.*'mixup'.*m3col, m3co"):
        M3CoL("mixup")
    with pytest.raises(ConfigError, match="weight.*-1"):
        M3CoL(weight=-1)
    encoders = {name: build_encoder("tabular", "mlp", features=3, dim=size) for name, size in (("a", 4), ("b", 5))}
    model = MultimodalClassifier(encoders)
    with pytest.raises(ConfigError, match="the contrast.*a 4.*b 5.*dim"):
        model.check_alike("the contrast")


def test_a_batch_of_one_has_no_contrast(trained, make_views):
    _, noted, strategy = trained(M3CoL(), epochs=1)
    strategy.mbatch = Batch({view: vectors[:1] for view, vectors in make_views().all.items()}, label=torch.tensor([0]))
    strategy.output, strategy.loss = strategy.model(strategy.mbatch), torch.zeros(())
    strategy.training_step.reset()
    strategy.plugins[0].before_backward(strategy)
    labels = strategy.mbatch["label"]
    expected = sum(cross_entropy(logits, labels) for logits in strategy.output.view_logits.values())
    assert strategy.training_step.losses == {"views": pytest.approx(expected.item())}
