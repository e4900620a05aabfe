"""One attempt at a job on Ray, as the control plane follows it: its processes, on seats that it holds."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import ray
import ray.exceptions

from workers.failures import death_of, loss_by
from workers.job import AttemptLost, Report, StopRequest, TrainingJob, TransportName
from workers.kernel_kills import KernelKills
from workers.on_ray.crew import Member, end_process
from workers.on_ray.results import first_line, result
from workers.on_ray.seats import GroupedSeats, Seats
from workers.on_ray.spares import Spares
from workers.vacancies import Vacancies

__all__ = ["RayRunningJob"]

STARTS_WITHIN_S = 180.0  # for a coordinator to answer at first; ten processes take a minute to start on two busy cores
ANSWERS_WITHIN_S = 10.0  # later; one that hangs is given up, and its job trains again, within 15 s
FORGETS_WITHIN_S = 10.0


class RayRunningJob:
    """Made by `RayCluster`.

    Its processes are numbered from 0, the coordinator, which with the direct transport is the first worker too. Who is
    lost or asked to leave is told by the coordinator, and replaced as long as its seat is held.
    """

    def __init__(
        self, attempt: str, spares: Spares, transport: TransportName, seats: Seats, cpus: int, members: Sequence[Member]
    ) -> None:
        self._attempt, self._spares, self._transport, self._seats = attempt, spares, transport, seats
        self._lock = threading.RLock()
        self._has_answered = self._ended_well = self._closed = False
        self._cpus = self._held = cpus  # that it is to have; seats that it has
        self._members = {member.number: member for member in members}
        self._heard = 0  # the last report that was acted on
        self._silent_s = 0.0  # for which the coordinator has not answered
        self._kernel = KernelKills()  # of this machine, on which an embedded cluster's processes are
        self._vacancies = Vacancies()

    @classmethod
    def begun(
        cls, attempt: str, job: TrainingJob, spares: Spares, transport: TransportName, seats: Seats
    ) -> "RayRunningJob":
        """A new attempt. Raises NotPlaced, AttemptLost."""
        running = cls(attempt, spares, transport, seats, job.workers, [])
        try:
            seats.open(job.workers, min(job.workers, job.plan.spec.workers.min))
            others = [running._hire(number) for number in range(running._processes())][1:]
            there = [member for member in others if member is not None]
            running._coordinator.run.remote(attempt, job, there, transport)
        except BaseException:
            running.close()
            raise
        return running

    @classmethod
    def found(
        cls, attempt: str, coordinator: Any, spares: Spares, transport: TransportName, seats: GroupedSeats
    ) -> "RayRunningJob":
        """An attempt that somebody else has begun. Raises AttemptLost if its coordinator dies now."""
        members = result(coordinator.members.remote(attempt), ANSWERS_WITHIN_S)
        return cls(attempt, spares, transport, seats, len(seats), members)

    @property
    def _coordinator(self) -> Any:
        return self._members[0].process

    def _processes(self) -> int:
        """How many there are to be. Plain Ray calls do not compute in the coordinator's, which shares a seat then."""
        return self._cpus + (self._transport == "ray")

    def _hire(self, number: int) -> Member | None:
        """A process for that number, if its seat is on a node by now."""
        node_id = self._seats.node_of(number if self._transport == "direct" else max(0, number - 1))
        if node_id is None:
            return None
        self._members[number] = Member(number, node_id, self._spares.process(node_id))
        return self._members[number]

    # ------------------------------------------------------------ following it
    def reports(self, after: int, wait_s: float) -> list[Report]:
        found = self._told(after, wait_s)
        with self._lock:
            for report in found:
                if report.type == "started" and self._transport == "direct":
                    there = [self._members[number] for number in report.data["members"] if number in self._members]
                    report.data["nodes"] = [member.node_id for member in there]
                if report.type == "workers":
                    in_vain = report.data.pop("in_vain", ())  # a coordinator of an older version does not know
                    if report.number > self._heard:  # who asks again for a report gets it again
                        self._take_leave(report.data["gone"], in_vain)
                    report.data["cpus"] = self._held
                self._heard = max(self._heard, report.number)
            self._fill()
        return found

    def _told(self, after: int, wait_s: float) -> list[Report]:
        patience_s = ANSWERS_WITHIN_S if self._has_answered else STARTS_WITHIN_S
        asked_at = time.monotonic()
        self._kernel.look()
        try:
            told = ray.get(self._coordinator.reports.remote(self._attempt, after, wait_s), timeout=wait_s + patience_s)
            self._has_answered, self._silent_s = True, 0.0
            found = [Report(*each) for each in told]
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            died = isinstance(cause, ray.exceptions.RayError)
            raise death_of("a process of the job", str(cause)) if died else loss_by(cause) from error
        except ray.exceptions.RayActorError as error:
            raise death_of("the job's coordinator", str(error), starved=self._kernel.lately()) from error
        except ray.exceptions.GetTimeoutError as error:
            self._silent_s += time.monotonic() - asked_at
            if self._silent_s < STARTS_WITHIN_S and self._members[0].is_busy():  # a machine with too much to do
                return []
            raise AttemptLost(f"the job's coordinator has not answered for {self._silent_s:.0f} s") from error
        except ray.exceptions.RayError as error:
            raise AttemptLost(f"the job's coordinator does not answer: {first_line(error)}") from error
        self._ended_well |= bool(found) and found[-1].type == "ended"
        return found

    def _take_leave(self, gone: Sequence[int], in_vain: Sequence[int] = ()) -> None:
        """Of those who left the coordinator, lost or as they were asked to; some `in_vain`, as they never computed."""
        for number in gone:
            member = self._members.pop(number, None)
            if member is None:  # it had gone before this attempt was found
                continue
            was_asked = number >= self._cpus
            if not was_asked:
                self._vacancies.lost(number, in_vain=number in in_vain)
            self._give(member, self._forgetful([member]) if was_asked else [])
        while self._held > self._cpus and self._held - 1 not in self._members:
            self._seats.drop()
            self._held -= 1

    def _fill(self) -> None:
        """Hires for seats that nobody has."""
        empty = [number for number in range(self._processes()) if number not in self._members]
        if empty and not self._closed and (due := self._vacancies.due(empty)):
            hired = [member for number in due if (member := self._hire(number)) is not None]
            self._coordinator.join.remote(self._attempt, hired)

    # ------------------------------------------------------------ telling it
    def request(self, stop: StopRequest) -> None:
        if not self._closed:
            self._coordinator.request.remote(self._attempt, stop)

    def resize(self, workers: int) -> None:
        """With plain Ray calls an attempt cannot change its size, and does not report."""
        with self._lock:
            if self._closed or self._transport == "ray":
                return
            grows, leaving = workers > self._cpus, list(range(workers, self._cpus))
            self._cpus = workers
            while self._held < workers:
                self._seats.add()
                self._held += 1
            if not grows:  # else it reports when others have joined
                self._coordinator.dismiss.remote(self._attempt, leaving)

    def process_ids(self) -> dict[str, list[int]]:
        """The operating system's ids of the attempt's processes, by what they are."""
        with self._lock:
            coordinator, *workers = [self._members[number] for number in sorted(self._members)]
        return {"coordinator": [ray.get(coordinator.started)], "workers": [ray.get(each.started) for each in workers]}

    # ------------------------------------------------------------ ending it
    def leave(self) -> None:
        with self._lock:
            if isinstance(self._seats, GroupedSeats):
                self._closed = True
        self.close()

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            members = list(self._members.values())
            kept = self._forgetful(members) if self._ended_well else []
            for member in members:
                self._give(member, kept)
            self._seats.close()

    def _give(self, member: Member, kept: Sequence[Member]) -> None:
        """Keeps a process as a spare if it has dropped the job; nobody knows in what state another is."""
        if member in kept:
            self._spares.give(member.node_id, member.process, started=True)
        else:
            end_process(member)
            self._spares.replace(member.node_id)

    @staticmethod
    def _forgetful(members: Sequence[Member]) -> list[Member]:
        """Those that have dropped the job. Waited for, as Ray keeps no order between calls of this process and those of
        the next job's coordinator."""
        dropped = {member.process.forget.remote(): member for member in members}
        ready, _ = ray.wait(list(dropped), num_returns=len(dropped), timeout=FORGETS_WITHIN_S)
        return [dropped[answer] for answer in ready if _has_succeeded(answer)]


def _has_succeeded(answer: Any) -> bool:
    """Whether a call that is over did what it was to: not where its process has died."""
    try:
        ray.get(answer)
    except ray.exceptions.RayError:
        return False
    return True
