"""JSON is read strictly."""

import json
import time
from typing import Any

import pytest

from service.json_body import MAX_DEPTH, parse_json
from service.long_json import _Text, parse_long
from shared.errors import MalformedInput, shown
from support.problems import errors_of
from support.service_in_process import SPEC, Service


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": [1, 2.5, "x", null, true]}', {"a": [1, 2.5, "x", None, True]}),
        (b'"[[[[\\"[["', '[[[["[['),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
        ('"ä"'.encode(), "ä"),
    ],
)
def test_plain_json_is_read(body: bytes, value: Any) -> None:
    assert value is None or parse_json(body) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b'{"a": 1, "a": 2}',
        b'{"b": {"a": 1, "a": 1}}',
        b'{"a": "\xff"}',
        '{"a": 1}'.encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b"[" * 100_000,
        b"9" * 5_000,
        b'{"a": 1} {}',
    ],
)
def test_what_is_not_plain_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedInput):
        parse_json(body)


@pytest.mark.parametrize(
    "body",
    [
        b'"\\"' * 300_000,
        b'"' + b'\\"' * 500_000,
        b'"' + b'\\"' * 500_000 + b"\\",
        b"{" + b"".join(b'"%d":0,' % number for number in range(90_000)) + b'"89999":0}',  # its last key stands twice
    ],
)
def test_the_time_to_refuse_a_body_grows_with_its_length_alone(body: bytes) -> None:
    began = time.process_time()
    with pytest.raises(MalformedInput):
        parse_json(body)
    assert time.process_time() - began < 2


# ---------------------------------------------------------------- long bodies, which are parsed in pieces
VALUES: list[Any] = [
    {"rows": [{"x": [[0, 1.5e-3], [2, 3]], "name": 'a "b\\" [{,:'}, {"x": [], "é": {}, "deep": [[[{"a": [1, 2]}]]]}]},
    {f"key {number}": [number, str(number), None, True] for number in range(100)},
    {"a long key that has, in it: [marks] and {more} \\": ["ä, " * 40, "\\", '"', "\\\\" * 30], "b": -7},
    [[[list(range(300))], "x" * 300], {"a": list(range(300))}, [], {}],
    ["plain", 1e300, 12345678901234567890],
]


@pytest.mark.parametrize("piece_bytes", [1, 2, 7, 30, 100, 1_000, 100_000])
@pytest.mark.parametrize("options", [{}, {"indent": 3}, {"ensure_ascii": False}], ids=str)
def test_json_that_is_parsed_in_pieces_has_the_same_value(piece_bytes: int, options: dict[str, Any]) -> None:
    for value in VALUES:
        text = json.dumps(value, **options)
        assert parse_long(text.encode(), text, piece_bytes) == value


@pytest.mark.parametrize("piece_bytes", [1, 2, 7, 30])
def test_what_is_not_json_is_none_in_pieces_either(piece_bytes: int) -> None:
    """Each is made of a good one, whose marks are removed, doubled, and replaced by one another."""
    good = '{"a": [1, {"b": "x,y"}, [], [[2, 3], {}]], "c": {"d": [4, 5], "e": null}} '
    broken = [good[:at] + put + good[at + 1 :] for at in range(len(good)) for put in ("", *'[]{},:"1 \\', good[at] * 2)]
    for text in broken:
        try:
            expected = parse_json(text.encode())
        except MalformedInput:
            with pytest.raises((json.JSONDecodeError, MalformedInput)):
                parse_long(text.encode(), text, piece_bytes)
        else:
            assert parse_long(text.encode(), text, piece_bytes) == expected


def test_no_piece_of_long_json_is_longer_than_it_may_be_but_a_single_value() -> None:
    text = json.dumps(["x" * 200, *range(1_000), "y" * 200, *range(1_000)])
    runs = [text[begin:end] for begin, end in _Text(text.encode(), text, 50)._runs(1, len(text) - 1, 1)]
    assert ",".join(runs) == text[1:-1]
    assert [len(run) for run in runs if len(run) > 51] == [202, 203]
    assert len(runs) < len(text) / 40


def test_a_mistake_in_long_json_is_told_with_its_line_and_column() -> None:
    text = '{"rows": [\n' + ",\n".join(f'{{"ä": {number}}}' for number in range(20_000)) + ",\n{'a': 1}]}"
    with pytest.raises(MalformedInput, match=r"line 20,002, column 2\b"):
        parse_json(text.encode())
    with pytest.raises(MalformedInput, match="an integer of thousands of digits"):
        parse_json(b"[" + b"1," * 50_000 + b"9" * 5_000 + b"]")
    with pytest.raises(MalformedInput, match="twice: got 'the same key twice"):
        parse_json(b'{"twice": 0, ' + b"".join(b'"%d":0,' % number for number in range(9_000)) + b'"twice": 0}')
    with pytest.raises(MalformedInput, match="nested 33 deep"):
        parse_json(b"[" + b"1," * 50_000 + b"[" * 32 + b"]" * 33)


# ---------------------------------------------------------------- what is said of it
def test_of_a_value_no_more_is_written_than_is_shown() -> None:
    written = []

    class Counted:
        def __repr__(self) -> str:
            written.append(self)
            return "7"

    assert shown([Counted()] * 100_000) == str([7] * 100)[:99] + "…"
    assert len(written) < 50
    for value in (
        [1, 2.5, "a'b", None, {"k": [True, {}]}],
        {"a": [], "b": {}},
        ["x" * 90],
        {"k" * 300: 1},
        [["x" * 300]],
    ):
        text = repr(value)
        assert shown(value) == (text if len(text) <= 100 else text[:99] + "…")


def test_a_very_long_key_is_not_told_again_and_again(unchanged: Service) -> None:
    key = "k" * 1_000_000
    for body in ({key: 1}, {"labels": {key: 1}}):
        answer = unchanged.http.post("/v1/jobs", json={**SPEC, **body})
        (field, _), *_ = errors_of(answer)
        assert field == ("labels." + key if "labels" in body else key)[:99] + "…"
        assert len(answer.content) < 3_000
