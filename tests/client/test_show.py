"""Numbers, sizes and times are shown as people read them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chainrule.show import age_text, bytes_text, duration_text, number_text
from chainrule.text import plain


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (0, "0"),
        (0.0, "0"),
        (32561, "32,561"),
        (0.123456, "0.1235"),
        (1.5e-12, "1.50e-12"),
        (141000.4, "141,000"),
        (-2.5, "-2.5"),
        (3e15, "3.00e+15"),
        (True, "True"),
        ("<=50K", "<=50K"),
    ],
)
def test_a_number_is_as_short_as_it_stays_readable(value: Any, text: str) -> None:
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "—"),
        (-0.2, "0.0 s"),
        (3.14, "3.1 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (75, "1 min 15 s"),
        (7_260, "2 h 1 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (3_551_168, "3.6 MB"), (2 * 10**9, "2.0 GB"), (10**15, "1000.0 TB")]
)
def test_a_size_is_in_its_largest_unit(size: int, text: str) -> None:
    assert bytes_text(size) == text


def test_an_age_counts_from_a_time_in_utc() -> None:
    created = datetime(2026, 11, 23, 10, tzinfo=UTC)
    assert age_text(created, created + timedelta(minutes=2)) == "2 min"


def test_no_control_character_reaches_the_terminal() -> None:
    assert plain("a\x1b]0;title\x07\r\nb\u202e") == "a�]0;title���b�"
