"""What outlives its control plane on a cluster that runs already: found again, or put away."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import ray
import ray.exceptions

from workers.on_ray import seats
from workers.on_ray.running_job import STARTS_WITHIN_S
from workers.on_ray.silence import Silences
from workers.on_ray.spares import Spares

__all__ = ["Keeper", "attempts"]

GREETS_EVERY_S = 3.0
LOOKS_EVERY_S = 60.0
# At which an attempt does not answer that has died: they span more than one may take to be placed and to start, before
# which it does not answer, and more than whoever follows it allows it to be too busy to.
LOOKS = 2 + math.ceil((seats.PLACED_WITHIN_S + STARTS_WITHIN_S) / LOOKS_EVERY_S)
ANSWERS_WITHIN_S = 5.0
LISTENS_S = 0.1  # between two looks at who has answered

log = logging.getLogger(__name__)


def attempts(
    within_s: float = ANSWERS_WITHIN_S, enough: Callable[[Iterable[str]], bool] = lambda names: False
) -> dict[str, Any]:
    """The attempts that run, or have ended without anybody's notice: the coordinator of each that answers, by its
    name. Others are not waited for once those that have answered are `enough`."""
    asked: dict[Any, Any] = {}
    for name in ray.util.list_named_actors():
        try:
            process = ray.get_actor(name)
        except ValueError:  # it has just died
            continue
        asked[process.attempt.remote()] = process
    found: dict[str, Any] = {}
    silent, until = list(asked), time.monotonic() + within_s
    while silent and not enough(found) and time.monotonic() < until:
        ready, silent = ray.wait(silent, num_returns=len(silent), timeout=LISTENS_S)
        for answer in ready:
            try:
                attempt = ray.get(answer)
            except ray.exceptions.RayError:
                continue
            if attempt is not None:
                found[attempt] = asked[answer]
    return found


class Keeper:
    """A thread that tells the spares that they are needed, and gives back CPUs that an attempt left held which has died
    while nobody followed it."""

    def __init__(self, spares: Spares) -> None:
        self._spares, self._silences = spares, Silences(LOOKS)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        looks_at = time.monotonic() + LOOKS_EVERY_S
        while not self._stopping.wait(GREETS_EVERY_S):
            try:
                self._spares.greet()
                if time.monotonic() >= looks_at:
                    self._put_away()
                    looks_at = time.monotonic() + LOOKS_EVERY_S
            except (ray.exceptions.RayError, ConnectionError):
                log.warning("the cluster does not answer", exc_info=True)

    def _put_away(self) -> None:
        """Removes the placement groups of attempts that have died."""
        groups = seats.groups()
        died = self._silences.look(groups.values(), attempts())
        for name, attempt in groups.items():
            if attempt in died:
                log.warning("the CPUs of %s are given back: its attempt has died", name)
                seats.remove(name)
