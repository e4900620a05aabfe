"""Facts about the repository itself, read off its sources without importing any of them."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"service": ROOT, "workers": ROOT, "shared": ROOT, "chainrule": ROOT / "client"}
MAY_IMPORT = {
    "service": {"service", "workers", "shared"},
    "workers": {"workers", "shared"},
    "shared": {"shared"},
    "chainrule": {"chainrule"},
}
SERVE = "client/chainrule/commands/serve.py"  # `chainrule serve`, on a machine that has the service
ESTIMATORS = "client/chainrule/sklearn.py"  # which are scikit-learn's, for those who have it
SECRETS = ("DB_PASSWORD", "GRAFANA_PASSWORD", "RAY_TOKEN")
MATHEMATICS = {"numba", "numpy", "pydantic", "pydantic_core"}
INPUT_AND_OUTPUT = {
    *("asyncio", "concurrent", "ctypes", "fcntl", "glob", "gzip", "http", "importlib", "io", "logging", "mmap"),
    *("multiprocessing", "os", "pathlib", "selectors", "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess"),
    *("tempfile", "threading", "urllib", "zipfile"),
}


class Import(NamedTuple):
    """One imported module: its absolute name, where it stands, and whether only a call of a function reaches it."""

    module: str
    file: str
    line: int
    lazy: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"

    def is_within(self, *modules: str) -> bool:
        return any(self.module == module or self.module.startswith(f"{module}.") for module in modules)


def imports_of(source: str, module: str, file: str, *, is_package: bool = False) -> Iterator[Import]:
    """Every import in `source`, with relative ones made absolute and `from a import b` told as both a and a.b."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    tree = ast.parse(source, file)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    within_functions = {inner for function in functions for inner in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            names = [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            yield Import(name, file, node.lineno, node in within_functions)


def sources(package: str) -> list[Path]:
    found = sorted((PACKAGES[package] / package).rglob("*.py"))
    assert found, f"no sources of {package}"
    return found


@cache
def imports(package: str) -> tuple[Import, ...]:
    found: list[Import] = []
    for path in sources(package):
        parts = list(path.relative_to(PACKAGES[package]).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        file = path.relative_to(ROOT).as_posix()
        found += imports_of(path.read_text(encoding="utf-8"), module, file, is_package=is_package)
    return tuple(found)


def calls(package: str) -> Iterator[tuple[ast.Call, str]]:
    for path in sources(package):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield node, f"{path.relative_to(ROOT).as_posix()}:{node.lineno}"


# ---------------------------------------------------------------- imports
def test_imports_are_found_in_functions_and_relative_to_their_package() -> None:
    source = "from . import a\nfrom ..b import c\ndef f():\n    import ray.data as d\n"
    found = list(imports_of(source, "service.routes.jobs", "jobs.py"))
    assert [(each.module, each.line, each.lazy) for each in found] == [
        ("service.routes", 1, False),
        ("service.routes.a", 1, False),
        ("service.b", 2, False),
        ("service.b.c", 2, False),
        ("ray.data", 4, True),
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_flow_one_way(package: str) -> None:
    against = [
        each
        for each in imports(package)
        if each.is_within(*PACKAGES)
        and not each.is_within(*MAY_IMPORT[package])
        and not (each.file == SERVE and each.lazy and each.is_within("service"))
    ]
    assert not against, [str(each) for each in against]


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_imports_what_measures_it_or_what_that_compares_with(package: str) -> None:
    others = ("benchmarks", "chaos", "fuzz", "jax", "sklearn", "supply", "torch")
    assert not [str(each) for each in imports(package) if each.is_within(*others) and each.file != ESTIMATORS]


@pytest.mark.parametrize("package", PACKAGES)
def test_only_one_package_imports_ray(package: str) -> None:
    folders = {Path(each.file).parent.as_posix() for each in imports(package) if each.is_within("ray")}
    assert folders == ({"workers/on_ray"} if package == "workers" else set())


def test_shared_is_mathematics_alone() -> None:
    standard = sys.stdlib_module_names - INPUT_AND_OUTPUT
    tops = {each.module.split(".")[0]: each for each in imports("shared")}
    strangers = [str(each) for top, each in tops.items() if top not in standard | MATHEMATICS | {"shared"}]
    assert not strangers
    opened = [where for call, where in calls("shared") if isinstance(call.func, ast.Name) and call.func.id == "open"]
    assert not opened


# ---------------------------------------------------------------- lock files
def project(path: str) -> dict[str, list[str]]:
    """The requirements of a pyproject.toml: those of the package, and those of its development group."""
    content = tomllib.loads((ROOT / path).read_text(encoding="utf-8"))
    return {
        "run": content["project"]["dependencies"],
        "develop": content.get("dependency-groups", {}).get("dev", []),
    }


class Locked(NamedTuple):
    """One entry of a lock file."""

    name: str
    version: str
    marker: str
    hashes: int


@cache
def locked(path: str) -> tuple[Locked, ...]:
    text = (ROOT / path).read_text(encoding="utf-8")
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert entries, f"{path} locks nothing"
    found = []
    for entry in entries:
        head = re.match(r"(?P<name>[\w.-]+)==(?P<version>[^ ;]+)(?: ; (?P<marker>.+?))? \\\n", entry)
        assert head, f"{path}: not a name, a version and hashes: {entry.splitlines()[0]}"
        name, version, marker = head.group("name", "version", "marker")
        found.append(Locked(canonicalize_name(name), version, marker or "", entry.count("--hash=sha256:")))
    return tuple(found)


def versions(path: str, name: str) -> set[str]:
    """The versions of a requirement that a lock file names: several where platforms or Pythons differ."""
    return {entry.version for entry in locked(path) if entry.name == canonicalize_name(name)}


@pytest.mark.parametrize("path", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_file_has_a_hash_for_everything_and_an_address_for_nothing(path: str) -> None:
    assert not [entry for entry in locked(path) if not entry.hashes]
    text = (ROOT / path).read_text(encoding="utf-8")
    assert not re.search(r"://| @ |--(extra-)?index-url|--find-links", text)


@pytest.mark.parametrize("path", ["pyproject.toml", "client/pyproject.toml"])
def test_every_dependency_is_locked_at_a_version_that_is_allowed(path: str) -> None:
    locks = {"run": ["requirements.lock", "requirements-dev.lock"], "develop": ["requirements-dev.lock"]}
    for group, requirements in project(path).items():
        for requirement in map(Requirement, requirements):
            if requirement.name == "chainrule":
                continue  # the client, which lies beside
            for lock in locks[group]:
                found = versions(lock, requirement.name)
                assert found, f"{requirement.name} is not in {lock}: run `make lock`"
                assert all(requirement.specifier.contains(version) for version in found), (
                    f"{requirement}: run `make lock`"
                )


@pytest.mark.parametrize("path", ["requirements.lock", "requirements-dev.lock"])
def test_nothing_is_installed_that_makes_each_process_of_ray_start_seconds_later(path: str) -> None:
    """jsonschema, which Ray imports, imports it where it is there; and it compiles a grammar then."""
    assert versions(path, "jsonschema") and not versions(path, "rfc3987-syntax")


def test_the_image_runs_the_versions_that_are_tested() -> None:
    tested = {(entry.name, entry.version) for entry in locked("requirements-dev.lock")}
    assert {(entry.name, entry.version) for entry in locked("requirements.lock")} <= tested


def test_the_build_backend_is_the_locked_one() -> None:
    (backend,) = versions("requirements-dev.lock", "hatchling")
    for path in ("pyproject.toml", "client/pyproject.toml"):
        content = tomllib.loads((ROOT / path).read_text(encoding="utf-8"))
        assert content["build-system"]["requires"] == [f"hatchling=={backend}"]


# ---------------------------------------------------------------- containers and documents
def test_every_ray_node_in_compose_has_shared_memory_and_the_same_data() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    nodes = {name: service for name, service in services.items() if service["image"].startswith("chainrule:")}
    assert set(nodes) == {"control-plane", "ray-head", "ray-worker"}
    assert all("shm_size" in node for node in nodes.values())
    assert len({tuple(node["volumes"]) for node in nodes.values()}) == 1


def test_compose_publishes_nothing_beyond_this_machine_unless_told_to() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    ports = [str(port) for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith(("127.0.0.1:", "${CHAINRULE_FRONT_ADDRESS:-127.0.0.1}:")) for port in ports)


def test_compose_has_no_secret_of_its_own() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    found = re.findall(r"\$\{(CHAINRULE_\w*(?:PASSWORD|TOKEN|SECRET))(:[?-])?([^}]*)\}", text)
    assert {name for name, _, _ in found} == {f"CHAINRULE_{name}" for name in SECRETS}
    without = {name for name, kind, said in found if kind != ":?" or f"write {name} into .env" not in said}
    assert without == {"CHAINRULE_GRAFANA_PASSWORD"}  # Grafana's own, asked for when it starts
    assert "${CHAINRULE_GRAFANA_PASSWORD:-}" in text
    assert "${GF_SECURITY_ADMIN_PASSWORD:?" in text


def test_in_compose_only_the_control_plane_reaches_nodes_and_database() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    joined = {name: set(service["networks"]) for name, service in services.items()}
    assert {name for name, networks in joined.items() if "database" in networks} == {"postgres", "control-plane"}
    nodes = {"ray-head", "ray-worker", "control-plane"}
    assert {name for name, networks in joined.items() if "cluster" in networks} == nodes
    assert joined["postgres"] | joined["ray-head"] | joined["ray-worker"] == {"database", "cluster"}


def test_the_image_does_not_run_as_root() -> None:
    users = re.findall(r"^USER (.+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert users
    assert users[-1].split(":")[0] not in {"root", "0"}


def test_decisions_have_numbers_of_their_own_and_a_status() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    numbers = [path.name[:4] for path in records]
    assert numbers
    assert all(number.isdecimal() for number in numbers)
    assert len(set(numbers)) == len(numbers)
    for path in records:
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(path.name[:4])}. "), path.name
        assert re.search(r"^(Proposed|Accepted|Superseded by \[.+\)), \d{4}-\d\d-\d\d\.$", text, flags=re.MULTILINE), (
            path.name
        )
