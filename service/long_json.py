"""JSON of megabytes, parsed piece by piece: Python's parser is one call, in which no other thread gets its turn."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from service.json_body import check_depth, loads, twice

__all__ = ["parse_long"]

SCANNED_BYTES = 256 << 10  # whose levels are told at once
WHITESPACE = b" \t\n\r"
IN_TEXT = 255
STEPS = np.zeros(256, np.int8)
STEPS[list(b"[{")], STEPS[list(b"]}")] = 1, -1


def parse_long(utf8: bytes, text: str, piece_bytes: int) -> Any:
    """The value of `text`, which is `utf8` decoded. Long arrays and objects are cut at their commas, so that no piece
    has more than `piece_bytes`, but for a single long text or number.

    Raises as `loads`, and MalformedInput where arrays and objects are nested too deep.
    """
    return _Text(utf8, text, piece_bytes).value(0, len(utf8), 0)


class _Text:
    def __init__(self, utf8: bytes, text: str, piece_bytes: int) -> None:
        self._utf8, self._text, self._piece_bytes = utf8, text, piece_bytes
        self._bytes = np.frombuffer(utf8, np.uint8)
        self._levels = _levels(utf8)

    def value(self, start: int, stop: int, level: int) -> Any:
        """The value between two places, which stands in `level` arrays and objects."""
        if stop - start > self._piece_bytes:
            part = self._utf8[start:stop]
            start, stop = stop - len(part.lstrip(WHITESPACE)), start + len(part.rstrip(WHITESPACE))
            first, last = self._utf8[start : start + 1], self._utf8[stop - 1 : stop]
            if first == b"[" and last == b"]":
                return self._array(start + 1, stop - 1, level + 1)
            if first == b"{" and last == b"}":
                return self._object(start + 1, stop - 1, level + 1)
            if first in (b"[", b"{"):
                raise self._broken("Extra data", stop - 1)
        return self._piece(start, stop)

    def _array(self, start: int, stop: int, level: int) -> list[Any]:
        values: list[Any] = []
        for begin, end in self._runs(start, stop, level):
            if end - begin > self._piece_bytes:
                values.append(self.value(begin, end, level))
            else:
                values += self._piece(begin, end, "[]")
        return values

    def _object(self, start: int, stop: int, level: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for begin, end in self._runs(start, stop, level):
            if end - begin > self._piece_bytes:
                colon = next(iter(self._places(b":", begin, end, level)), begin)
                key = self._piece(begin, colon)
                if not isinstance(key, str):
                    raise self._broken("Expecting property name enclosed in double quotes", begin)
                found = {key: self.value(colon + 1, end, level)}
            else:
                found = self._piece(begin, end, "{}")
            if not found.keys().isdisjoint(values.keys()):
                raise twice(next(key for key in found if key in values))
            values |= found
        return values

    def _runs(self, start: int, stop: int, level: int) -> Iterator[tuple[int, int]]:
        """From where to where there are whole elements, as many as a piece holds, or one."""
        ends = np.append(self._places(b",", start, stop, level), stop)
        first = 0
        while first < len(ends):
            last = max(first, int(np.searchsorted(ends, start + self._piece_bytes, "right")) - 1)
            end = int(ends[last])
            if len(ends) > 1 and not self._utf8[start:end].strip(WHITESPACE):
                raise self._broken("Expecting value", end)
            yield start, end
            first, start = last + 1, end + 1

    def _places(self, mark: bytes, start: int, stop: int, level: int) -> npt.NDArray[np.intp]:
        """Where the mark stands in arrays and objects of that level."""
        here = slice(start, stop)
        return start + np.flatnonzero((self._levels[here] == level) & (self._bytes[here] == mark[0]))

    def _piece(self, start: int, stop: int, brackets: str = "") -> Any:
        """The value between two places, or the elements as a value of their own."""
        before, after = brackets[:1], brackets[1:]
        try:
            return loads(before + self._utf8[start:stop].decode() + after)
        except json.JSONDecodeError as error:
            raise self._broken(error.msg, start, error.pos - len(before)) from None

    def _broken(self, message: str, place: int, characters: int = 0) -> json.JSONDecodeError:
        return json.JSONDecodeError(message, self._text, len(self._utf8[:place].decode()) + characters)


def _levels(utf8: bytes) -> npt.NDArray[np.uint8]:
    """In how many arrays and objects each byte stands, brackets counted in; IN_TEXT for what is in a text."""
    plain = np.frombuffer(utf8.replace(b"\\\\", b"__").replace(b'\\"', b"__"), np.uint8)
    levels = np.empty(len(plain), np.uint8)
    in_text, level = np.uint8(0), np.int64(0)
    for start in range(0, len(plain), SCANNED_BYTES):
        part = plain[start : start + SCANNED_BYTES]
        in_texts = (np.cumsum(part == ord('"'), dtype=np.uint8) + in_text) & 1  # it is its parity that counts
        here = level + np.cumsum(STEPS[part] * (in_texts == 0), dtype=np.int64)
        check_depth(int(here.max()))
        levels[start : start + len(part)] = np.where(in_texts, IN_TEXT, np.maximum(here, 0))
        in_text, level = in_texts[-1], here[-1]
    return levels
