"""`make sbom`: lists of all that the service and its page are made of, as CycloneDX writes them (SBOM)."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

__all__ = ["PAGE", "ROOT", "complete", "locked_for_page", "locked_for_service", "of_page", "of_service"]

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
PAGE = ROOT / "service" / "page"

Json = dict[str, Any]
Locked = set[tuple[str, str]]


class Incomplete(Exception):
    """A list is not valid CycloneDX, or leaves something out; the message says what."""


def main(arguments: Sequence[str]) -> int:
    """Writes both lists into a folder; without npm only that of the service."""
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "sbom-service.json", complete(of_service(), locked_for_service(LOCK.read_text("utf-8"))))
    npm = arguments[1:]
    if npm:
        locked = locked_for_page((PAGE / "package-lock.json").read_text("utf-8"))
        _write(folder / "sbom-page.json", complete(of_page(npm[0]), locked))
    else:
        print("no list of what the page is made of: there is no npm to make it")
    return 0


def of_service() -> Json:
    """What `requirements.lock` names, which is what runs in the image."""
    program = Path(sys.executable).with_name("cyclonedx-py")
    return _told(program, "requirements", LOCK, "--pyproject", ROOT / "pyproject.toml", "--output-reproducible")


def of_page(npm: str) -> Json:
    """What `package-lock.json` names: what the page is built of, and with."""
    return _told(npm, "sbom", "--sbom-format", "cyclonedx", "--package-lock-only", cwd=PAGE)


def locked_for_service(lock: str) -> Locked:
    """Names and versions of a pip lock file, as package URLs have them."""
    found = re.findall(r"^([\w.-]+)==([^ ;\\]+)", lock, flags=re.MULTILINE)
    return {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in found}


def locked_for_page(lock: str) -> Locked:
    """Names and versions of an npm lock file."""
    packages = json.loads(lock)["packages"].items()
    return {(path.rpartition("node_modules/")[2], package["version"]) for path, package in packages if path}


def complete(bom: Json, locked: Locked) -> Json:
    """The list, if it is valid and has all that is locked. Raises Incomplete."""
    version = SchemaVersion.from_version(bom["specVersion"])
    error = JsonStrictValidator(version).validate_str(json.dumps(bom))
    if error is not None:
        raise Incomplete(f"not valid CycloneDX {bom['specVersion']}: {error}")
    there = {(_name(component), component["version"]) for component in bom["components"]}
    if missing := sorted(locked - there):
        raise Incomplete(f"{len(missing)} of {len(locked)} locked packages are not listed: {missing[:5]}")
    return bom


def _name(component: Json) -> str:
    group = component.get("group")
    return f"{group}/{component['name']}" if group else str(component["name"])


def _told(*command: str | Path, cwd: Path = ROOT) -> Json:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Incomplete(f"{command[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    told: Json = json.loads(done.stdout)
    return told


def _write(path: Path, bom: Json) -> None:
    path.write_text(json.dumps(bom, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"{path}: {len(bom['components'])} components")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
