import json
from pathlib import Path

import pytest
import torch

from mmcl.batch import Batch, collate
from mmcl.encoders import build_encoder, cached_features
from mmcl.errors import CheckpointError, ConfigError
from mmcl.models import TwoTower
from mmcl.models.heads import HeadOptions
from mmcl.models.two_tower import embed_texts
from mmcl.objectives import CWCLLoss

TEXTS = ["turn on the lights", "volume down", "lights off"]


def build(**settings):
    torch.manual_seed(0)
    audio, text = build_encoder("audio", "cnn", dim=16, spec_augment=False), build_encoder("text", "words", dim=24)
    return TwoTower(audio, text, **{"first_head": HeadOptions("mlp", 32), **settings})


def batch():
    generator = torch.Generator().manual_seed(1)
    samples = [
        {"audio": torch.randn(size, generator=generator), "text": text}
        for size, text in zip((16000, 9000, 12000), TEXTS, strict=True)
    ]
    return collate(samples)


@pytest.mark.parametrize("head", ["linear", "mlp", "attention"])
def test_an_embedding_does_not_depend_on_the_batch(head):
    model, whole = build(first_head=HeadOptions(head, 32)).eval(), batch()
    together = model(whole, whole)
    for row in range(3):
        length = int(whole["audio_lengths"][row])
        alone = Batch(
            audio=whole["audio"][row : row + 1, :length], audio_lengths=torch.tensor([length]), text=[TEXTS[row]]
        )
        for one, all_ in zip(model(alone, alone), together, strict=True):
            assert torch.allclose(one[0], all_[row], atol=1e-4)


def test_encoders_of_one_modality_are_given_in_the_order_of_their_towers(tmp_path):
    torch.manual_seed(0)
    common, salient, *others = (build_encoder("tabular", "mlp", features=4, dim=8) for _ in range(4))
    model = TwoTower(common, salient, dim=4).eval()
    model.save(tmp_path)
    numbers = Batch(tabular=torch.randn(3, 4))
    for given in ([], others):
        loaded = TwoTower.load(tmp_path, encoders=given)
        for one, other in zip(model(numbers, numbers), loaded(numbers, numbers), strict=True):
            assert torch.equal(one, other)
    assert [tower.encoder for tower in loaded.towers] == others


def test_one_tower_is_shared_by_both_sides(tmp_path):
    model = TwoTower(build_encoder("audio", "cnn", dim=16, blocks=1), dim=8).eval()
    assert len(model.towers) == 1 and not [name for name in model.state_dict() if name.startswith("second")]
    batch = Batch(audio=torch.randn(2, 8000), audio_lengths=torch.tensor([8000, 6000]))
    first, second = model(batch, batch)
    assert torch.equal(first, second)
    model.save(tmp_path / "model")
    loaded = TwoTower.load(tmp_path / "model")
    assert len(loaded.towers) == 1 and torch.equal(loaded(batch, batch).first, first)
    with pytest.raises(ConfigError, match="text"):
        _ = model.beside_text


def test_two_encoders_of_one_modality_are_two_towers():
    model = TwoTower(build_encoder("audio", "cnn", blocks=1), build_encoder("audio", "cnn", blocks=1))
    assert len(model.towers) == 2 and model.tower("audio") is model.first


def test_the_default_dimension_is_that_of_the_side_without_projection():
    assert build(second_head="none").dim == 24 and build().dim == 512 and build(dim=7).dim == 7


def test_unequal_dimensions_without_a_projection_are_an_error():
    with pytest.raises(ConfigError, match="audio encoder .* 16 .* 24"):
        TwoTower(
            build_encoder("audio", "cnn", dim=16),
            build_encoder("text", "words", dim=24),
            first_head="none",
            second_head="none",
            dim=24,
        )
    with pytest.raises(ConfigError, match="image: expected audio or text"):
        build().tower("image")


def test_beside_text_is_the_tower_opposite_to_text():
    audio, text, image = (build_encoder(*each) for each in (("audio", "cnn"), ("text", "words"), ("image", "cnn")))
    assert TwoTower(audio, text).beside_text.modality == TwoTower(text, audio).beside_text.modality == "audio"
    with pytest.raises(ConfigError, match="text: expected audio or image"):
        _ = TwoTower(audio, image).beside_text


def test_embed_texts_splits_batches_without_changing_the_result():
    model = TwoTower(build_encoder("audio", "cnn", dim=16), build_encoder("text", "words", dim=16)).train()
    texts = [f"number {number}" for number in range(300)]
    found = embed_texts(model, texts)
    with torch.no_grad():
        alone = [model.second.eval()(Batch(text=[texts[row]]))[0] for row in (0, 255, 256, 299)]
    torch.testing.assert_close(found[[0, 255, 256, 299]], torch.stack(alone))
    assert found.shape == (300, 512) and not found.requires_grad


def test_a_locked_tower_stays_fixed_while_the_other_is_trained():
    torch.manual_seed(0)
    text = build_encoder("text", "words", dim=24, frozen=True)
    model = TwoTower(build_encoder("audio", "cnn", dim=16), text, second_head="none")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    before, whole = model.second(batch()).clone(), batch()
    losses = []
    for _ in range(20):
        loss = CWCLLoss(0.5)(*model.train()(whole, whole))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert torch.equal(model.second(whole), before) and losses[-1] < losses[0] - 0.1


class Recordings:
    """The batch's samples as a data set."""

    classes, labels, texts = tuple(TEXTS), [0, 1, 2], TEXTS

    def __len__(self):
        return len(TEXTS)

    def __getitem__(self, index):
        whole = batch()
        return {"audio": whole["audio"][index, : int(whole["audio_lengths"][index])]}


@pytest.mark.parametrize("frozen", [False, True])  # caches the front-end, or the whole encoder
@pytest.mark.parametrize("head", ["mlp", "attention"])
def test_cached_features_give_the_same_embeddings(head, frozen, tmp_path):
    torch.manual_seed(0)
    audio = build_encoder("audio", "cnn", dim=16, frozen=frozen)
    model = TwoTower(audio, build_encoder("text", "words"), first_head=HeadOptions(head, 32)).eval()
    data = cached_features(Recordings(), audio, tmp_path, keep=model.first.keep, half=False, progress=False)
    direct, cached = model.first(batch()), model.first(data.batch(torch.arange(len(data))))
    assert torch.allclose(direct, cached, atol=1e-4)


@pytest.mark.parametrize("head", ["linear", "attention"])
def test_a_loaded_model_gives_the_same_embeddings(head, tmp_path):
    model, whole = build(first_head=HeadOptions(head, 32, layers=1)), batch()
    model.first.head.standardize(torch.randn(50, 16) * 3 + 1)
    model.eval().save(tmp_path / "model")
    again = TwoTower.load(tmp_path / "model")
    assert not again.training
    for one, other in zip(model(whole, whole), again(whole, whole), strict=True):
        assert torch.equal(one, other)


def test_pretrained_frozen_weights_are_not_stored(weights_dir, tmp_path):
    text = build_encoder("text", weights_dir / "all-MiniLM-L6-v2")
    model = TwoTower(build_encoder("audio", "cnn", dim=16), text, second_head="none")
    model.save(tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size < 2e6
    again = TwoTower.load(tmp_path)
    assert torch.equal(again.second(Batch(text=TEXTS)), model.eval().second(Batch(text=TEXTS)))
    described = json.loads((tmp_path / "model.json").read_text())
    described["second"]["fingerprint"] = "0" * 32
    (tmp_path / "model.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match="text encoder"):
        TwoTower.load(tmp_path)


def test_random_frozen_weights_are_stored(tmp_path):
    torch.manual_seed(0)
    text = build_encoder("text", "words", dim=24, frozen=True)
    model = TwoTower(build_encoder("audio", "cnn", dim=16), text, second_head="none").eval()
    model.save(tmp_path)
    torch.manual_seed(1)
    again = TwoTower.load(tmp_path)
    assert torch.equal(again.second(Batch(text=TEXTS)), model.second(Batch(text=TEXTS)))
    assert torch.equal(again.first(batch()), model.first(batch()))


def test_a_damaged_model_is_an_error(tmp_path):
    build().save(tmp_path)
    with pytest.raises(CheckpointError, match="nowhere"):
        TwoTower.load(tmp_path / "nowhere")
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[:100])
    with pytest.raises(CheckpointError, match="model.safetensors"):
        TwoTower.load(tmp_path)
    build(dim=5).save(tmp_path / "other")
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="'first.head.network.3.bias'"):
        TwoTower.load(tmp_path)
    described = json.loads((tmp_path / "model.json").read_text())
    del described["mmcl_digests"]  # as older versions saved it
    (tmp_path / "model.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match="model.safetensors .*model.json"):
        TwoTower.load(tmp_path)


def test_an_encoder_not_made_by_build_encoder_is_an_error(tmp_path):
    model = build()
    model.first.encoder.spec = None
    with pytest.raises(CheckpointError, match="build_encoder"):
        model.save(tmp_path)
    assert not list(Path(tmp_path).iterdir())
