"""What a job is shown in while one waits for it, and which of these fits where the program runs."""

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from chainrule.errors import ChainruleError
from chainrule.records import JobRecord

__all__ = ["View", "view_of"]


class View(Protocol):
    """What shows a job's events; open as long as it is followed."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def waits(self, job: JobRecord) -> None:
        """It waits for CPUs, and stands there now."""

    def show(self, kind: str, data: Mapping[str, Any]) -> None:
        """Takes in one event."""

    def broken(self, error: ChainruleError) -> None:
        """The connection broke; it is tried again."""

    def end(self, job: JobRecord) -> None:
        """The job has ended like this."""


def view_of(job: JobRecord, progress: bool | None) -> View | None:
    """A notebook's view in one, a bar in a terminal; elsewhere None, or lines on stderr where `progress` is True."""
    if progress is False:
        return None
    if _in_notebook():
        from chainrule.notebook import NotebookView

        return NotebookView(job)
    if progress or sys.stderr.isatty():
        from chainrule.show import make_console
        from chainrule.watch import view_on

        return view_on(job, make_console(stderr=True))
    return None


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this; IPython is not imported to find out."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")
