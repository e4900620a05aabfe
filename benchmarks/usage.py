"""What a process takes of the machine, as Linux tells it."""

import os
from pathlib import Path

__all__ = ["cpu_s", "memory_bytes"]


def cpu_s(process_id: int) -> float:
    """Seconds of CPU time that it has had so far, its threads' included."""
    told = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


def memory_bytes(process_id: int) -> int:
    """Its share of the memory (PSS): what it has for itself, and its part of what it shares with others."""
    lines = Path(f"/proc/{process_id}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
