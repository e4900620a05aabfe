"""How much of its training a job did again after each attempt that was lost, as its log tells."""

import re
from collections.abc import Iterator, Sequence

from chainrule import LogLine

__all__ = ["longest_write_s", "redone_s"]

EPOCH = re.compile(r"epoch ([\d,]+) of ")
WRITTEN = re.compile(r"the checkpoint of step [\d,]+ is written: .* in ([\d.,]+) s")
RESUMES = re.compile(r"resumes from the checkpoint of step ([\d,]+)")


def redone_s(lines: Sequence[LogLine], steps_per_epoch: int) -> Iterator[float]:
    """Of each attempt that went on from a checkpoint: the seconds of training, by the job's own times, between that and
    the last epoch that was told before. An epoch is told once, when it was first done."""
    done_at = {0: lines[0].at}
    last = 0
    for line in lines:
        if epoch := EPOCH.match(line.message):
            last = int(epoch[1].replace(",", ""))
            done_at[last] = line.at
        elif resumes := RESUMES.search(line.message):
            kept = int(resumes[1].replace(",", "")) // steps_per_epoch
            before, after = done_at.get(min(kept, last)), done_at[last]
            if before is not None and after is not None:
                yield max(0.0, (after - before).total_seconds())


def longest_write_s(lines: Sequence[LogLine]) -> float:
    """Of the job's checkpoints, the seconds that the longest took to write; a job that dies loses as much besides."""
    found = (WRITTEN.match(line.message) for line in lines)
    return max((float(written[1].replace(",", "")) for written in found if written), default=0.0)
