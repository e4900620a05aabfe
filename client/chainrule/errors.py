"""The one tree of errors of the client.

ChainruleError
├── InvalidFile             a file on this side cannot be read as what it should be
├── InvalidInput            what was given is wrong, as can be seen on this side
├── InvalidSignature        what claims to be a webhook was not sent by the service, or not now
├── NotEnded                a job has not ended in the time that was given to it; also a TimeoutError
├── Unreachable             no answer came from the service
└── ServiceError            the service answered with an error, or something else answers there: a redirect, no JSON
    ├── Refused             the request is wrong                               (400, 413, 415, 422, …)
    ├── Unauthorized        no key was sent, or none that is good              (401)
    ├── Forbidden           the key may not do this                            (403)
    ├── NotFound            no such job, data set or file                      (404)
    ├── Conflict            the move is impossible in the present state        (409)
    └── Unavailable         the service cannot answer now; try again later     (429, 5xx)
"""

import copyreg
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "ChainruleError",
    "Conflict",
    "FieldProblem",
    "Forbidden",
    "InvalidFile",
    "InvalidInput",
    "InvalidSignature",
    "NotEnded",
    "NotFound",
    "Refused",
    "ServiceError",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
]


_ROW = re.compile(r"^rows\[(\d+)\]")


class ChainruleError(Exception):
    """The root of all errors that the client raises on purpose; `str(error)` may be shown to the user.

    It may be pickled, as it is to come out of another process.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # Python would call the class with the message alone, but some take more than that
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]


class InvalidFile(ChainruleError):
    """A file on this side cannot be read as what it should be; the message names file, line and column."""


class InvalidSignature(ChainruleError):
    """What claims to be a webhook was not sent by the service, or long ago, or was changed on its way: ignore it."""


class NotEnded(ChainruleError, TimeoutError):
    """A job has not ended in the time that was given to it; it goes on."""


class Unreachable(ChainruleError):
    """No answer came from the service: nothing listens there, or the connection broke. `idempotency_key` is that of a
    submit which may have come there: with it again it is still one job."""

    def __init__(self, url: str, why: str, idempotency_key: str | None = None) -> None:
        self.url, self.why, self.idempotency_key = url, why, idempotency_key
        message = f"no answer from {url} ({why}); is the service running? Start one with: chainrule serve"
        if idempotency_key is not None:
            message += (
                f". The job may be there: submitted again with the idempotency key {idempotency_key} it is still one"
            )
        super().__init__(message)


@dataclass(frozen=True)
class FieldProblem:
    """One wrong field of a refused request: its path, what the service got, what it expected."""

    field: str
    got: Any
    expected: str

    def __str__(self) -> str:
        return f"{self.field}: got {self.got if self.got is not None else 'null'}, expected {self.expected}"


class InvalidInput(ChainruleError):
    """What was given is wrong, as can be seen without asking the service; `fields` as in a refusal by the service."""

    def __init__(self, fields: Sequence[FieldProblem]) -> None:
        self.fields = tuple(fields)
        super().__init__("\n".join(map(str, self.fields)))

    @classmethod
    def of(cls, field: str, got: Any, expected: str) -> "InvalidInput":
        """The error for a single field."""
        return cls([FieldProblem(field, got, expected)])


class ServiceError(ChainruleError):
    """The service answered with an error: a problem document as of RFC 9457, where it sent one."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        fields: Sequence[FieldProblem] = (),
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        self.status = status
        self.title = title
        self.detail = detail
        self.fields = tuple(fields)
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        super().__init__("\n".join(map(str, self.fields)) or detail or title)

    @staticmethod
    def of(status: int, body: Any, fallback: str, retry_after: str | None = None) -> "ServiceError":
        """The error for an answer; `body` is its JSON if it had any, `fallback` its reason phrase."""
        problem = body if isinstance(body, dict) else {}
        fields = [
            FieldProblem(str(error.get("field", "")), error.get("got"), str(error.get("expected", "")))
            for error in problem.get("errors") or []
            if isinstance(error, dict)
        ]
        seconds = float(retry_after) if retry_after is not None and retry_after.isdigit() else None
        return _class_for(status)(
            status,
            str(problem.get("title") or fallback),
            str(problem.get("detail") or ""),
            fields,
            problem.get("request_id"),
            seconds,
        )


class Refused(ServiceError):
    """The request is wrong; sending it again will not help."""

    def shifted(self, rows: int) -> "Refused":
        """The same refusal with every `rows[i]` counted `rows` higher: the request held a later part of the rows."""
        fields = [
            FieldProblem(
                _ROW.sub(lambda row: f"rows[{int(row[1]) + rows}]", problem.field), problem.got, problem.expected
            )
            for problem in self.fields
        ]
        return Refused(self.status, self.title, self.detail, fields, self.request_id, self.retry_after_s)


class Unauthorized(ServiceError):
    """No key was sent, or none that is good; the message says where one is looked for."""


class Forbidden(ServiceError):
    """The key may not do this."""


class NotFound(ServiceError):
    """No such job, data set or file."""


class Conflict(ServiceError):
    """The move is impossible in the present state."""


class Unavailable(ServiceError):
    """The service cannot answer now; the same request may succeed later."""


def _class_for(status: int) -> type[ServiceError]:
    known: dict[int, type[ServiceError]] = {401: Unauthorized, 403: Forbidden, 404: NotFound, 409: Conflict}
    return known.get(status) or (Unavailable if status == 429 or status >= 500 else Refused)
