"""Where a job that waits stands, in words."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chainrule.records import QueuePlace

__all__ = ["ordinal", "place_text"]


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, … 11th, … 21st."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


def place_text(place: "QueuePlace", now: datetime | None = None) -> str:
    """`3rd in the queue, starts about 14:05`, in local time; `now` is for tests."""
    where = f"{ordinal(place.position)} in the queue"
    if place.estimated_start_at is None:
        return where
    start = place.estimated_start_at.astimezone()
    is_near = start - (now or datetime.now().astimezone()) < timedelta(hours=12)
    return f"{where}, starts about {start:{'%H:%M' if is_near else '%Y-%m-%d %H:%M'}}"
