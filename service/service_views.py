"""What the API answers on the service itself, every field described."""

from typing import Annotated, Literal

from pydantic import Field

from service.views import View

__all__ = ["ClusterInfo", "ClusterNode", "Status", "VersionInfo"]


class ClusterNode(View):
    """One machine of the cluster."""

    id: Annotated[str, Field(examples=["3f2a…"])]
    """Made by Ray."""
    address: Annotated[str, Field(examples=["127.0.0.1"])]
    """Where the cluster reaches it."""
    cpus: Annotated[float, Field(examples=[2.0])]
    """CPUs that it offers."""
    cpus_free: Annotated[float, Field(examples=[0.0])]
    """Those of them that no job holds."""
    memory_bytes: Annotated[int, Field(examples=[8_000_000_000])]
    """Memory that it offers."""
    blas_kernel: Annotated[str | None, Field(examples=["SkylakeX"])]
    """What its matrix products run on; null until it is known."""


class ClusterInfo(View):
    """The machines that train."""

    nodes: list[ClusterNode]
    """Those that are alive."""
    cpus: Annotated[int, Field(examples=[2])]
    """CPUs in all."""
    cpus_free: Annotated[int, Field(examples=[0])]
    """CPUs that no job holds."""
    blas_kernel: Annotated[str | None, Field(examples=["SkylakeX"])]
    """The kernel of all nodes; null when they differ, or it is not known yet."""


class VersionInfo(View):
    """Which service answers."""

    version: Annotated[str, Field(examples=["0.1.0"])]
    """Of Chainrule."""
    api: Annotated[str, Field(examples=["v1"])]
    """Of the API, the beginning of its paths."""
    python: Annotated[str, Field(examples=["3.11.9"])]
    """Of the Python that runs it."""
    ray: Annotated[str, Field(examples=["2.60.0"])]
    """Of the Ray that runs its jobs."""


class Status(View):
    """All is well."""

    status: Literal["alive", "ready"]
    """What was asked for."""
