import pytest
import torch

from mmcl.batch import Batch
from mmcl.encoders import build_encoder
from mmcl.encoders.fused_views import FusedViews
from mmcl.encoders.views import CachedViews
from mmcl.errors import ConfigError, ShapeError


class Samples:
    classes, labels, texts = ("a", "b"), [0, 1, 1, 0], ["one", "two three", "two", "four"]
    modalities = {"image": "image", "age": "tabular"}
    features = {"age": 2}

    def __init__(self):
        self.images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return 4

    def __getitem__(self, row):
        about = {"label": self.labels[row], "text": self.texts[row]}
        return {"image": self.images[row], "age": torch.tensor([row, 5 + 2.0 * row]), **about}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path))


def fused(frozen=None, **options):
    torch.manual_seed(0)
    image = build_encoder("image", "cnn", dim=8, frozen=frozen)
    return FusedViews({"image": image, "age": build_encoder("tabular", "mlp", features=2, frozen=frozen)}, **options)


def inputs(rows):
    samples = [Samples()[row] for row in rows]
    return Batch({view: torch.stack([each[view] for each in samples]) for view in ("image", "age")})


def test_vectors_of_views_are_concatenated():
    model, batch = fused().eval(), inputs([0, 2])
    parts = [model.encoders[view](batch[view]).pooled for view in ("image", "age")]
    torch.testing.assert_close(model.encode_batch(batch).pooled, torch.cat(parts, 1))
    assert model.pooled_dim == 136 and not model.frozen and fused(True).frozen
    assert not fused(True, dim=4).frozen and fused(True, dim=4, fusion="gated").pooled_dim == 4


@pytest.mark.parametrize("frozen", [None, True])
def test_cached_features_give_the_same_vectors(frozen):
    model = fused(frozen).eval()
    data = CachedViews(Samples(), dict(model.views()), keep="auto", progress=False)
    batch = data.batch(torch.tensor([3, 1]))
    assert ("image_features_lengths" in batch) == (frozen is None)
    expected = model.encode_batch(inputs([3, 1])).pooled
    torch.testing.assert_close(model.encode_batch(batch).pooled, expected, atol=2e-3, rtol=0)


def test_frozen_features_and_numbers_are_scaled_by_the_first_experience():
    model = fused(True).eval()
    data = CachedViews(Samples(), dict(model.views()), keep="auto", progress=False)
    model.fit_scaling(data, [0, 1, 2])
    pooled = model.encode_batch(data.batch(torch.tensor([0, 1, 2]))).pooled
    varying = pooled.std(0) > 0.5
    assert varying.sum() > 100
    torch.testing.assert_close(pooled.mean(0), torch.zeros(136), atol=1e-4, rtol=0)
    torch.testing.assert_close(pooled.std(0)[varying], torch.ones(int(varying.sum())), atol=1e-4, rtol=0)


def test_missing_views_and_invalid_names_raise():
    with pytest.raises(ShapeError, match="age"):
        fused().encode_batch(Batch(image=torch.rand(1, 1, 8, 8)))
    for encoders in ({}, {"a.b": build_encoder("image", "cnn")}):
        with pytest.raises(ConfigError, match=next(iter(encoders), "none")):
            FusedViews(encoders)


def test_the_fingerprint_is_that_of_every_view():
    one, other = fused(True).fingerprint(), fused(True).fingerprint()
    assert one == other and "image" in one and "age" in one and fused().fingerprint() != one
