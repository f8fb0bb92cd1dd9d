import random

from mmcl.rationales.lessons import Lesson, batches_by_length, lessons_of


def test_lesson_has_the_first_rationale_and_the_voted_ones(svamp, lessons):
    for lesson, exercise in zip(lessons, svamp, strict=True):
        assert lesson[:3] == (exercise.question, exercise.label, exercise.rationales[0].text)
        assert lesson.rationale in lesson.positives and len(lesson.positives) + len(lesson.negatives) <= 2
    assert any(lesson.negatives for lesson in lessons)
    by_label = lessons_of(svamp, use_label=True)
    assert [each.negatives for each in by_label] == [each.negatives for each in lessons]  # Llama-3 was told the labels


def test_batches_hold_every_lesson_once_in_a_seeded_order():
    lessons = [Lesson("?" * random.Random(row).randint(1, 400), "", "", (), ()) for row in range(333)]
    batches = batches_by_length(lessons, 8, random.Random(1))
    assert sorted(row for rows in batches for row in rows) == list(range(333))
    assert batches == batches_by_length(lessons, 8, random.Random(1)) != batches_by_length(lessons, 8, random.Random(2))
    spread = [max(lessons[row].length for row in rows) - min(lessons[row].length for row in rows) for rows in batches]
    assert sum(spread) / len(spread) < 40  # at random it would be 300
