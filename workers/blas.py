"""Which OpenBLAS kernel this machine's CPU can run, chosen before numpy is imported.

OpenBLAS takes some AVX-512 CPUs for a Haswell and then leaves half of their speed unused. The kernel is chosen from the
CPU's own flags, never on a guess: a wrong one is an illegal instruction. Bits depend on the kernel, so on a cluster of
different CPUs one that all can run may be asked for by name (CHAINRULE_BLAS_KERNEL).
"""

import os
import platform
from collections.abc import Mapping, MutableMapping
from importlib.metadata import version
from pathlib import Path

__all__ = ["ASKED_FOR", "KERNELS", "describe", "environment_for", "kernel_for", "kernel_in_use", "prepare_process"]

ASKED_FOR = "CHAINRULE_BLAS_KERNEL"  # the variable that names a kernel for every process of a cluster
SKYLAKE_X = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma"})
# The kernels of the OpenBLAS in numpy's wheels that may be asked for, and what a CPU must have to run them.
KERNELS = {
    "Nehalem": frozenset({"pni", "ssse3", "sse4_1", "sse4_2"}),
    "Sandybridge": frozenset({"pni", "ssse3", "sse4_1", "sse4_2", "avx"}),
    "Haswell": frozenset({"avx", "avx2", "fma"}),
    "SkylakeX": SKYLAKE_X,
}


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

    A kernel that was asked for by name is taken where the CPU can run it; one that the machine's own environment names
    (OPENBLAS_CORETYPE) is left as it is.
    """
    variables = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    asked = present.get(ASKED_FOR)
    if asked in KERNELS and flags >= KERNELS[asked]:
        return variables | {"OPENBLAS_CORETYPE": asked}
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
