import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcl.data.base import Entity
from mmcl.models.frame import Frame, Intent, Mark, parse

SEP, FILL = Mark.SEP, Mark.FILL
ALARM = Intent("alarm set")
ENTITIES = (Entity("time", "five am"), Entity("date", "friday"), Entity("time", "six"))

words = st.lists(st.text("abc'", min_size=1, max_size=3), min_size=1, max_size=3).map(" ".join)
entities = st.lists(st.builds(Entity, words, words), max_size=4).map(tuple)
frames = st.builds(Frame, words, entities, words | st.just(""))
pieces = st.lists(st.sampled_from(Mark) | words.map(Intent) | words | st.sampled_from(["", " "]), max_size=12)


@pytest.mark.parametrize(
    ("count", "middle"),
    [
        (0, []),
        (1, ["time", FILL, "five am", SEP]),
        (2, ["time", FILL, "five am", SEP, "date", FILL, "friday", SEP]),
        (3, ["time", FILL, "five am", SEP, "date", FILL, "friday", SEP, "time", FILL, "six", SEP]),
    ],
)
def test_all_entities_are_written_in_order_and_the_transcript_once(count, middle):
    # The published code loses some of two entities and more, and repeats the transcript.
    frame = Frame("alarm set", ENTITIES[:count], "wake me up")
    assert list(frame.pieces()) == ["alarm set", SEP, *middle, "wake me up"]
    assert isinstance(next(frame.pieces()), Intent)
    assert parse(list(frame.pieces())) == frame


@given(frames)
def test_parse_is_the_inverse(frame):
    assert parse(list(frame.pieces())) == frame


@given(pieces)
def test_any_pieces_parse_to_a_frame_that_round_trips(written):
    frame = parse(written)
    assert parse(list(frame.pieces())) == frame
    assert all(entity.type and entity.value for entity in frame.entities)
    assert all(text == " ".join(text.split()) for text in (frame.transcript, *(v for e in frame.entities for v in e)))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ([], Frame("")),
        ([ALARM], Frame("alarm set")),
        ([SEP], Frame("")),
        ([ALARM, SEP], Frame("alarm set")),
        ([ALARM, SEP, ""], Frame("alarm set")),
        (["wake me"], Frame("")),
        ([ALARM, "wake me"], Frame("alarm set")),
        ([SEP, "wake me"], Frame("", (), "wake me")),
        ([ALARM, SEP, "wake me", SEP], Frame("alarm set")),
        ([ALARM, SEP, "wake", SEP, "me"], Frame("alarm set", (), "me")),
        ([ALARM, SEP, "wake", ALARM, "me"], Frame("alarm set", (), "wake me")),
        ([ALARM, SEP, "wake me", SEP, Intent("play music")], Frame("alarm set")),
        ([SEP, "wake me", Intent("play music"), ALARM], Frame("play music", (), "wake me")),
        ([ALARM, SEP, "time", FILL, SEP, "wake me"], Frame("alarm set", (), "wake me")),
        ([ALARM, SEP, FILL, "five", SEP, "wake me"], Frame("alarm set", (), "wake me")),
        ([ALARM, SEP, "time", FILL, "five", FILL, "six", SEP, "wake me"], Frame("alarm set", (), "wake me")),
        ([ALARM, SEP, "time", FILL, "five"], Frame("alarm set", (Entity("time", "five"),))),
        ([ALARM, "time", FILL, "five"], Frame("alarm set", (Entity("time", "five"),))),
        ([FILL, FILL], Frame("")),
        ([ALARM, SEP, " time ", FILL, "five  am", SEP, " wake  me "], Frame("alarm set", ENTITIES[:1], "wake me")),
    ],
)
def test_what_a_decoder_broke_is_read_as_far_as_it_can_be(written, expected):
    assert parse(written) == expected


def test_text_has_all_the_words_and_no_marks():
    assert Frame("alarm set", ENTITIES[:2], "wake me").text() == "alarm set time five am date friday wake me"
    assert Frame("").text() == ""
