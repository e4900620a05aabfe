"""Times as the API writes them."""

from datetime import UTC, datetime

__all__ = ["now"]


def now() -> str:
    """The present as RFC 3339 in UTC, always with microseconds: as text it sorts as in time."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
