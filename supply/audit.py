"""`make audit`: what is known against the packages that we use, by whatever source of advisories can be reached.

A source that is not there, or that does not know of a vulnerability which everybody knows of, says nothing about ours:
then that is told, and is no failure.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supply.sbom import PAGE, ROOT

__all__ = ["KNOWN", "Verdict", "of_npm", "of_pip_audit", "verdict"]

SOURCES = ("pypi", "osv")
LOCKS = {"service": "requirements.lock", "what builds and tests it": "requirements-dev.lock"}
KNOWN = "jinja2==2.4.1"  # CVE-2014-1402 and others; a source that knows nothing of it has no advisories
WITHIN_S = 60

Json = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What one source says of one list of packages."""

    audited: int
    """Packages that it knows."""
    skipped: int
    """Those that it does not."""
    vulnerable: tuple[str, ...]
    """`name version: ids`."""


def main(arguments: Sequence[str]) -> int:
    """The exit code is 1 where anything is known against a package. Arguments: npm, if there is one, and then what is
    passed on to pip-audit (`--ignore-vuln ID`)."""
    npm = [argument for argument in arguments[:1] if not argument.startswith("-")]
    found: list[Verdict | None] = [*_service(arguments[len(npm) :])]
    if npm:
        found.append(_page(npm[0]))
    return int(any(verdict is not None and verdict.vulnerable for verdict in found))


def _service(options: Sequence[str]) -> list[Verdict]:
    for source in SOURCES:
        said = verdict(_pip_audit(source, f"{KNOWN} --hash=sha256:{'0' * 64}\n"), of_pip_audit)
        if isinstance(said, str) or not said.vulnerable:
            why = said if isinstance(said, str) else f"knows nothing against {KNOWN}, so it has no advisories"
            print(f"service: {source} {why}")
            continue
        return [_lock(what, lock, source, options) for what, lock in LOCKS.items()]
    print("service: NOT AUDITED: no source of advisories for Python's packages can be reached from here")
    return []


def _lock(what: str, lock: str, source: str, options: Sequence[str]) -> Verdict:
    said = verdict(_pip_audit(source, (ROOT / lock).read_text("utf-8"), *options), of_pip_audit)
    if isinstance(said, str):  # it answers, so that there is no excuse for not having asked
        sys.exit(f"{what}: NOT AUDITED, though {source} can be reached: it {said}")
    return _told(what, source, said)


def _page(npm: str) -> Verdict | None:
    said = verdict(_run([npm, "audit", "--json", "--package-lock-only"], PAGE), of_npm)
    if isinstance(said, str):
        print(f"page: npm's registry {said}")
        print("page: NOT AUDITED: no source of advisories for npm's packages can be reached from here")
        return None
    return _told("page", "npm's registry", said)


def _told(what: str, source: str, said: Verdict) -> Verdict:
    print(f"{what}: {source} knows {said.audited} packages, and {len(said.vulnerable)} vulnerable ones among them")
    if said.skipped:
        print(f"{what}: {said.skipped} packages were not audited, as {source} does not know them")
    for line in said.vulnerable:
        print(f"  {line}")
    return said


def verdict(output: str, read: Callable[[Json], Verdict]) -> Verdict | str:
    """What was said, or the reason for which nothing was."""
    try:
        return read(json.loads(output))
    except ValueError:
        last = (output.strip().splitlines() or ["nothing was said"])[-1]
        return f"gave no answer: {last[:300]}"
    except (LookupError, TypeError):
        return f"gave another answer than was asked for: {' '.join(output.split())[:300]}"


def of_pip_audit(told: Json) -> Verdict:
    """pip-audit's JSON. It skips what its source does not know, and calls that no vulnerability."""
    known = [each for each in told["dependencies"] if "skip_reason" not in each]
    vulnerable = [
        f"{each['name']} {each['version']}: {', '.join(vulnerability['id'] for vulnerability in each['vulns'])}"
        for each in known
        if each["vulns"]
    ]
    return Verdict(len(known), len(told["dependencies"]) - len(known), tuple(vulnerable))


def of_npm(told: Json) -> Verdict:
    """npm's JSON."""
    vulnerable = [f"{name}: {each['severity']}, {each['range']}" for name, each in told["vulnerabilities"].items()]
    return Verdict(told["metadata"]["dependencies"]["total"], 0, tuple(vulnerable))


def _pip_audit(source: str, requirements: str, *options: str) -> str:
    program = Path(sys.executable).with_name("pip-audit")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(requirements)
        file.flush()
        command = [str(program), "--disable-pip", "--requirement", file.name, "--vulnerability-service", source]
        return _run([*command, "--timeout", "10", "--progress-spinner", "off", "--format", "json", *options], ROOT)


def _run(command: Sequence[str], folder: Path) -> str:
    """What a command wrote: its answer, or else its complaint."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=WITHIN_S)
    except subprocess.TimeoutExpired:
        return f"no answer within {WITHIN_S} s"
    return done.stdout if done.stdout.strip() else done.stderr


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
