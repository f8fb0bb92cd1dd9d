import pytest
import torch

from mmcl.config.model import load_config
from mmcl.errors import CheckpointError, ConfigError
from mmcl.sections.towers import PairsSection, PretrainingSection, TowerSection, encoded, model_folders, paired


class Said:
    classes, labels, texts = ("speech",), [0, 0, 0], ["on", "off", "up"]

    def __len__(self):
        return 3

    def __getitem__(self, row):
        return {"audio": torch.sin(torch.arange(4000) / (row + 3)), "text": self.texts[row]}


@pytest.mark.parametrize("head", ["mlp", "attention"])
def test_a_section_builds_towers_and_caches_frozen_features(head, tmp_path, monkeypatch):
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path))
    settings = PretrainingSection(
        first=TowerSection(name="cnn", options={"dim": 16}, frozen=True, head=head, hidden=32),
        second=TowerSection(modality="text", name="words", frozen=True, head="none", options={"dim": 24}),
    )
    model = settings.build().eval()
    assert model.dim == 24
    pairs = paired(Said(), model, settings)
    rows = torch.arange(3)
    assert pairs.first.batch(rows)["features"].dim() == (3 if head == "attention" else 2)
    assert all(side.shape == (3, 24) for side in model(*pairs.batch(rows)))
    assert encoded(Said(), model, "text", settings).texts == Said.texts


@pytest.mark.parametrize("name", ["clip", "cwcl", "siglip", "soft_clip", "m3co"])
@pytest.mark.parametrize("learned", [False, True])
def test_every_objective_has_the_temperature(name, learned):
    objective = PretrainingSection(temperature=0.2, learn_temperature=learned).make_objective(name)
    temperature = objective.temperature
    assert (temperature().item() if learned else temperature) == pytest.approx(0.2)
    assert objective(torch.randn(4, 3), torch.randn(4, 3)).isfinite()


def test_captions_in_own_files_are_pairs(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    from mmcl.data.captions import Captions

    with pytest.raises(ConfigError, match="captions.*no valid"):
        PairsSection(name="captions", options={"train": str(tmp_path)}).build("valid")
    import soundfile

    soundfile.write(tmp_path / "a.wav", torch.zeros(1600).numpy(), 16000)
    data = PairsSection(name="captions", options={"train": str(tmp_path), "valid": str(tmp_path)}).build("train")
    assert isinstance(data, Captions) and data.texts == ["hello"]


def test_the_validation_split_has_its_own_options(tmp_path):
    from torchvision.io import write_png

    write_png(torch.zeros(3, 40, 40, dtype=torch.uint8), str(tmp_path / "a.png"))
    (tmp_path / "a.txt").write_text("dark")
    options = {"train": str(tmp_path), "valid": str(tmp_path), "size": 16}
    section = PairsSection(name="captions", options=options, valid_options={"size": 8})
    assert [section.build(split)[0]["image"].shape[1] for split in ("train", "valid")] == [16, 8]


def test_model_folders_of_a_run_or_the_folder_itself_are_found(tmp_path):
    with pytest.raises(CheckpointError, match=tmp_path.name):
        model_folders(tmp_path)
    for name in ("cwcl-seed0", "clip-seed0"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "model.json").touch()
    assert list(model_folders(tmp_path)) == ["clip-seed0", "cwcl-seed0"]
    assert list(model_folders(tmp_path / "models" / "cwcl-seed0")) == ["cwcl-seed0"]
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "config.json").touch()  # an exported model
    assert model_folders(tmp_path / "hub") == {"hub": tmp_path / "hub"}


def test_an_unknown_setting_raises_with_the_nearest_name(tmp_path):
    (tmp_path / "c.yaml").write_text("first: {haed: mlp}\n")
    with pytest.raises(ConfigError, match="first.haed.*head"):
        load_config(PretrainingSection, tmp_path / "c.yaml")


def test_the_seed_fixes_frozen_random_weights():
    settings = PretrainingSection(second={"modality": "text", "name": "words", "frozen": True, "head": "none"})
    weights = [settings.build(seed).second.encoder.embedding.weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


class Colours:
    classes, labels, texts = ("a", "b"), [0, 1], ["a", "b"]

    def __len__(self):
        return 2

    def __getitem__(self, row):
        return {"image": torch.rand(3, 12, 12), "text": self.texts[row], "label": row}


def test_image_towers_follow_the_data():
    first = TowerSection(modality="image", options={"dim": 8})
    settings = PretrainingSection(first=first)
    encoder = settings.following(Colours()).build(0).first.encoder
    assert (encoder.channels, encoder.size, encoder.dim) == (3, 12, 8) and settings.first == first
    given = PretrainingSection(first=first.model_copy(update={"options": {"dim": 8, "size": 6}}), second=None, views=2)
    assert given.following(Colours()).build(0).first.encoder.size == 6
