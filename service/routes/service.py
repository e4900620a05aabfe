"""How the service itself is: alive, ready, on which machines, of which version."""

import platform
from dataclasses import asdict
from importlib.metadata import version

from fastapi import APIRouter

from service.auth import OPEN, Reader
from service.openapi import errors
from service.routes.parameters import Control
from service.service_views import ClusterInfo, ClusterNode, Status, VersionInfo
from shared.errors import Unavailable

router = APIRouter(tags=["service"])


@router.get("/healthz", dependencies=[OPEN], responses=errors(422))
async def healthz() -> Status:
    """Say that the service is alive; it may still be starting."""
    return Status(status="alive")


@router.get("/readyz", dependencies=[OPEN], responses=errors(422, 503))
def readyz(control: Control) -> Status:
    """Say whether jobs are taken and run; if not, 503 and why."""
    problems = control.problems()
    if problems:
        raise Unavailable("; ".join(problems))
    return Status(status="ready")


@router.get("/v1/cluster", responses=errors(422, 503))
def get_cluster(_who: Reader, control: Control) -> ClusterInfo:
    """Show the machines that train: nodes, CPUs, how many are free, BLAS kernels."""
    state = control.cluster_state()
    kernels = {node.blas_kernel for node in state.nodes}
    return ClusterInfo(
        nodes=[ClusterNode(**asdict(node), cpus_free=state.free_by_node[node.id]) for node in state.nodes],
        cpus=state.cpus,
        cpus_free=state.cpus_free,
        blas_kernel=kernels.pop() if len(kernels) == 1 else None,
    )


@router.get("/v1/version", dependencies=[OPEN], responses=errors(422))
async def get_version() -> VersionInfo:
    """Show which service this is."""
    return VersionInfo(
        version=version("chainrule-service"), api="v1", python=platform.python_version(), ray=version("ray")
    )
