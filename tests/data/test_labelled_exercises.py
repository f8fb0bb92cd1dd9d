import pytest

from mmcl.data import Cqa, LabelledExercises, SlurpText, class_incremental
from mmcl.errors import DataError


def test_exercises_become_samples_with_labels(data_dir):
    exercises = SlurpText(data_dir / "slurp", "valid", size=40)
    data = LabelledExercises(exercises)
    assert len(data) == 40 and data.classes == exercises[0].choices and data.superclasses == exercises.superclasses
    for row in (0, 39):
        each, sample = exercises[row], data[row]
        assert sample == {"id": each.id, "text": each.question, "label": data.labels[row]}
        assert data.classes[sample["label"]] == each.label and data.texts[row] == each.question


def test_work_in_a_stream(data_dir):
    train, test = (LabelledExercises(SlurpText(data_dir / "slurp", split)) for split in ("valid", "test"))
    benchmark = class_incremental(train, test, 3, by_superclass=True)
    assert sum(len(experience.dataset) for experience in benchmark.train_stream) == 2033


def test_different_choices_raise(data_dir):
    with pytest.raises(DataError, match="exercises of Cqa have 5 sets of choices"):
        LabelledExercises(Cqa(data_dir / "rationales" / "cqa", "train", size=5))
    exercises = SlurpText(data_dir / "slurp", "valid", size=3)
    exercises.exercises[1] = exercises[1]._replace(label="coffee make")
    with pytest.raises(DataError, match="1 labels of SlurpText .*, first 'coffee make'"):
        LabelledExercises(exercises)
