"""Chainrule's client: train neural networks through a Chainrule service, from Python or from the command line.

>>> from chainrule import Client
>>> client = Client("http://127.0.0.1:8400")
>>> client.add_dataset("adult.csv")
>>> job = client.submit({"dataset": "adult", "target": "income", "layers": [{"type": "dense", "units": 32}]})
>>> client.wait(job["id"])["parameters_sha256"]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chainrule.client import Client
    from chainrule.errors import (
        ChainruleError,
        Conflict,
        FieldProblem,
        Forbidden,
        InvalidFile,
        NotFound,
        Refused,
        ServiceError,
        Unauthorized,
        Unavailable,
        Unreachable,
    )
    from chainrule.records import TERMINAL_STATES, Event

__version__ = "0.1.0"

_HOME = {
    "Client": "client",
    "Event": "records",
    "TERMINAL_STATES": "records",
    **dict.fromkeys(
        (
            "ChainruleError",
            "Conflict",
            "FieldProblem",
            "Forbidden",
            "InvalidFile",
            "NotFound",
            "Refused",
            "ServiceError",
            "Unauthorized",
            "Unavailable",
            "Unreachable",
        ),
        "errors",
    ),
}

__all__ = [
    "TERMINAL_STATES",
    "ChainruleError",
    "Client",
    "Conflict",
    "Event",
    "FieldProblem",
    "Forbidden",
    "InvalidFile",
    "NotFound",
    "Refused",
    "ServiceError",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for: `chainrule serve` must start without loading HTTP and more."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
