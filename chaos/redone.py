"""How much of its training a job did again after each attempt that was lost, as its log tells."""

import re
from collections.abc import Iterator, Sequence

from chainrule import LogLine
from chainrule.records import Metric

__all__ = ["longest_write_s", "redone_s"]

EPOCH = re.compile(r"epoch ([\d,]+) of ")
WRITTEN = re.compile(r"the checkpoint of step [\d,]+ is written: .* in ([\d.,]+) s")
RESUMES = re.compile(r"resumes from the checkpoint of step ([\d,]+)")


def redone_s(lines: Sequence[LogLine], metrics: Sequence[Metric], steps_per_epoch: int) -> Iterator[float]:
    """Of each attempt that went on from a checkpoint: the seconds of training between that and the last epoch that was
    told before. An epoch is told once, when it was first done; `metrics` has how long the job had trained then."""
    trained_s = {0: 0.0} | {metric["epoch"]: metric["elapsed_s"] for metric in metrics}
    last = 0
    for line in lines:
        if epoch := EPOCH.match(line.message):
            last = int(epoch[1].replace(",", ""))
        elif resumes := RESUMES.search(line.message):
            kept = int(resumes[1].replace(",", "")) // steps_per_epoch
            if kept in trained_s and last in trained_s:
                yield max(0.0, trained_s[last] - trained_s[kept])


def longest_write_s(lines: Sequence[LogLine]) -> float:
    """Of the job's checkpoints, the seconds that the longest took to write; a job that dies loses as much besides."""
    found = (WRITTEN.match(line.message) for line in lines)
    return max((float(written[1].replace(",", "")) for written in found if written), default=0.0)
