"""What the API answers of a job's log."""

from typing import Annotated

from pydantic import Field

from service.job_log import Level
from service.views import NextCursor, Time, View

__all__ = ["LogLine", "LogPage"]


class LogLine(View):
    """One line of a job's log."""

    seq: Annotated[int, Field(examples=[7])]
    """Its number: larger than that of the line before, though not always by one."""
    at: Time | None
    """When it happened, by the clock of who tells it; null for some lines from before the service kept that."""
    level: Level
    """`warning` where something was lost or goes wrong, `error` for why the job failed."""
    source: Annotated[str, Field(examples=["coordinator"])]
    """Who tells it: `control_plane`, or the attempt's `coordinator`."""
    message: Annotated[str, Field(examples=["the checkpoint of step 1,068 is written: 0.1 MB in 0.01 s"])]
    """What happened, in words."""
    attempt: Annotated[int, Field(ge=1, examples=[1])]
    """The attempt that the job was at."""


class LogPage(View):
    """A job's log, oldest line first."""

    items: list[LogLine]
    """One page of its lines."""
    next_cursor: NextCursor
