"""A running service is closed: what it listens on, who may speak to its Ray, and what other users can read."""

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from support.running_service import DATA, RunningService
from workers.ray_environment import RAYS_OWN, TOKEN

pytestmark = pytest.mark.ray

DASHBOARD_PORTS = range(8265, 8316)  # the one that Ray's dashboard takes, and those that it tries where that is taken
UNAUTHENTICATED, UNIMPLEMENTED = "16", "12"  # gRPC's
RAYS_METHODS = (  # one of each of the servers that Ray's processes are
    "ray.rpc.InternalKVGcsService/InternalKVKeys",
    "ray.rpc.NodeManagerService/GetNodeStats",
    "ray.rpc.ObjectManagerService/Push",
    "ray.rpc.CoreWorkerService/PushTask",
)


def told_by(process_id: int, what: str) -> bytes:
    """A file of a process in /proc; nothing of one that has ended: workers that nobody needs do so at any time."""
    try:
        return Path(f"/proc/{process_id}/{what}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


class Listener(NamedTuple):
    """A socket on which a process listens."""

    kind: str
    host: str
    port: int
    process_id: int


@pytest.fixture(scope="module")
def training(service: RunningService) -> Iterator[None]:
    """A job trains with three workers meanwhile, for what its processes open counts too."""
    service.upload("closed", DATA / "wine-quality-white.csv")
    spec = {"dataset": "closed", "target": "quality", "layers": [{"type": "dense", "units": 8}], "epochs": 1_000_000}
    job_id = service.submit(**spec, workers={"min": 3, "max": 3})["id"]
    assert any(kind == "progress" and data["step"] > 0 for kind, data in service.events(job_id))
    yield
    assert service.job(job_id)["state"] == "running", "it was to train all the while"
    service.act(job_id, "cancel")
    service.until(job_id, "cancelled")


@pytest.fixture(scope="module")
def processes(service: RunningService, training: None) -> set[int]:
    """All processes of the service: those that descend from it, and those that bear its mark."""
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        if status := told_by(int(process.name), "stat"):
            parents[int(process.name)] = int(status.rpartition(b")")[2].split()[1])
    found = set(service.processes())
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


@pytest.fixture(scope="module")
def listeners(processes: set[int]) -> list[Listener]:
    """What `ss` says that they listen on."""
    if shutil.which("ss") is None:
        pytest.skip("there is no ss to tell who listens: apt-get install iproute2")
    told = subprocess.run(["ss", "-H", "-l", "-n", "-t", "-u", "-p"], capture_output=True, text=True, check=True).stdout
    found = []
    for line in told.splitlines():
        kind, _, _, _, address = line.split()[:5]
        host, _, port = address.rpartition(":")
        ids = {int(process_id) for process_id in re.findall(r"pid=(\d+)", line)}
        found += [Listener(kind, host, int(port), process_id) for process_id in ids & processes]
    return found


@pytest.fixture(scope="module")
def ray_folder(processes: set[int]) -> Path:
    """The folder that is the service's Ray's alone; where the data folder's path is long it lies elsewhere."""
    for process_id in processes:
        found = re.search(rb"RAY_AUTH_TOKEN_PATH=([^\0]+)\0", told_by(process_id, "environ"))
        if found is not None:
            return Path(os.fsdecode(found[1])).parent
    raise AssertionError("no process knows where its token is")


# ---------------------------------------------------------------- listeners
def test_everything_listens_on_loopback_alone(listeners: list[Listener], service: RunningService) -> None:
    titles = [told_by(each.process_id, "cmdline") for each in listeners]
    for part in (b"chainrule", b"gcs_server", b"raylet", b"ray::RuntimeEnv", b"ray::_Process"):
        assert any(part in title for title in titles), titles  # else nothing was looked at
    assert service.http.base_url.port in [each.port for each in listeners]
    assert [each for each in listeners if each.host not in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]")] == []
    assert {each.kind for each in listeners} == {"tcp"}


def test_no_dashboard_listens(listeners: list[Listener], processes: set[int]) -> None:
    """Ray starts the process that it would live in, for a module that collects statistics, which are off, too."""
    assert [each for each in listeners if each.port in DASHBOARD_PORTS] == []
    titles = {process_id: told_by(process_id, "cmdline") for process_id in processes}
    heads = {process_id for process_id, title in titles.items() if b"ray/dashboard/dashboard.py" in title}
    agents = {process_id for process_id, title in titles.items() if title.startswith(b"ray::Dashboard")}
    assert heads and agents, "Ray has changed: look anew"
    assert all(b"--disable-frontend" in titles[head] for head in heads)
    assert [each for each in listeners if each.process_id in heads | agents] == []


# ---------------------------------------------------------------- Ray's token
@pytest.fixture(scope="module")
def grpc() -> Iterator[httpx.Client]:
    with httpx.Client(http1=False, http2=True, timeout=10.0, trust_env=False) as client:
        yield client


def grpc_statuses(grpc: httpx.Client, port: int, token: str | None) -> list[str | None]:
    """How the server at a port answers each method, called with an empty message; None for a proper answer."""
    headers = {"Content-Type": "application/grpc", "TE": "trailers"}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    urls = [f"http://127.0.0.1:{port}/{method}" for method in RAYS_METHODS]
    return [grpc.post(url, headers=headers, content=bytes(5)).headers.get("grpc-status") for url in urls]


def test_ray_takes_no_call_without_its_token(listeners: list[Listener], ray_folder: Path, grpc: httpx.Client) -> None:
    """No service, no node, no worker: the last would run what it is sent."""
    asked = 0
    for each in listeners:
        if each.host == "[::ffff:127.0.0.1]":  # as gRPC listens
            try:
                answers = [grpc_statuses(grpc, each.port, token) for token in (None, "5" * 64)]
                allowed = grpc_statuses(grpc, each.port, (ray_folder / TOKEN).read_text())
            except httpx.TransportError:
                assert not told_by(each.process_id, "cmdline"), each
                continue
            for refused in answers:
                assert sorted(map(str, refused)) == [UNIMPLEMENTED] * 3 + [UNAUTHENTICATED], each
            assert UNAUTHENTICATED not in allowed
            asked += 1
    assert asked >= 8  # the service, Ray's head, the two servers of its node, a coordinator and three workers


def test_rays_agent_prepares_nothing_without_its_token(
    listeners: list[Listener], service: RunningService, ray_folder: Path
) -> None:
    """It installs packages and runs commands for whoever may ask."""
    others = {
        each.port: told_by(each.process_id, "cmdline").rstrip(b"\0")
        for each in listeners
        if each.host == "127.0.0.1" and each.port != service.http.base_url.port
    }
    assert list(others.values()) == [b"ray::RuntimeEnvAgent"], others
    (port,) = others
    url = f"http://127.0.0.1:{port}/get_or_create_runtime_env"
    assert httpx.post(url, trust_env=False).status_code == 401
    assert httpx.post(url, headers={"Authorization": f"Bearer {'5' * 64}"}, trust_env=False).status_code == 403
    token = (ray_folder / TOKEN).read_text()
    assert httpx.post(url, headers={"Authorization": f"Bearer {token}"}, trust_env=False).status_code not in (401, 403)


# ---------------------------------------------------------------- other users of the machine
def test_other_users_can_neither_read_nor_change_a_file(service: RunningService, ray_folder: Path) -> None:
    """Ray opens its folders to everybody, whatever the umask: so they lie within one that is closed."""
    rays_own = ray_folder / RAYS_OWN
    paths = {path for folder in (service.data_dir, ray_folder) for path in (folder, *folder.rglob("*"))}
    assert {rays_own, service.data_dir / "admin.key", service.data_dir / "datasets"} <= paths
    for path in paths:
        if path.is_relative_to(rays_own):
            continue
        with suppress(FileNotFoundError):  # what is only there for a moment
            mode = path.lstat().st_mode
            assert stat.S_IMODE(mode) == (0o700 if stat.S_ISDIR(mode) else 0o600), path
