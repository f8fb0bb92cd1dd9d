from typing import get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from mmcl.sections.rationales import RationaleSection


def test_a_section_builds_data_student_recipe_and_discriminator(data_dir, monkeypatch, svamp):
    monkeypatch.setenv("MMCL_DATA", str(data_dir))
    section = RationaleSection(
        data={"size": 12, "test_size": 5, "teachers": ["palm"]},
        student={"vocabulary": 200, "dim": 16, "layers": 1, "heads": 2, "longest": 50},
        weights={"beta": 0.4, "scheme": "mean"},
        discriminator={"steps": 2, "batch_size": 4},
        delay=3,
    )
    recipe = section.recipe()
    assert (recipe.delay, recipe.weights.beta, recipe.weights.scheme, recipe.batch_size) == (3, 0.4, "mean", 32)
    train, valid = section.data.open("train"), section.data.open("valid")
    assert (len(train), len(valid)) == (12, 5) and {each.teacher for each in train[0].rationales} == {"palm"}
    student = section.student.build(train)
    assert student.longest == 50 and student.model.config.d_model == 16 and len(student.tokenizer) <= 200
    questions = [each.question for each in svamp]
    from mmcl.rationales.voting import vote_all

    discriminator = section.discriminator.build(student, questions, vote_all(svamp)[0], 0, "cpu")
    assert not discriminator.training


def test_methods_in_configs_equal_those_in_code():
    from mmcl.rationales import terms
    from mmcl.sections import rationales as sections

    methods = TypeAdapter(sections.Methods)
    assert methods.validate_python(get_args(terms.Method)) == get_args(terms.Method)


def test_no_teachers_and_unknown_schemes_raise():
    with pytest.raises(ValidationError, match="data.teachers"):
        RationaleSection(data={"teachers": []})
    with pytest.raises(ValidationError, match="scheme"):
        RationaleSection(weights={"scheme": "most"})
