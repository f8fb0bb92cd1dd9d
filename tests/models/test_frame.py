import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcl.data.base import Entity
from mmcl.models.frame import Frame, Intent, Marker, parse_frame

SEP, FILL = Marker.SEP, Marker.FILL
ALARM = Intent("alarm set")
ENTITIES = (Entity("time", "five am"), Entity("date", "friday"), Entity("time", "six"))

words = st.lists(st.text("abc'", min_size=1, max_size=3), min_size=1, max_size=3).map(" ".join)
entities = st.lists(st.builds(Entity, words, words), max_size=4).map(tuple)
frames = st.builds(Frame, words, entities, words | st.just(""))
pieces = st.lists(st.sampled_from(Marker) | words.map(Intent) | words | st.sampled_from(["", " "]), max_size=12)


@pytest.mark.parametrize(
    ("count", "middle"),
    [
        (0, []),
        (1, ["time", FILL, "five am", SEP]),
        (2, ["time", FILL, "five am", SEP, "date", FILL, "friday", SEP]),
        (3, ["time", FILL, "five am", SEP, "date", FILL, "friday", SEP, "time", FILL, "six", SEP]),
    ],
)
def test_pieces_hold_all_entities_in_order_and_the_transcript_once(count, middle):
    # The published code drops some entities if there are two or more, and repeats the transcript.
    frame = Frame("alarm set", ENTITIES[:count], "wake me up")
    assert list(frame.pieces()) == ["alarm set", SEP, *middle, "wake me up"]
    assert isinstance(next(frame.pieces()), Intent)
    assert parse_frame(list(frame.pieces())) == frame


@given(frames)
def test_parse_frame_is_the_inverse_of_pieces(frame):
    assert parse_frame(list(frame.pieces())) == frame


@given(pieces)
def test_the_frame_of_any_pieces_round_trips(written):
    frame = parse_frame(written)
    assert parse_frame(list(frame.pieces())) == frame
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
def test_malformed_sequences_are_parsed_as_far_as_possible(written, expected):
    assert parse_frame(written) == expected


def test_text_has_all_words_and_no_markers():
    assert Frame("alarm set", ENTITIES[:2], "wake me").text() == "alarm set time five am date friday wake me"
    assert Frame("").text() == ""
