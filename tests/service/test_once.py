"""What is costly to make is made once; what cannot be made is tried again; what is kept is bounded."""

from functools import partial

import pytest

from service.once import MadeOnce


def made_of(names: str, most: int, most_bytes: int) -> list[str]:
    """What is made when these are asked for, in this order; each takes four bytes."""
    once, made = MadeOnce[str](most, most_bytes, len), list[str]()

    def make(name: str) -> str:
        made.append(name)
        return 4 * name

    for name in names:
        assert once.get(name, partial(make, name)) == 4 * name
    return made


def test_those_asked_for_last_are_kept() -> None:
    assert made_of("abacab", most=2, most_bytes=100) == ["a", "b", "c", "b"]


def test_no_more_bytes_are_kept_than_may_be_but_always_the_last() -> None:
    assert made_of("abb", most=9, most_bytes=8) == ["a", "b"]
    assert made_of("aabba", most=9, most_bytes=7) == ["a", "b", "a"]
    assert made_of("aa", most=9, most_bytes=1) == ["a"]


def test_what_could_not_be_made_or_was_forgotten_is_made_anew() -> None:
    once = MadeOnce[str](1)

    def fail() -> str:
        raise OSError("not now")

    with pytest.raises(OSError, match="not now"):
        once.get("a", fail)
    assert once.get("a", lambda: "first") == "first"
    assert once.get("a", lambda: "second") == "first"
    once.forget("a")
    assert once.get("a", lambda: "second") == "second"
