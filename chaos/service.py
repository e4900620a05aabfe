"""A service under fire: the real one, with its data set, and the jobs that experiments train on it."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chainrule import Client, Unavailable, Unreachable
from chaos.run import LeftBehind, Run
from examples.service_process import ServiceFailed, ServiceProcess

__all__ = ["Service", "running"]

WINE = Path(__file__).resolve().parents[1] / "examples" / "data" / "wine-quality-white.csv"
SPEC: dict[str, Any] = {
    "dataset": "wine",
    "target": "quality",
    "layers": [{"type": "dense", "units": 16, "activation": "silu"}, {"type": "dropout", "rate": 0.1}],
    "batch_size": 100,
    "validation": {"fraction": 0.1},
    "checkpoint": {"every_s": 0.2},
    "workers": 2,
}


class Service(ServiceProcess):
    """`chainrule serve` with a client; it keeps its address and its data when it is killed and started again."""

    ready_within_s = 180.0  # how quick it is, is measured elsewhere: here, other programs may have the cores

    def __init__(self, run: Run, *options: str, data_dir: Path | None = None) -> None:
        super().__init__(*options)
        self.run = run
        self.data_dir = data_dir or self.data_dir
        self.client = Client(self.url, timeout_s=30.0)

    def bearer(self) -> dict[str, str]:
        """What a request needs that the client does not make."""
        return {"Authorization": f"Bearer {self.client.key}"}

    def spec(self, epochs: int, **changes: Any) -> dict[str, Any]:
        """A job that takes about 13 ms an epoch where nothing else runs."""
        return {**SPEC, "epochs": epochs, **changes}

    def undisturbed(self, spec: Mapping[str, Any]) -> str:
        """The digest of that job when nothing happens on the way; trained once in all experiments."""
        key = json.dumps(spec, sort_keys=True)
        if key not in self.run.digests:
            self.run.say("trains undisturbed")
            job = self.client.wait(self.client.submit(spec).id)
            digest = job.parameters_sha256
            if digest is None:
                raise ServiceFailed(f"undisturbed, a job {job.state}: {job.reason}\n{self.log_tail()}")
            self.run.digests[key] = digest
        return self.run.digests[key]

    def start_again(self, job_id: str) -> float:
        """Starts the service once more; the moment at which it tells of the job. Raises ServiceFailed."""
        self.start()
        deadline = time.monotonic() + self.ready_within_s
        while time.monotonic() < deadline:
            try:
                self.client.job(job_id)
                return time.monotonic()
            except (Unreachable, Unavailable):
                time.sleep(0.02)  # a process that is starting has no event to wait for
        raise ServiceFailed(f"the service did not tell of {job_id} within {self.ready_within_s:g} s\n{self.log_tail()}")


@contextmanager
def running(run: Run, *options: str, data_dir: Path | None = None) -> Iterator[Service]:
    """A service that is ready for jobs, with its data set, and is stopped afterwards with all that it started. Its
    data folder is its own, or `data_dir`, which it may share with others.

    Raises ServiceFailed when it does not start, and LeftBehind.
    """
    run.say("starts the service")
    with Service(run, *options, data_dir=data_dir) as service, service.client:
        try:
            service.wait_until_ready()
            service.client.add_dataset(WINE, "wine")
            yield service
            run.say("stops the service")
            service.end()
            if left := service.processes():
                raise LeftBehind(f"the service left {len(left)} processes behind\n{service.log_tail()}")
        finally:
            run.keep(service.log)
