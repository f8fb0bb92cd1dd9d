import pytest
import torch

from mmcl.config.model import StrictModel
from mmcl.encoders.views import CachedViews
from mmcl.errors import ConfigError, DataError
from mmcl.runs.tracking import Tracking
from mmcl.sections.views import MultimodalSection, ViewsSection, fit

NUMBERS = {"numbers": {"modality": "tabular", "name": "mlp", "options": {"dim": 4}}}


@pytest.fixture
def folder(tmp_path):
    """A table of three numeric features; the first one separates the classes."""
    torch.manual_seed(0)
    for split, count in (("train", 24), ("valid", 8), ("test", 8)):
        lines = ["x,y,z,label"]
        for row in range(count):
            x, y, z = (torch.randn(3) * torch.tensor([0.1, 1.0, 1.0]) + torch.tensor([row % 2, 0.0, 5.0])).tolist()
            lines.append(f"{x},{y},{z},{'odd' if row % 2 else 'even'}")
        (tmp_path / f"{split}.csv").write_text("\n".join(lines))
    return tmp_path


def settings(folder, **options):
    data = {"name": "table", "root": str(folder)}
    chosen = {"data": data, "views": NUMBERS, "hidden": 8, "epochs": 30, "batch_size": 24, "every": 10, **options}
    return MultimodalSection.model_validate(chosen)


def test_a_model_learns_an_own_table_reproducibly(folder):
    section = settings(folder, optimizer={"learning_rate": 2e-2})
    data = {part: section.open([part]) for part in ("train", "valid", "test")}
    model, scores = fit(section, data, ["numbers"], "none", 0, on="valid", tracking=Tracking(None, "alone", 0))
    assert [row["epoch"] for row in scores.curves["test"]] == [10, 20, 30]
    assert scores.scores("test")["accuracy"] == 1.0
    again = fit(section, data, ["numbers"], "none", 0, on="valid", tracking=Tracking(None, "alone", 0))[0]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_numeric_features_are_scaled_by_training_statistics(folder):
    train = settings(folder).open(["train"])
    encoder = settings(folder).build(train, ["numbers"]).encoders["numbers"]
    scaled = torch.addcmul(encoder.offset, train.vectors("numbers"), encoder.gain)
    torch.testing.assert_close(scaled.amin(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.amax(0), torch.ones(3), atol=1e-5, rtol=0)
    plain = settings(folder, scale="none").build(train, ["numbers"]).encoders["numbers"]
    assert torch.equal(plain.gain, torch.ones(3))


def test_splits_of_rosmap_are_concatenated(data_dir):
    section = ViewsSection(name="rosmap", root=str(data_dir / "rosmap"))
    assert len(section.open(["train", "valid"])) == 245 and len(section.open(["valid"], folds=7)) == 35


def test_unknown_data_sets_options_and_splits_raise(folder):
    assert issubclass(MultimodalSection, StrictModel)
    with pytest.raises(ConfigError, match="table.*'sise'.*'size'"):
        ViewsSection(name="table", root=str(folder), options={"sise": 3}).open(["train"])
    with pytest.raises(ConfigError, match="data.root"):
        ViewsSection(name="table").open(["train"])
    assert len(ViewsSection(name="table", root=str(folder)).open(["train", "valid"])) == 32
    with pytest.raises(DataError, match="'rosmpa'.*'rosmap'"):
        ViewsSection(name="rosmpa").open(["train"])
    with pytest.raises(ConfigError, match="table.*'fold'"):
        ViewsSection(name="table", root=str(folder)).open(["train"], fold=0)


def test_a_model_learns_a_table_in_bfloat16(folder):
    section = settings(folder, optimizer={"learning_rate": 2e-2}, precision="bf16-mixed")
    data = {part: section.open([part]) for part in ("train", "test")}
    scores = fit(section, data, ["numbers"], "none", 0, on="test", tracking=Tracking(None, "alone", 0))[1]
    assert scores.scores("test")["accuracy"] == 1.0


class Pictures:
    classes, labels, texts, modalities = ("a", "b"), [0, 1], ["a", "b"], {"image": "image"}

    def __len__(self):
        return 2

    def __getitem__(self, row):
        return {"image": torch.full((3, 12, 12), row / 2), "text": self.texts[row], "label": row}


def test_image_encoders_follow_the_data_also_when_it_is_cached(tmp_path, monkeypatch):
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path))
    settings = MultimodalSection(views={"image": {"modality": "image", "options": {"dim": 8}}})
    cached = CachedViews(Pictures(), settings.encoders(Pictures(), ["image"]), progress=False)
    encoder = settings.build(cached, ["image"]).encoders["image"]
    assert (encoder.channels, encoder.size) == (3, 12)
