"""The one tree of errors: what went wrong, what was got, what was expected.

ChainruleError
├── InvalidInput            what a user sent is wrong, field by field      (422)
│   └── MalformedInput      it cannot even be read as what it claims to be (400)
├── Unauthorized            no key that is known                           (401)
├── Forbidden               a key that may not do this                     (403)
├── NotFound                no such job, data set or file                  (404)
├── Conflict                the move is impossible in the present state    (409)
├── TooLarge                more than the service accepts                  (413)
├── UnsupportedMedia        a content type or encoding that is not taken   (415)
├── Unavailable             cannot be answered now; try again              (503)
│   └── TooManyRequests     it was asked for too often; try again later    (429)
└── TrainingError           an attempt to train ended early
    ├── Diverged            the loss became NaN or infinite: the user's
    ├── BadData             the data cannot be trained on: the user's
    ├── DataMissing         a file of the data set is gone: the user's
    └── RanTooLong          it trained longer than it may: the user's
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

GOT_LIMIT = 100  # characters of a refused value that are repeated to the user


def shown(value: Any) -> Any:
    """`value` as it may be repeated in an error: short scalars as they are, all else as text cut to 100 characters."""
    if value is None or isinstance(value, bool | int | float):
        text = str(value)
        return value if len(text) <= GOT_LIMIT and text not in ("nan", "inf", "-inf") else text[:GOT_LIMIT]
    text = value if isinstance(value, str) else _beginning(value)
    return text if len(text) <= GOT_LIMIT else text[: GOT_LIMIT - 1] + "…"


def _beginning(value: Any) -> str:
    """As `repr`, but no more of millions of values than is shown."""
    text = ""
    for part in _parts(value):
        text += part
        if len(text) > GOT_LIMIT:
            break
    return text


def _parts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield "{"
        for number, (key, item) in enumerate(value.items()):
            yield ", " if number else ""
            yield from _parts(key)
            yield ": "
            yield from _parts(item)
        yield "}"
    elif isinstance(value, list):
        yield "["
        for number, item in enumerate(value):
            yield ", " if number else ""
            yield from _parts(item)
        yield "]"
    elif isinstance(value, str):
        yield repr(value[: GOT_LIMIT + 1])
    else:
        yield repr(value)


@dataclass(frozen=True)
class FieldError:
    """One wrong field: its path as a user would write it (`layers[1].units`), what was got, what was expected."""

    field: str
    got: Any
    expected: str

    def __str__(self) -> str:
        return f"{self.field}: got {shown(self.got)!r}, expected {self.expected}"


class ChainruleError(Exception):
    """The root of all errors that Chainrule raises on purpose; `str(error)` may be shown to the user."""


class InvalidInput(ChainruleError):
    """What a user sent is wrong, field by field."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(map(str, self.errors)))

    @classmethod
    def of(cls, field: str, got: Any, expected: str) -> "InvalidInput":
        return cls([FieldError(field, got, expected)])


class MalformedInput(InvalidInput):
    """The bytes cannot be read as what they claim to be."""


class Unauthorized(ChainruleError):
    """Nothing came along that says who asks: no key, or none that is known."""


class Forbidden(ChainruleError):
    """Who asks is known, and may not do this."""


class NotFound(ChainruleError):
    """No such job, data set or file."""


class Conflict(ChainruleError):
    """The move is impossible in the present state."""


class TooLarge(ChainruleError):
    """More than the service accepts."""


class UnsupportedMedia(ChainruleError):
    """A content type or encoding that is not taken."""


class Unavailable(ChainruleError):
    """Cannot be answered now; the same request may succeed later."""

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class TooManyRequests(Unavailable):
    """It was asked for too often; the same request may succeed later."""


class TrainingError(ChainruleError):
    """An attempt to train ended early."""


class Diverged(TrainingError):
    """The loss became NaN or infinite."""

    @classmethod
    def at(cls, step: int) -> "Diverged":
        return cls(f"diverged at step {step}: the loss is no longer a finite number; try a lower learning rate")


class BadData(TrainingError):
    """The data cannot be trained on."""


class DataMissing(TrainingError):
    """A file of the data set is gone."""


class RanTooLong(TrainingError):
    """It trained longer than `max_runtime_s`."""
