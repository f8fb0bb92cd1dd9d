import pytest

from mmcl.data.base import Entity
from mmcl.errors import InputError, ShapeError
from mmcl.metrics import entity_scores, slu_f1, word_error_rate


def test_word_error_rate_by_hand():
    # A substitution and an insertion over 3 words, a deletion over 2: not the mean of 2/3 and 1/2.
    assert word_error_rate(["turn it on", "stop now"], ["please turn it off", "stop"]) == pytest.approx(3 / 5)


@pytest.mark.parametrize(
    "reference, hypothesis, expected",
    [
        ("turn it on", "turn it on", 0.0),
        ("turn it on", "", 1.0),
        ("stop", "please do stop now", 3.0),  # three insertions over one word
        ("stop it", "it stop", 1.0),  # the order of words counts
        ("Stop", "stop", 1.0),  # so does their case
        (" turn  it on ", "turn it on", 0.0),  # spaces do not
    ],
)
def test_word_error_rate_of_one_utterance(reference, hypothesis, expected):
    assert word_error_rate([reference], [hypothesis]) == expected


def test_words_for_an_empty_reference_are_insertions():
    assert word_error_rate(["", "stop the music", " "], ["oh well", "stop the music", ""]) == pytest.approx(2 / 3)


def test_word_error_rate_without_a_word_to_divide_by_is_refused():
    with pytest.raises(InputError, match="none of the 2 references has a word"):
        word_error_rate(["", " "], ["oh", ""])


# Expected values are worked from the definition: TP, FP and FN of words plus those of characters, then
# 2 TP / (2 TP + FP + FN). A match is TP 1 + 1 whatever its distances, which are FP and FN.
CASES = {
    # TP 2 + 2
    "all right": ([("date", "today"), ("time", "nine")], [("date", "today"), ("time", "nine")], 1.0),
    # FN 2 + 2
    "nothing predicted": ([("date", "today"), ("time", "nine")], [], 0.0),
    # FP 1 + 1, FN 1 + 1
    "type wrong": ([("date", "today")], [("time", "today")], 0.0),
    # TP 1 + 1; FP and FN each 1 of 2 words + 1 of 11 characters = 13 / 22: 4 / (4 + 13 / 11)
    "one of two words wrong": ([("event_name", "dance class")], [("event_name", "dance glass")], 44 / 57),
    # TP 1 + 1; FP and FN each 1 of 1 word + 4 of the longer value's 4 characters: 4 / (4 + 2 + 2)
    "value wrong": ([("music_genre", "pop")], [("music_genre", "jazz")], 0.5),
    "value empty": ([("music_genre", "pop")], [("music_genre", "")], 0.5),
    # TP 1 + 1; FP and FN each 2 insertions over 1 word, 4 insertions over 5 characters = 2.8: 4 / (4 + 5.6)
    "more words than there are": ([("artist_name", "a")], [("artist_name", "a b c")], 4 / 9.6),
    # TP 1 + 1; FP and FN each 2 of 2 words + 2 of 8 characters = 1.25: 4 / (4 + 2.5)
    "case wrong": ([("place_name", "new york")], [("place_name", "New York")], 4 / 6.5),
    # TP 1 + 1, FP 1 + 1: 4 / (4 + 2)
    "one too many": ([("date", "today")], [("date", "today"), ("time", "nine")], 2 / 3),
    "predicted twice": ([("date", "today")], [("date", "today"), ("date", "today")], 2 / 3),
    # TP 1 + 1, FN 1 + 1: 4 / (4 + 2)
    "one missing": ([("date", "today"), ("time", "nine")], [("time", "nine")], 2 / 3),
    "annotated twice": ([("date", "today"), ("date", "today")], [("date", "today")], 2 / 3),
    # TP 2 + 2
    "twice on both sides": ([("date", "today"), ("date", "today")], [("date", "today"), ("date", "today")], 1.0),
    "one type, swapped": ([("person", "anna"), ("person", "bob")], [("person", "bob"), ("person", "anna")], 1.0),
    # Nothing is counted, and the script's answer to that is 0.
    "no entity anywhere": ([], [], 0.0),
}


@pytest.mark.parametrize("reference, hypothesis, expected", CASES.values(), ids=CASES)
def test_slu_f1_by_hand(reference, hypothesis, expected):
    assert slu_f1([reference], [hypothesis]) == pytest.approx(expected, abs=1e-12)
    assert slu_f1([reference, []], [hypothesis, []]) == pytest.approx(expected, abs=1e-12)  # which adds no count
    entities = [[Entity(*pair) for pair in pairs] for pairs in (reference, hypothesis)]
    assert slu_f1(entities[:1], entities[1:]) == pytest.approx(expected, abs=1e-12)


def test_counts_add_up_over_utterances_and_types():
    # Three of four found in all, TP 3 + 3 and FN 1 + 1: 12 / (12 + 2), not the mean of 1 and 0.
    dates, times = [("date", "today"), ("date", "monday"), ("date", "friday")], [("time", "nine")]
    assert slu_f1([dates, times], [dates, []]) == pytest.approx(6 / 7)


def test_entity_scores_by_hand():
    scores = entity_scores([[("event_name", "dance class")]], [[("event_name", "dance glass"), ("date", "today")]])
    assert scores.words == pytest.approx((1, 1 + 1 / 2, 1 / 2))
    assert scores.characters == pytest.approx((1, 1 + 1 / 11, 1 / 11))
    assert scores.combined == pytest.approx((2, 2 + 13 / 22, 13 / 22))
    assert (scores.words.precision, scores.words.recall) == pytest.approx((1 / 2.5, 1 / 1.5))
    assert scores.words.f1 == pytest.approx(2 / (2 + 1.5 + 0.5))


def test_matching_is_greedy_in_order_with_first_ties():
    annotated = [("person", "anna smith"), ("person", "anna jones")]
    predicted = [("person", "anna"), ("person", "anna smith")]
    # "anna" is 1 of 2 words and 6 of 10 characters from both, so it takes anna smith, and leaves to "anna smith" what
    # is 1 of 2 words and 5 of 10 characters away. FP and FN each 0.5 + 0.6 + 0.5 + 0.5: 8 / (8 + 4.2).
    assert slu_f1([annotated], [predicted]) == pytest.approx(8 / 12.2)
    # With one of the sides turned round, anna smith finds herself. FP and FN each 0.5 + 0.6: 8 / (8 + 2.2).
    assert slu_f1([annotated], [predicted[::-1]]) == pytest.approx(8 / 10.2)
    assert slu_f1([annotated[::-1]], [predicted]) == pytest.approx(8 / 10.2)


def test_words_and_characters_are_matched_separately():
    # From "new york", york is 1 of 1 word and 4 of 8 characters away, new orleans 1 of 2 words and 6 of 11 characters.
    annotated = [("place_name", "york"), ("place_name", "new orleans")]
    scores = entity_scores([annotated], [[("place_name", "new york")]])
    assert scores.words == pytest.approx((1, 1 / 2, 1 + 1 / 2))
    assert scores.characters == pytest.approx((1, 4 / 8, 1 + 4 / 8))


def test_matches_the_official_script():
    # Expected values as printed by scripts/evaluation/evaluate.py of the SLURP repository (jiwer 2.0.0, textdistance
    # 4.1.5) on these pairs, --load-gold --errors --table-layout csv.
    pairs = [
        (
            [("event_name", "dance class"), ("date", "next friday")],
            [("event_name", "dance glass"), ("date", "next friday")],
        ),
        ([("time", "half past nine")], [("time", "past nine")]),
        ([("person", "anna"), ("person", "hanna")], [("person", "hannah"), ("person", "anna")]),
        (
            [("currency_name", "american dollar"), ("currency_name", "japanese yen")],
            [("currency_name", "japanese yen")],
        ),
        ([("artist_name", "abba")], [("artist_name", "all by a band"), ("playlist_name", "abba")]),
        ([], []),
        ([], [("house_place", "kitchen")]),
        ([("place_name", "new york")], []),
        (
            [("food_type", "pizza"), ("food_type", "pizza")],
            [("food_type", "pizza"), ("food_type", "pizza"), ("food_type", "pizzas")],
        ),
        (
            [("color_type", "warm white"), ("house_place", "living room")],
            [("house_place", "living room"), ("color_type", "warm light")],
        ),
        ([("news_topic", "election")], [("media_type", "election")]),
        (
            [("date", "tomorrow"), ("timeofday", "morning")],
            [("date", "tomorrow morning"), ("timeofday", "mourning")],
        ),
    ]
    references, hypotheses = zip(*pairs, strict=True)
    scores = entity_scores(references, hypotheses)
    assert scores.words == pytest.approx((13.0, 13.333333333333332, 12.333333333333332), rel=1e-12)
    assert scores.characters == pytest.approx((13.0, 6.432026307026307, 5.432026307026307), rel=1e-12)
    assert scores.combined.precision == pytest.approx(0.5681152776754554, rel=1e-12)
    assert scores.combined.recall == pytest.approx(0.5940771471696822, rel=1e-12)
    assert slu_f1(references, hypotheses) == pytest.approx(0.5808062351979604, rel=1e-12)


def test_a_reference_value_without_a_word_is_refused():
    with pytest.raises(InputError, match="reference 1 has a 'date' of value ' ', expected words"):
        slu_f1([[], [("date", " ")]], [[], []])


@pytest.mark.parametrize("metric", [word_error_rate, slu_f1, entity_scores])
def test_unpaired_utterances_raise(metric):
    with pytest.raises(ShapeError, match="2 references and 1 hypotheses"):
        metric(["", ""], [""])
    with pytest.raises(ShapeError, match="0 references and 0 hypotheses"):
        metric([], [])
    with pytest.raises(ShapeError, match="hypotheses is the text 'stop', expected a list"):
        metric(["turn", "it", "up", "now"], "stop")
