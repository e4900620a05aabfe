"""How much of its training a job did again after each attempt that was lost, as its log tells."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from chainrule import LogLine
from chainrule.records import Metric

__all__ = ["Redone", "longest_write_s", "never_resumed", "redone"]

EPOCH = re.compile(r"epoch ([\d,]+) of ")
WRITTEN = re.compile(r"the checkpoint of step [\d,]+ is written: .* in ([\d.,]+) s")
BEGINS = re.compile(r"resumes from the checkpoint of step ([\d,]+)|starts from the beginning")
MANY = 5  # attempts


class Redone(NamedTuple):
    """What an attempt did again of what those before it had done."""

    seconds: float
    from_checkpoint: bool
    """Else from the beginning, as there was no checkpoint yet."""


def redone(lines: Sequence[LogLine], metrics: Sequence[Metric], steps_per_epoch: int) -> Iterator[Redone]:
    """Of each attempt before which an epoch had been told: the seconds of training between where it began and the last
    of those. An epoch is told once, when it was first done; `metrics` has how long the job had trained then."""
    trained_s = {0: 0.0} | {metric["epoch"]: metric["elapsed_s"] for metric in metrics}
    last = 0
    for line in lines:
        if epoch := EPOCH.match(line.message):
            last = int(epoch[1].replace(",", ""))
        elif last and (begins := BEGINS.search(line.message)):
            kept = 0 if begins[1] is None else int(begins[1].replace(",", "")) // steps_per_epoch
            if kept in trained_s and last in trained_s:
                yield Redone(max(0.0, trained_s[last] - trained_s[kept]), from_checkpoint=begins[1] is not None)


def never_resumed(found: Sequence[Redone]) -> bool:
    """Whether many attempts began anew and none found a checkpoint: few may all have been lost before the first one."""
    return len(found) >= MANY and not any(each.from_checkpoint for each in found)


def longest_write_s(lines: Sequence[LogLine]) -> float:
    """Of the job's checkpoints, the seconds that the longest took to write; a job that dies loses as much besides."""
    found = (WRITTEN.match(line.message) for line in lines)
    return max((float(written[1].replace(",", "")) for written in found if written), default=0.0)
