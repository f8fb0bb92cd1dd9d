"""The part of a model card that depends on the kind of model."""

import pytest

from mmcl.config.tasks import load_task
from mmcl.publishing.kinds import ModelSource, describe_kind
from mmcl.runs.run import Run


@pytest.fixture
def run(tmp_path):
    config = load_task("rationale_distillation").Config()
    with Run.create("rationale_distillation", config, tmp_path / "run") as run:
        pass
    return run


@pytest.mark.parametrize("kind", ["mmcl_slu_classifier", "mmcl_slu_seq2seq"])
def test_class_groups_are_mentioned_if_there_are_several(run, kind):
    content = {"model_type": kind, "classes": ["on", "off", "louder"]}
    one, two = (describe_kind(ModelSource(run, content, "naive", "hub", groups)).about for groups in (1, 2))
    assert "3" in one and "2 groups" not in one and "2 groups" in two


@pytest.mark.parametrize(
    ("content", "about", "call", "task"),
    [
        ({"encoder": {"modality": "audio"}}, "recording", "load_audio", "audio-classification"),
        ({"encoder": {"modality": "image"}}, "an image", "recognize_file", "image-classification"),
        ({"encoder": {"modality": "text"}}, "a text", "recognize_text", "text-classification"),
        ({"views": {"audio": {}, "image": {}}}, "audio and image", "recognize(sample)", None),
    ],
)
def test_classifiers_are_described_by_their_modality(run, content, about, call, task):
    content = {"model_type": "mmcl_slu_classifier", "classes": ["on", "off"], **content}
    described = describe_kind(ModelSource(run, content, "naive", "hub", 2))
    assert about in described.about and call in described.use and described.task == task


@pytest.mark.parametrize(
    ("method", "prefix", "explained"), [("finetune", "predict: ", 0), ("single_task", "", 1), ("qcrd", "predict: ", 1)]
)
def test_task_describes_the_training_of_its_students(run, method, prefix, explained):
    described = describe_kind(ModelSource(run, {"model_type": "t5"}, method, "hub", 0))
    assert described.about.count("explanations") == explained and f"`{method}`" in described.about
    assert f'model.write(["{prefix}" + question])' in described.use


def test_task_without_a_description_of_students_has_a_card(run, monkeypatch):
    monkeypatch.setattr(Run, "task", "slu_incremental")
    described = describe_kind(ModelSource(run, {"model_type": "t5"}, "mine", "hub", 0))
    assert 'model.write(["" + question])' in described.use
