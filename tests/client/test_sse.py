"""Server-sent events are parsed as the standard says, however the bytes are cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.sse import EventParser, ServerSentEvent

STREAM = (
    ': a comment\n\nid: 1\nevent: state\ndata: {"name":"café\u2028"}\n\nid: 2\r\ndata: one\r\ndata: two\r\n\r\n'
    "data\rretry: 1500\r\r"
).encode()
EVENTS = [
    ServerSentEvent("state", '{"name":"café\u2028"}', "1"),
    ServerSentEvent("message", "one\ntwo", "2"),
    ServerSentEvent("message", "", "2"),
]


@given(st.sets(st.integers(1, len(STREAM) - 1)))
def test_events_do_not_depend_on_where_the_bytes_are_cut(cuts: set[int]) -> None:
    parser = EventParser()
    edges = [0, *sorted(cuts), len(STREAM)]
    events = [event for start, end in pairwise(edges) for event in parser.feed(STREAM[start:end])]
    assert events == EVENTS
    assert (parser.last_id, parser.retry_s) == ("2", 1.5)


def test_an_event_that_the_end_cuts_off_is_dropped_with_its_id() -> None:
    parser = EventParser()
    assert parser.feed(b"id: 1\ndata: whole\n\nid: 2\ndata: half") == [ServerSentEvent("message", "whole", "1")]
    assert parser.last_id == "1"


@pytest.mark.parametrize("line", [b"retry: soon\n\n", b"id: a\0b\n\n", b"colour: red\n\n", b"event: state\n\n"])
def test_what_the_standard_ignores_makes_no_event(line: bytes) -> None:
    parser = EventParser()
    assert parser.feed(line) == []
    assert (parser.last_id, parser.retry_s) == ("", None)


def test_a_byte_order_mark_before_the_first_line_is_skipped() -> None:
    assert EventParser().feed(b"\xef\xbb\xbfdata: x\n\n") == [ServerSentEvent("message", "x", "")]
