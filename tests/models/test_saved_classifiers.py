"""Saving and loading of classifiers of texts and images."""

import json

import pytest
import torch

from mmcl.batch import Batch
from mmcl.errors import CheckpointError
from mmcl.models import ImageClassifier, from_pretrained
from mmcl.models.saved_classifiers import load_classifier, save_classifier
from mmcl.models.text_classifier import TextClassifier
from mmcl.models.text_to_text import TextToText

TEXTS = ["set an alarm", "play a song"]


def texts():
    torch.manual_seed(0)
    student = TextToText.from_scratch(TEXTS * 3, vocabulary=120, dim=16, layers=1, heads=2, longest=40)
    model = TextClassifier(student).eval()
    model.grow([0, 2])  # one class has not arrived
    return model


@torch.no_grad()
def test_text_classifier_is_loaded_unchanged(tmp_path):
    model = texts()
    save_classifier(model, tmp_path / "a", ["alarm", "lights", "music", "never seen"])
    again = from_pretrained(tmp_path / "a")
    assert again.names == ("alarm", "lights", "music") and again.student.longest == 40 and not again.training
    assert torch.equal(again(Batch(text=TEXTS)).logits, model(Batch(text=TEXTS)).logits)
    assert torch.isinf(again(Batch(text=TEXTS)).logits[:, 1]).all()


@torch.no_grad()
@pytest.mark.parametrize(("backbone", "channels", "size"), [("cnn", 1, 28), ("resnet18", 3, 32)])
def test_image_classifier_is_loaded_unchanged(backbone, channels, size, tmp_path):
    torch.manual_seed(0)
    model, images = ImageClassifier(3, backbone, channels).eval(), Batch(image=torch.rand(2, channels, size, size))
    save_classifier(model, tmp_path / "a", ["x", "y", "z"], size)
    again = from_pretrained(tmp_path / "a")
    assert again.names == ("x", "y", "z") and again.size == size
    assert torch.equal(again(images).logits, model(images).logits)


def test_too_few_names_and_damaged_files_raise(tmp_path):
    with pytest.raises(CheckpointError, match="names of 2 classes"):
        save_classifier(texts(), tmp_path / "none", ["alarm", "lights"])
    save_classifier(ImageClassifier(2), tmp_path / "a", ["x", "y"])
    path = tmp_path / "a" / "config.json"
    whole = json.loads(path.read_text())
    settings = whole["settings"]
    for content in (
        {**whole, "classes": ["x", "z"]},
        {**whole, "settings": {**settings, "channels": 10**9}},
        {**whole, "settings": {**settings, "channels": 3}},
        {**whole, "settings": {**settings, "backbone": "vgg"}},
        {**whole, "settings": None},
        {**whole, "format": 2},
        {**whole, "classes": []},
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(CheckpointError):
            load_classifier(tmp_path / "a")
