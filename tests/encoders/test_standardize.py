import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from waits import elsewhere

from mmcl.encoders import build_encoder
from mmcl.encoders.standardize import feature_scaling, standardization
from mmcl.encoders.tabular import TabularEncoder
from mmcl.errors import ConfigError, InputError, ShapeError
from mmcl.models import SLUClassifier
from mmcl.models.heads import HeadOptions


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_gains_of_moderate_features_are_exact():
    vectors = draw(200, 40) * 10.0 ** torch.linspace(-3, 3, 40) + 10.0 ** torch.linspace(-4, 4, 40)
    scaling = standardization(vectors)
    assert torch.equal(scaling.gain, 1 / vectors.std(0)) and torch.equal(
        scaling.offset, -vectors.mean(0) * scaling.gain
    )
    spread = vectors.amax(0) - vectors.amin(0)
    by_range = feature_scaling(vectors, "range")
    assert torch.equal(by_range.gain, 1 / spread) and torch.equal(by_range.offset, -vectors.amin(0) * by_range.gain)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7, 1e-30, 1e30, 3e38, 1e-45])
@pytest.mark.parametrize("count", [1, 2, 999])
def test_a_constant_feature_keeps_its_scale(value, count):
    vectors = torch.cat([torch.full((count, 1), value), draw(count, 3)], 1)
    scaling = standardization(vectors)
    assert scaling.gain[0] == 1 and not scaling.varies[0]
    assert bool(scaling.varies[1:].all()) is (count > 1)
    scaled = vectors * scaling.gain + scaling.offset
    torch.testing.assert_close(scaled[:, 0], torch.zeros(count), rtol=0, atol=abs(value) * 1e-5 + 1e-37)


def test_rounding_errors_are_not_variation():
    noise = torch.nextafter(torch.tensor(0.1), torch.tensor(1.0))
    own_rounding = torch.where(draw(500) > 0, torch.tensor(0.1), noise)  # rounding error of its own magnitude
    other_rounding = 1e-9 * draw(500, seed=1).relu()  # output of a silent unit, next to features of size 1
    scaling = standardization(torch.stack([own_rounding, other_rounding, draw(500, seed=2)], 1))
    assert scaling.varies.tolist() == [False, False, True] and scaling.gain[:2].tolist() == [1.0, 1.0]
    alone = standardization(torch.stack([1e-9 * draw(500), 1e-10 * draw(500, seed=1)], 1))
    assert alone.varies.all()  # all features are small, so this is variation


@pytest.mark.parametrize("size", [1e25, 3e37, 1e-25, 1e-30])
@pytest.mark.parametrize("to", ["range", "deviation"])
def test_the_unit_of_a_feature_does_not_matter(size, to):
    vectors = draw(60, 2)
    given = (vectors / vectors.abs().amax()) * torch.tensor([size, 1.0])
    scaled = given * (scaling := feature_scaling(given, to)).gain + scaling.offset
    right = feature_scaling(vectors, to)
    assert bool(scaling.varies.all())
    torch.testing.assert_close(scaled, vectors * right.gain + right.offset, rtol=1e-4, atol=1e-4)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    rows=st.integers(1, 6),
    numbers=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=6, max_size=6),
    to=st.sampled_from(["range", "deviation", "alike"]),
)
def test_gains_and_offsets_are_always_finite(rows, numbers, to):
    vectors = torch.stack([torch.tensor(numbers).roll(row) for row in range(rows)])
    scaling = standardization(vectors) if to == "alike" else feature_scaling(vectors, to)
    assert bool(scaling.gain.isfinite().all() and (scaling.gain > 0).all() and scaling.offset.isfinite().all())


def models():
    encoder = build_encoder("audio", "cnn")
    return {
        "classifier": SLUClassifier(encoder, hidden=8),
        "linear": HeadOptions("linear").build(encoder, 4),
        "mlp": HeadOptions("mlp").build(encoder, 4),
        "attention": HeadOptions("attention", hidden=16).build(encoder, 4),
    }


@pytest.mark.parametrize("name", ["classifier", "linear", "mlp", "attention"])
def test_models_accept_one_sample_and_constant_features(name):
    model = models()[name]
    size = len(model.gain)
    model.standardize(draw(1, size))
    assert torch.equal(model.gain, torch.ones(size)) and bool(model.offset.isfinite().all())
    vectors = draw(30, size)
    vectors[:, 0] = 0.1
    model.standardize(vectors)
    assert model.gain[0] == 1 and model.gain.max() < 10 and model.gain.dtype == torch.float32
    for bad, error in ((vectors[:, 1:], ShapeError), (vectors[:0], ShapeError), (vectors / 0, InputError)):
        with pytest.raises(error, match="vectors"):
            model.standardize(bad)


@pytest.mark.parametrize("to", ["range", "deviation"])
def test_constant_columns_of_a_table_become_0(to):
    encoder = TabularEncoder(features=4, dim=3)
    for count in (1, 40):
        vectors = draw(count, 4)
        vectors[:, 1], vectors[:, 2] = 0.1, vectors[:, 2] * 1e-14
        encoder.scale(vectors, to)
        scaled = vectors * encoder.gain + encoder.offset
        assert torch.equal(scaled[:, 1], torch.zeros(count)) and bool(scaled.isfinite().all())
        assert count == 1 or scaled[:, 2].std() > 0.1  # small units still vary
    with elsewhere(), pytest.raises(InputError, match="vectors.* 3 .*nan"):
        encoder.scale(torch.where(torch.arange(40)[:, None] == 3, torch.nan, vectors), to)
    with pytest.raises(ConfigError, match="'size'.*'range'.*'deviation'"):
        encoder.scale(vectors, "size")
