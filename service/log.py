"""The service's own log: a line a record, as text or as JSON, which says what request and what job it is about."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal

__all__ = ["FIELDS", "JsonLines", "LogFormat", "TextLines", "about", "begin"]

LogFormat = Literal["text", "json"]

FIELDS = (
    "request_id",
    "job_id",
    "attempt",
    "tenant",
    "webhook_id",
    "delivery_id",
    "method",
    "route",
    "status",
    "duration_s",
)
"""What a line may say besides its message: by `about`, or by `extra` of the call that logs."""
QUIET = ("aiobotocore", "alembic", "botocore", "uvicorn")

_about: ContextVar[Mapping[str, Any]] = ContextVar("about", default=MappingProxyType({}))


def begin(form: LogFormat) -> None:
    """Writes all that is logged from now on to standard error; other libraries only when something is wrong."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def about(**fields: Any) -> Iterator[None]:
    """Has all lines that are logged meanwhile, in this thread or task, say so; `fields` are of FIELDS."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    about, by_call = _about.get(), vars(record)
    known = ((name, by_call.get(name, about.get(name))) for name in FIELDS)
    return {name: value for name, value in known if value is not None}


class TextLines(logging.Formatter):
    """For people. Nothing that a user named can begin a line of its own, or steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={_shown(str(value))}" for name, value in _fields(record).items())
        message = _shown(record.getMessage())
        head = f"{self.formatTime(record)} {record.levelname} {record.name}: {message}"
        lines = [f"{head} [{fields}]" if fields else head]
        if record.exc_info:
            lines += [f"    {_shown(line)}" for line in self.formatException(record.exc_info).split("\n")]
        return "\n".join(lines)


class JsonLines(logging.Formatter):
    """For programs: an object a line, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def _shown(text: str) -> str:
    """The text with everything that is no visible character, nor a space, written as an escape."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )
