"""JSON is read strictly."""

import time
from typing import Any

import pytest

from service.json_body import MAX_DEPTH, parse_json
from shared.errors import MalformedInput


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
