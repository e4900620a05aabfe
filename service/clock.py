"""Times as the API writes them."""

from datetime import UTC, datetime, timedelta

__all__ = ["later", "next_after", "now", "seconds_between", "since_1970", "written"]

FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def now() -> str:
    """The present as RFC 3339 in UTC, always with microseconds: as text it sorts as in time."""
    return written(datetime.now(UTC))


def written(moment: datetime) -> str:
    """A time, with its zone, as `now` writes the present. Raises OverflowError where UTC has no year of four digits."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def since_1970(seconds: float) -> str:
    """The time so many seconds after 1970 began."""
    return datetime.fromtimestamp(seconds, UTC).strftime(FORMAT)


def later(moment: str, seconds: float) -> str:
    """The time that comes so many seconds after a moment."""
    return (datetime.strptime(moment, FORMAT) + timedelta(seconds=seconds)).strftime(FORMAT)


def next_after(last: str | None, moment: str) -> str:
    """The moment, if it comes after the `last` one, if any; else, as the clock was set back, the one after that."""
    return moment if last is None or last < moment else later(last, 1e-6)


def seconds_between(earlier: str, later: str) -> float:
    """Seconds from one time to another; below 0 where the second is the earlier one."""
    return (datetime.strptime(later, FORMAT) - datetime.strptime(earlier, FORMAT)).total_seconds()
