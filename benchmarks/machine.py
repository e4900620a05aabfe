"""On what the figures were measured: the machine and the versions."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from workers.blas import cpu_flags, kernel_in_use

__all__ = ["describe", "load_average", "now"]

VECTORS = ("avx2", "avx512f")
PACKAGES = ("chainrule-service", "numpy", "numba", "ray", "pyarrow")


def describe() -> dict[str, str]:
    """What a reader must know of the machine to compare figures with those of another one."""
    flags = cpu_flags()
    return {
        "date": now(),
        "CPU": f"{_cpu('vendor_id')}: {_cpu('model name')}, family {_cpu('cpu family')}, model {_cpu('model')}",
        "vector units": ", ".join(f"{name} {'yes' if name in flags else 'no'}" for name in VECTORS),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "BLAS kernel": kernel_in_use(),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "niceness": str(os.nice(0)),
    }


def _cpu(field: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What Linux tells of the CPU; "unknown" where it does not."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return "unknown"
    parts = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in parts if name.strip() == field), "unknown")


def load_average() -> float:
    """How many processes wanted a core in the last minute, on average."""
    return os.getloadavg()[0]


def now() -> str:
    """The time, in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
