"""`make fuzz`: 20,000 requests of all sorts to a real service, and every answer must be what the document says."""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime
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
SCOPES = ("admin", "submit", "read")  # of the keys, by turns
REPORT = Path(__file__).with_name("report.md")


def main(arguments: list[str]) -> int:
    """Makes rounds, by turns with a key of each scope, until there are enough cases, and writes what they found into
    fuzz/report.md; the exit code is 1 when a round has found something."""
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
        rounds = _rounds(service, seed, enough, folder)
        print(f"the service ended in {service.stop():.1f} s")
        unforeseen = service.log.read_text(errors="replace").count("Traceback")
        shutil.copyfile(service.log, folder / "service.log")
    cases, failed = sum(each.cases for each in rounds), sum(each.failed for each in rounds)
    REPORT.write_text(report(rounds, unforeseen, datetime.now(UTC).date()), "utf-8")
    print(f"{cases:,} requests: {failed} failures, {unforeseen} exceptions in the log; {REPORT} says more")
    print(f"the rounds' own reports are in {folder}")
    return int(failed > 0 or unforeseen > 0)


def _rounds(service: ServiceProcess, first: int, enough: int, folder: Path) -> list[Round]:
    """What each round has found."""
    admin = (service.data_dir / "admin.key").read_text().strip()
    rounds: list[Round] = []
    with httpx.Client(base_url=service.url, timeout=60.0, trust_env=False) as http:
        http.headers["Authorization"] = f"Bearer {admin}"
        own = http.get("/v1/session").raise_for_status().json()["key"]["id"]
        others = [
            http.post("/v1/keys", json={"name": "fuzzing", "scopes": [scope]}).raise_for_status().json()
            for scope in SCOPES[1:]
        ]
        keys = [admin, *(other["key"] for other in others)]
        for seed in count(first):
            seeded, began = Seeded.at(http, own, *(other["id"] for other in others)), time.monotonic()
            turn = (seed - first) % len(keys)
            rounds.append(fuzzed(service.url, keys[turn], seeded, seed, EXAMPLES, folder))
            cases = sum(each.cases for each in rounds)
            _tell(rounds[-1], SCOPES[turn], time.monotonic() - began, cases)
            if cases >= enough:
                return rounds
    raise AssertionError("there is always a next seed")


def report(rounds: Sequence[Round], unforeseen: int, day: date) -> str:
    """What the rounds found, by route, as Markdown."""
    routes = sorted({route for each in rounds for route in each.right})
    lines = [
        "# The last `make fuzz`",
        "",
        f"{day}, seeds {rounds[0].seed} to {rounds[-1].seed}, by turns with a key of the scope {', '.join(SCOPES)}: "
        f"{sum(each.cases for each in rounds):,} requests, {sum(each.failed for each in rounds)} failures, "
        f"{unforeseen} exceptions in the log. Of the requests that are right by the document, by route; the others are "
        "wrong ones, which no route may take:",
        "",
        "| route | right requests | taken |",
        "|---|---|---|",
    ]
    for route in routes:
        right, taken = (sum(found.get(route, 0) for found in each) for each in _columns(rounds))
        lines.append(f"| `{route}` | {right:,} | {taken:,} |")
    failures = [f"\n## Seed {each.seed}\n\n```\n{each.said}\n```" for each in rounds if each.failed]
    return "\n".join([*lines, *failures, ""])


def _columns(rounds: Sequence[Round]) -> tuple[list[dict[str, int]], list[dict[str, int]]]:
    return [each.right for each in rounds], [each.accepted for each in rounds]


def _tell(found: Round, scope: str, took_s: float, cases: int) -> None:
    if found.failed:
        print(found.said)
    told = f"seed {found.seed}, with a key of the scope {scope}: {found.cases:,} requests in {took_s:.0f} s"
    print(f"{told}, {found.failed} failures; {cases:,} in all", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
