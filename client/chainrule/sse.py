"""Server-sent events: bytes in, events out, as the WHATWG HTML standard, section 9.2, parses them."""

import codecs
from dataclasses import dataclass, field

__all__ = ["EventParser", "ServerSentEvent"]


@dataclass(frozen=True)
class ServerSentEvent:
    """One event of a stream: its type (`message` unless named), its data as text, the last id seen so far."""

    type: str
    data: str
    id: str


@dataclass
class EventParser:
    """Cuts a byte stream into events, whatever the chunks. An event that the stream's end cuts off is dropped."""

    last_id: str = ""
    retry_s: float | None = None
    """How long the server asks to wait before connecting again."""
    _decode: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"), repr=False
    )
    _text: str = ""
    _after_cr: bool = False
    _at_start: bool = True
    _type: str = ""
    _data: list[str] = field(default_factory=list)
    _id: str | None = None

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that `chunk` completes, in order."""
        text = self._decode.decode(chunk)
        if self._at_start and text:
            text, self._at_start = text.removeprefix("\ufeff"), False
        if self._after_cr and text:  # CR LF may be cut between two chunks: the LF belongs to the line that has ended
            text, self._after_cr = text.removeprefix("\n"), False
        self._after_cr = self._after_cr or text.endswith("\r")
        # str.splitlines would also cut at U+2028 and others, which JSON may hold.
        *lines, self._text = (self._text + text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: str) -> ServerSentEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_s = int(value) / 1000
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        if self._id is not None:
            self.last_id = self._id
        event = ServerSentEvent(self._type or "message", "\n".join(self._data), self.last_id) if self._data else None
        self._type, self._data, self._id = "", [], None
        return event
