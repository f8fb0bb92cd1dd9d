import pytest
import torch
from pydantic import ValidationError

from mmcl.data import Mnist
from mmcl.data.selection import Selection
from mmcl.models import ImageClassifier, SLUClassifier
from mmcl.sections.encoders import AudioSection
from mmcl.sections.unlearning import MethodName, RemovalSection, StreamSection, UnlearningSection
from mmcl.unlearning.methods import METHODS


class Pooled:
    """Pooled features of two classes."""

    classes, labels, texts = ("a", "b"), [0, 1, 0, 1], ["a", "b", "a", "b"]

    def __init__(self):
        self.features = torch.arange(8.0)[:, None].repeat(1, 256)

    def vectors(self, rows):
        return self.features[list(rows)]


def test_configs_name_every_method():
    assert MethodName.__args__ == tuple(METHODS)


def test_an_image_classifier_has_the_channels_of_the_data(data_dir):
    data = Selection(Mnist(data_dir / "MNIST", "valid"), range(5))
    model = UnlearningSection().build(data, data.rows)
    assert isinstance(model, ImageClassifier) and model.channels == 1 and model.head[-1].out_features == 10
    assert UnlearningSection(model="resnet18").build(data, data.rows).head.out_features == 10


def test_a_speech_classifier_is_standardized_on_its_training_rows():
    encoder = AudioSection(name="cnn", frozen=True, pooling="mean_max", options={"dim": 128})
    settings = {"model": "encoder", "encoder": encoder, "hidden": 8}
    at_once = UnlearningSection(**settings).build(Pooled(), [0, 1])
    streamed = UnlearningSection(**settings, stream=StreamSection()).build(Pooled(), [0, 1, 2, 3])
    assert isinstance(at_once, SLUClassifier) and at_once.head.weight.shape == (2, 8)
    assert len(streamed.head.weight) == 0 and streamed.text_encoder is not None  # classes arrive later
    for model, rows in ((at_once, 2), (streamed, 4)):
        scaled = Pooled().features[:rows] * model.gain + model.offset
        assert scaled.mean().abs() < 1e-5 and scaled.std(0).mean() == pytest.approx(1)


def test_the_config_chooses_the_samples_to_forget(data_dir):
    parts = [Selection(Mnist(data_dir / "MNIST", split), range(200)) for split in ("valid", "test")]
    removal = RemovalSection(kind="noisy_labels", classes=[1, "two"], share=0.5).choose(*parts, seed=3)
    true = [parts[0].labels[row] for row in removal.forget.rows]
    assert set(true) == {1, 2} and not any(a == b for a, b in zip(true, removal.forget.labels, strict=True))


def test_a_stream_with_an_image_classifier_raises():
    with pytest.raises(ValidationError, match="'cnn'.*model: encoder"):
        UnlearningSection(stream=StreamSection())


def test_the_recipe_has_the_training_settings():
    recipe = UnlearningSection(epochs=3, learning_rate=0.1).recipe()
    assert recipe == {"epochs": 3, "learning_rate": 0.1, "weight_decay": 1e-4, "batch_size": 32, "device": "cpu"}


def test_the_original_model_is_kept_with_its_calibration(data_dir, tmp_path):
    from mmcl.config.tasks import load_task
    from mmcl.predict import open_recognizer
    from mmcl.runs.run import Run

    options = {"digits": [0, 1]}
    config = load_task("unlearning").Config(
        data={"name": "mnist", "train": "test", "test": "train", "options": options}
    )
    train = config.data.build("image")[0]
    torch.manual_seed(0)
    with Run.create("unlearning", config, tmp_path / "run") as run:
        config.keep(run, "original-seed0", config.build(train, range(4)), train)
    recognizer = open_recognizer(run.folder)
    assert recognizer.modality == "image" and recognizer.classes == tuple(train.classes)
    assert recognizer.calibration.samples > 500 and recognizer.model.size == 28
