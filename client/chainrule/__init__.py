"""Chainrule's client: train neural networks through a Chainrule service, from Python or from the command line.

>>> from chainrule import Client
>>> client = Client("http://127.0.0.1:8400")
>>> job = client.train("adult.csv", target="income", layers=[64, 32], epochs=20, validation={"fraction": 0.1})
>>> job.wait().parameters_sha256
>>> job.model().predict([{"age": 39, "workclass": "State-gov"}])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chainrule.aio.client import AsyncClient
    from chainrule.aio.job import AsyncJob
    from chainrule.client import Client
    from chainrule.errors import (
        ChainruleError,
        Conflict,
        FieldProblem,
        Forbidden,
        InvalidFile,
        InvalidInput,
        InvalidSignature,
        NotEnded,
        NotFound,
        Refused,
        ServiceError,
        Unauthorized,
        Unavailable,
        Unreachable,
    )
    from chainrule.job import Job
    from chainrule.model import Model
    from chainrule.records import TERMINAL_STATES, Dataset, Event, LogLine, Prediction
    from chainrule.signatures import verify_webhook

__version__ = "0.1.0"

__all__ = [
    "TERMINAL_STATES",
    "AsyncClient",
    "AsyncJob",
    "ChainruleError",
    "Client",
    "Conflict",
    "Dataset",
    "Event",
    "FieldProblem",
    "Forbidden",
    "InvalidFile",
    "InvalidInput",
    "InvalidSignature",
    "Job",
    "LogLine",
    "Model",
    "NotEnded",
    "NotFound",
    "Prediction",
    "Refused",
    "ServiceError",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "__version__",
    "verify_webhook",
]

_HOME = {
    "AsyncClient": "aio.client",
    "AsyncJob": "aio.job",
    "Client": "client",
    "Job": "job",
    "Model": "model",
    "verify_webhook": "signatures",
    **dict.fromkeys(("TERMINAL_STATES", "Dataset", "Event", "LogLine", "Prediction"), "records"),
}  # the others are errors


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for: `chainrule serve` must start without loading HTTP and more."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME.get(name, 'errors')}"), name)
