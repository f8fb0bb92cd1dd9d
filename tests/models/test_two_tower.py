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
def test_a_row_is_embedded_alone_as_among_others(head):
    model, whole = build(first_head=HeadOptions(head, 32)).eval(), batch()
    together = model(whole, whole)
    for row in range(3):
        length = int(whole["audio_lengths"][row])
        alone = Batch(
            audio=whole["audio"][row : row + 1, :length], audio_lengths=torch.tensor([length]), text=[TEXTS[row]]
        )
        for one, all_ in zip(model(alone, alone), together, strict=True):
            assert torch.allclose(one[0], all_[row], atol=1e-4)


def test_the_space_is_that_of_the_side_without_projection():
    assert build(second_head="none").dim == 24 and build().dim == 512 and build(dim=7).dim == 7


def test_dimensions_that_differ_need_a_projection():
    with pytest.raises(ConfigError, match="audio encoder gives 16 dimensions and the shared space has 24"):
        TwoTower(
            build_encoder("audio", "cnn", dim=16),
            build_encoder("text", "words", dim=24),
            first_head="none",
            second_head="none",
            dim=24,
        )
    with pytest.raises(ConfigError, match="both encoders are of audio"):
        TwoTower(build_encoder("audio", "cnn"), build_encoder("audio", "cnn"))
    with pytest.raises(ConfigError, match="no tower of image: expected audio or text"):
        build().tower("image")


def test_what_can_be_named_is_beside_the_texts():
    audio, text, image = (build_encoder(*each) for each in (("audio", "cnn"), ("text", "words"), ("image", "cnn")))
    assert TwoTower(audio, text).beside_text.modality == TwoTower(text, audio).beside_text.modality == "audio"
    with pytest.raises(ConfigError, match="no tower of text: expected audio or image"):
        _ = TwoTower(audio, image).beside_text


def test_texts_are_embedded_in_parts_as_alone():
    model = TwoTower(build_encoder("audio", "cnn", dim=16), build_encoder("text", "words", dim=16)).train()
    texts = [f"number {number}" for number in range(300)]
    found = embed_texts(model, texts)
    with torch.no_grad():
        alone = [model.second.eval()(Batch(text=[texts[row]]))[0] for row in (0, 255, 256, 299)]
    torch.testing.assert_close(found[[0, 255, 256, 299]], torch.stack(alone))
    assert found.shape == (300, 512) and not found.requires_grad


def test_a_locked_tower_stays_and_the_other_learns():
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


class Said:
    """The batch's samples as a data set."""

    classes, labels, texts = tuple(TEXTS), [0, 1, 2], TEXTS

    def __len__(self):
        return len(TEXTS)

    def __getitem__(self, index):
        whole = batch()
        return {"audio": whole["audio"][index, : int(whole["audio_lengths"][index])]}


@pytest.mark.parametrize("frozen", [False, True])  # a front-end that is cached before a network, and all of it
@pytest.mark.parametrize("head", ["mlp", "attention"])
def test_cached_features_are_embedded_as_the_audio_is(head, frozen, tmp_path):
    torch.manual_seed(0)
    audio = build_encoder("audio", "cnn", dim=16, frozen=frozen)
    model = TwoTower(audio, build_encoder("text", "words"), first_head=HeadOptions(head, 32)).eval()
    data = cached_features(Said(), audio, tmp_path, keep=model.first.keep, half=False, progress=False)
    direct, cached = model.first(batch()), model.first(data.batch(torch.arange(len(data))))
    assert torch.allclose(direct, cached, atol=1e-4)


@pytest.mark.parametrize("head", ["linear", "attention"])
def test_a_saved_model_embeds_as_before(head, tmp_path):
    model, whole = build(first_head=HeadOptions(head, 32, layers=1)), batch()
    model.first.head.standardize(torch.randn(50, 16) * 3 + 1)
    model.eval().save(tmp_path / "model")
    again = TwoTower.load(tmp_path / "model")
    assert not again.training
    for one, other in zip(model(whole, whole), again(whole, whole), strict=True):
        assert torch.equal(one, other)


def test_what_is_frozen_is_not_written_again(weights_dir, tmp_path):
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


def test_what_is_frozen_and_random_is_written(tmp_path):
    torch.manual_seed(0)
    text = build_encoder("text", "words", dim=24, frozen=True)
    model = TwoTower(build_encoder("audio", "cnn", dim=16), text, second_head="none").eval()
    model.save(tmp_path)
    torch.manual_seed(1)
    again = TwoTower.load(tmp_path)
    assert torch.equal(again.second(Batch(text=TEXTS)), model.second(Batch(text=TEXTS)))
    assert torch.equal(again.first(batch()), model.first(batch()))


def test_a_damaged_model_is_told(tmp_path):
    build().save(tmp_path)
    with pytest.raises(CheckpointError, match="no model in .*nowhere"):
        TwoTower.load(tmp_path / "nowhere")
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[:100])
    with pytest.raises(CheckpointError, match="no model"):
        TwoTower.load(tmp_path)
    build(dim=5).save(tmp_path / "other")
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="tensor 'first.head.network.3.bias' .* is damaged"):
        TwoTower.load(tmp_path)
    described = json.loads((tmp_path / "model.json").read_text())
    del described["mmcl_digests"]  # as models were saved before
    (tmp_path / "model.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match="of another model"):
        TwoTower.load(tmp_path)


def test_a_model_that_cannot_be_described_is_refused(tmp_path):
    model = build()
    model.first.encoder.spec = None
    with pytest.raises(CheckpointError, match="build_encoder"):
        model.save(tmp_path)
    assert not list(Path(tmp_path).iterdir())
