"""Kills a service and starts it again, while a job trains and small ones are submitted."""

import threading
import time
from collections.abc import Callable

from chainrule import ChainruleError, Client
from chaos.disturbances import Disturbed, disturb
from chaos.records import Finding
from chaos.service import Service
from chaos.tally import Tally

__all__ = ["Restarts"]

STARTS_IN_S = 5.0  # about; kills while it starts come within this time
SMALL_EPOCHS = 2
SUBMITS = 3  # before and while it is killed
SUBMIT_S = 0.02  # about; kills come within this time after the first submit was acknowledged, so that some cut one


class Restarts:
    """Disturbs by `kill`, and starts again, until the tally is full."""

    def __init__(self, service: Service, tally: Tally, kill: Callable[[Service], None]) -> None:
        self._service, self._tally, self._kill = service, tally, kill
        self._draw = service.run.draw
        self._small = service.spec(SMALL_EPOCHS, workers=1, priority=-1)
        self._acknowledged: list[str] = []
        self._while_starting = 0

    def finding(self) -> Finding:
        """Makes the experiment."""
        digest = self._service.undisturbed(self._small)
        disturb(self._service, self._tally, self._kill_and_start)
        for job_id in self._acknowledged:
            self._tally.ends(job_id, digest)
        starting = f"{self._while_starting} kills came while it started, before it had recovered from the one before"
        small = f"{len(self._acknowledged)} small jobs were acknowledged just before a kill"
        return self._tally.finding(notes=[starting, small])

    def _kill_and_start(self, job_id: str) -> Disturbed:
        first = threading.Event()
        submitting = threading.Thread(target=self._submit, args=(first,), name="submits", daemon=True)
        submitting.start()
        first.wait()
        time.sleep(self._draw.uniform(0.0, SUBMITS * SUBMIT_S))
        killed_at = self._killed()
        submitting.join()
        while self._tally.disturbances + 1 < self._tally.wanted and self._draw.random() < 0.5:
            self._service.start()
            time.sleep(self._draw.uniform(0.0, STARTS_IN_S))
            killed_at = self._killed()
            self._tally.count()
            self._while_starting += 1
        return Disturbed(killed_at, self._service.start_again(job_id))

    def _killed(self) -> float:
        killed_at = time.monotonic()
        self._kill(self._service)
        return killed_at

    def _submit(self, first: threading.Event) -> None:
        with Client(self._service.url, timeout_s=5.0) as client:
            for _ in range(SUBMITS):
                try:
                    self._acknowledged.append(client.submit(self._small).id)
                except ChainruleError:
                    break  # not acknowledged: whether it is there is open
                finally:
                    first.set()
