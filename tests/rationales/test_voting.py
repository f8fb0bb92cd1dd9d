from mmcl.data import Cqa, Svamp
from mmcl.data.texts.exercises import Exercise, Rationale
from mmcl.rationales.voting import vote, vote_all


def exercise(*said, label="4"):
    return Exercise("1", "?", label, (), tuple(Rationale(text, answer, "llm") for text, answer in said))


def test_vote_follows_the_majority_or_the_label():
    said = [("a", "4"), ("b", "36"), ("c", "36"), ("d", None), ("", "36")]
    assert vote(exercise(*said)) == (("b", "c"), ("a",), "36")
    assert vote(exercise(*said), use_label=True) == (("a",), ("b", "c"), "4")
    assert vote(exercise(("a", "1"), ("b", "2"))) == (("a",), ("b",), "1")  # the first wins a tie
    assert vote(exercise(("a", None))) == ((), (), None)
    assert vote(exercise(("a", "5")), use_label=True) == ((), ("a",), None)


def test_equations_are_compared_by_value():
    said = [("a", "(2 + 2)"), ("b", "(1 * 4)"), ("c", "(9 - 1)"), ("a", "(3 + 1)")]
    assert vote(exercise(*said, label="( 4.0 )"), Svamp.same) == (("a", "b"), ("c",), "(2 + 2)")


def test_counts_of_two_teachers_of_svamp_and_one_of_cqa(data_dir):
    svamp = Svamp(data_dir / "rationales" / "svamp", "train")
    voted, counts = vote_all(svamp)
    assert counts.exercises == len(voted) == len(svamp) and counts.without_any == 0
    # Llama-3 saw the labels and comes first, so it wins every tie; all bad rationales are PaLM's.
    assert counts.right == len(svamp)
    assert counts.negatives == counts.with_negatives
    read = sum(rationale.answer is not None for each in svamp.exercises for rationale in each.rationales)
    assert counts.positives + counts.negatives == read - sum(
        each.rationales[0].text == each.rationales[1].text and None not in [r.answer for r in each.rationales]
        for each in svamp.exercises
    )
    assert 0.15 < counts.negatives / len(svamp) < 0.3
    cqa = Cqa(data_dir / "rationales" / "cqa", "valid")
    _, counts = vote_all(cqa)
    assert counts.negatives == 0 and counts.without_any == cqa.unparsed["palm"] + cqa.outside["palm"]
    _, checked = vote_all(cqa, use_label=True)
    assert checked.negatives == counts.exercises - counts.without_any - counts.right and checked.right == counts.right
