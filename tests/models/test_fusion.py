import pytest
import torch

from mmcl.batch import Batch
from mmcl.encoders import build_encoder
from mmcl.errors import ConfigError, ShapeError
from mmcl.models import MultimodalClassifier
from mmcl.models.fusion import FUSIONS, fuse_rows

SIZES = {"mrna": 5, "methylation": 4, "mirna": 3}


def build(fusion="concat", sizes=SIZES, dim=8, **options):
    torch.manual_seed(0)
    encoders = {view: build_encoder("tabular", "mlp", features=size, dim=dim) for view, size in sizes.items()}
    model = MultimodalClassifier(encoders, fusion=fusion, hidden=16, **options)
    model.grow([0, 1, 2])
    return model


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return Batch({view: torch.rand(6, size) for view, size in SIZES.items()}, label=torch.tensor([0, 1, 2] * 2))


def test_concatenation_by_hand(batch):
    model = build().eval()
    fused = model(batch)
    encodings = [model.encoders[view](batch[view]).pooled for view in SIZES]
    embedding = model.head.trunk(torch.cat(encodings, 1))
    torch.testing.assert_close(fused.embedding, embedding)
    torch.testing.assert_close(fused.logits, model.head.output(embedding))
    for view, encoding in zip(SIZES, encodings, strict=True):
        torch.testing.assert_close(fused.views[view], encoding)
        torch.testing.assert_close(fused.view_logits[view], model.view_heads[view](encoding))


def test_the_gated_fusion_is_a_gate_weighted_mean_of_layers(batch):
    model = build("gated").eval()
    views = list(model(batch).views.values())
    gates = model.fusion.gate(torch.cat(views, 1)).softmax(1)
    expected = sum(
        gates[:, [number]] * model.fusion.layers[number](vectors).tanh() for number, vectors in enumerate(views)
    )
    torch.testing.assert_close(model(batch).embedding, model.head.trunk(expected))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_parameter_gets_a_gradient(fusion, batch):
    model = build(fusion)
    fused = model(batch)
    loss = torch.nn.functional.cross_entropy(fused.logits, batch["label"])
    loss += sum(logits.square().mean() for logits in fused.view_logits.values())
    loss.backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_missing_view_does_not_affect_the_output(fusion, batch):
    model = build(fusion).eval()
    without = Batch({name: value for name, value in batch.items() if name != "methylation"})
    marked = Batch(batch, methylation_missing=torch.ones(6, dtype=torch.bool))
    changed = Batch(marked, methylation=torch.rand(6, 4))
    expected = model(without).logits
    assert "methylation" not in model(without).views
    torch.testing.assert_close(model(marked).logits, expected)
    torch.testing.assert_close(model(changed).logits, expected)
    assert not torch.allclose(model(batch).logits, expected)
    some = Batch(batch, methylation_missing=torch.tensor([True, False] * 3))
    torch.testing.assert_close(model(some).logits[0::2], expected[0::2])
    torch.testing.assert_close(model(some).logits[1::2], model(batch).logits[1::2])


def test_concatenation_replaces_a_missing_view_with_zeros(batch):
    model = build().eval()
    del batch["mirna"]
    encodings = [model.encoders[view](batch[view]).pooled for view in ("mrna", "methylation")]
    expected = model.head.trunk(torch.cat([*encodings, torch.zeros(6, 8)], 1))
    torch.testing.assert_close(model(batch).embedding, expected)


def test_view_dropout_never_drops_all_views(batch):
    model = build(view_dropout=0.6)
    torch.manual_seed(0)
    drawn = torch.cat([model._missing(batch, SIZES_AS_VIEWS, 6) for _ in range(500)])
    assert not drawn.all(1).any()
    # The rate is 0.6, less the cases in which all three would be dropped and this view is kept.
    assert drawn.float().mean(0).tolist() == pytest.approx([0.6 - 0.6**3 / 3] * 3, abs=0.03)
    model.eval()
    assert model._missing(batch, SIZES_AS_VIEWS, 6) is None
    torch.testing.assert_close(model(batch).logits, build().eval()(batch).logits)


SIZES_AS_VIEWS = {view: torch.zeros(6, 8) for view in SIZES}


def test_grow_adds_classes_to_every_head(batch):
    model = build().eval()
    before = model(batch)
    model.grow([4])
    after = model(batch)
    assert after.logits.shape == (6, 5) and after.logits[:, 3].isneginf().all()
    for view in SIZES:
        torch.testing.assert_close(after.view_logits[view][:, :3], before.view_logits[view])


def test_cached_features_give_the_same_output(batch):
    torch.manual_seed(0)
    image, audio = build_encoder("image", "cnn", dim=8), build_encoder("audio", "cnn", dim=8)
    model = MultimodalClassifier({"image": image, "audio": audio}, dim=6)
    model.grow([0, 1])
    model.eval()
    batch = Batch(image=torch.rand(2, 1, 28, 28), audio=torch.randn(2, 8000), audio_lengths=torch.tensor([8000, 4000]))
    cached = Batch()
    for view in ("image", "audio"):
        cached[f"{view}_features"], cached[f"{view}_features_lengths"] = model.frozen_features(view, batch)
    torch.testing.assert_close(model(cached).logits, model(batch).logits)
    assert model(batch).views["audio"].shape == (2, 6)


class Table:
    classes, labels, texts = ("a", "b", "c"), [0, 1, 2] * 2, ["a", "b", "c"] * 2

    def __init__(self, batch):
        self.all = batch

    def __len__(self):
        return 6

    def __getitem__(self, row):
        return {name: value[row] for name, value in self.all.items()}

    def batch(self, rows):
        return Batch({name: value[rows] for name, value in self.all.items()})


def test_fuse_rows_evaluates_all_samples(batch):
    model = build(dropout=0.5, view_dropout=0.5)
    fused = fuse_rows(model, Table(batch), batch_size=4)
    assert model.training
    torch.testing.assert_close(fused.logits, model.eval()(batch).logits)
    torch.testing.assert_close(fused.view_logits["mirna"], model(batch).view_logits["mirna"])
    without = fuse_rows(model, Table(batch), without="mrna", batch_size=4)
    del batch["mrna"]
    torch.testing.assert_close(without.logits, model(batch).logits)


def test_invalid_arguments_and_batches_are_errors(batch):
    with pytest.raises(ConfigError, match="0 encoders"):
        MultimodalClassifier({})
    with pytest.raises(ConfigError, match="'gate' .*'gated'"):
        build("gate")
    with pytest.raises(ConfigError, match="dropout=1.0, view_dropout=0.0"):
        build(dropout=1.0)
    encoders = {name: build_encoder("tabular", "mlp", features=3, dim=size) for name, size in (("a", 4), ("b", 5))}
    with pytest.raises(ConfigError, match="fusion gated .* a 4, b 5: set dim"):
        MultimodalClassifier(encoders, fusion="gated")
    assert MultimodalClassifier(encoders, fusion="gated", dim=3).dims == {"a": 3, "b": 3}
    model = build()
    with pytest.raises(ShapeError, match="lacks methylation, mirna"):
        model(Batch(mrna=batch["mrna"]))
    with pytest.raises(ShapeError, match="lacks mrna, methylation, mirna"):
        model.eval()(Batch(label=batch["label"]))
    lacking = {f"{view}_missing": torch.arange(6) == 4 for view in SIZES}
    with pytest.raises(ShapeError, match="sample 4 .* mrna"):
        model(Batch(batch, **lacking))
