"""`make fuzz`: 20,000 requests of all sorts to a real service, and every answer must be what the document says."""

import argparse
import shutil
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

import httpx

from benchmarks.command import interrupt_on_signals
from examples.service_process import ServiceProcess
from fuzz.round import Round, fuzzed
from fuzz.table import WEBHOOK_HOST, Seeded

CASES = 20_000
EXAMPLES = 10  # of an operation and phase in one round: the coverage phase makes 800 requests by itself
READY_WITHIN_S = 300.0  # on a machine on which much else runs
SUBMITTER = {"name": "fuzzing", "scopes": ["submit"]}


def main(arguments: list[str]) -> int:
    """Makes rounds, by turns with an admin's key and with one that may submit, until there are enough cases; the exit
    code is 1 when a round has found something."""
    options = argparse.ArgumentParser("fuzz", description=__doc__)
    options.add_argument("--cases", type=int, default=CASES, help=f"how many requests, at least [{CASES:,}]")
    options.add_argument("--seed", type=int, default=1, help="of the first round; each round has the next one [1]")
    options.add_argument("--into", type=Path, help="keep the reports in this folder")
    given = options.parse_args(arguments)
    folder = given.into or Path(tempfile.mkdtemp(prefix="chainrule-fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    interrupt_on_signals()
    try:
        return _fuzzed(given.seed, given.cases, folder)
    except KeyboardInterrupt:
        print(f"interrupted; reports in {folder}")
        return 130


def _fuzzed(seed: int, enough: int, folder: Path) -> int:
    with ServiceProcess("--webhook-hosts", WEBHOOK_HOST) as service:
        service.ready_within_s = READY_WITHIN_S
        service.wait_until_ready()
        cases, failed = _rounds(service, seed, enough, folder)
        print(f"the service ended in {service.stop():.1f} s")
        unforeseen = service.log.read_text(errors="replace").count("Traceback")
        shutil.copyfile(service.log, folder / "service.log")
    print(f"{cases:,} requests: {failed} failures, {unforeseen} exceptions in the log; reports in {folder}")
    return int(failed > 0 or unforeseen > 0)


def _rounds(service: ServiceProcess, first: int, enough: int, folder: Path) -> tuple[int, int]:
    """How many cases there were, and how many of the rounds' findings."""
    admin = (service.data_dir / "admin.key").read_text().strip()
    cases = failed = 0
    with httpx.Client(base_url=service.url, timeout=60.0, trust_env=False) as http:
        http.headers["Authorization"] = f"Bearer {admin}"
        own = http.get("/v1/session").raise_for_status().json()["key"]["id"]
        submitter = http.post("/v1/keys", json=SUBMITTER).raise_for_status().json()
        for seed in count(first):
            seeded, began = Seeded.at(http, own, submitter["id"]), time.monotonic()
            key = admin if seed % 2 else submitter["key"]
            found = fuzzed(service.url, key, seeded, seed, EXAMPLES, folder)
            cases, failed = cases + found.cases, failed + found.failed
            _tell(found, time.monotonic() - began, cases)
            if cases >= enough:
                return cases, failed
    raise AssertionError("there is always a next seed")


def _tell(found: Round, took_s: float, cases: int) -> None:
    if found.failed:
        print(found.said)
    whose = "an admin" if found.seed % 2 else "one who may submit"
    told = f"seed {found.seed}, as {whose}: {found.cases:,} requests in {took_s:.0f} s, {found.failed} failures"
    print(f"{told}; {cases:,} in all", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
