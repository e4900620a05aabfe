"""Which OpenBLAS kernel this machine's CPU can run, chosen before numpy is imported.

OpenBLAS takes some AVX-512 CPUs for a Haswell and then leaves half of their speed unused. The kernel is chosen from the
CPU's own flags, never on a guess: a wrong one is an illegal instruction.
"""

import os
import platform
from collections.abc import Mapping, MutableMapping
from importlib.metadata import version
from pathlib import Path

__all__ = ["describe", "environment_for", "kernel_for", "kernel_in_use", "prepare_process"]

SKYLAKE_X = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma"})


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The CPU's feature flags as Linux tells them; empty where they cannot be read."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), []))


def kernel_for(flags: frozenset[str]) -> str | None:
    """The kernel to ask OpenBLAS for, or None to leave the choice to it."""
    return "SkylakeX" if flags >= SKYLAKE_X else None


def environment_for(flags: frozenset[str], present: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables for a process that computes: one BLAS thread (shards are the parallelism), and the kernel.

    A kernel that is already asked for in the environment is left as it is: that is how one is forced.
    """
    variables = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    kernel = kernel_for(flags)
    if kernel is not None and "OPENBLAS_CORETYPE" not in present:
        variables["OPENBLAS_CORETYPE"] = kernel
    return variables


def prepare_process(environ: MutableMapping[str, str] = os.environ) -> None:
    """Sets up BLAS for this process; must come before the first import of numpy."""
    environ.update(environment_for(cpu_flags(), environ))


def kernel_in_use() -> str:
    """The kernel that this process's numpy runs, as OpenBLAS names it; "unknown" with another BLAS."""
    import numpy as np  # noqa: F401  (loads the library that is then inspected)
    import threadpoolctl

    found = [info.get("architecture") for info in threadpoolctl.threadpool_info() if info.get("user_api") == "blas"]
    return next((str(name) for name in found if name), "unknown")


def describe() -> dict[str, str]:
    """What a result's bits depend on besides spec and data, for the job's `environment`."""
    return {
        "blas_kernel": kernel_in_use(),
        "version": version("chainrule-service"),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "machine": platform.machine(),
    }
