"""What Ray must find in the environment before it is first imported, and the way to a cluster that sees to that."""

import hashlib
import os
import secrets
import shutil
import signal
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from shared.errors import Unavailable
from workers.job import Cluster, TransportName

__all__ = ["RAYS_OWN", "end_leftovers", "ray_cluster"]

TOKEN = "token"  # the file in the session folder that holds the secret of an embedded cluster
RAYS_OWN = "tmp"  # the folder in it that Ray opens to every user of the machine, whatever it was before
MAX_SOCKET_FOLDER = 40  # of RAYS_OWN: Ray's socket paths are about 67 characters longer, and Linux allows 107

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Else Ray takes SIGTERM for a crash: it prints a stack, and aborts the process 3 s later if it is still ending.
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",
}
# Embedded: a token on every connection; and listeners on loopback only, which is what this variable's 0 brings about.
# And no metrics of an autoscaler that we do not use, open to all users of the machine: there is no such port.
CLOSED = {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "AUTOSCALER_METRIC_PORT": "65536"}


def ray_cluster(
    data_dir: Path, address: str | None = None, cpus: int | None = None, transport: TransportName = "direct"
) -> Cluster:
    """A cluster, not started yet: the one at `address`, or one of our own with `cpus` CPUs (None: the machine's).
    Weights and gradients travel within it by `transport`.

    Must come before anything else imports Ray, which reads its settings once. Raises Unavailable when the folder for
    Ray's sockets is somebody else's.
    """
    os.environ.update(QUIET)
    folder = None
    if address is None:
        folder = _session_folder(data_dir)
        token = folder / TOKEN
        end_leftovers(folder)
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        os.environ.update(CLOSED, RAY_AUTH_TOKEN_PATH=str(token))
    from workers.on_ray.cluster import RayCluster

    return RayCluster(address, cpus, folder, transport)


def _session_folder(data_dir: Path) -> Path:
    """An empty 0700 folder for Ray's sockets and logs: in the data folder; where its path is too long for a socket, in
    the system's temporary folder, under a name that follows from it, so that a killed service's leftovers are found."""
    folder = data_dir.resolve() / "ray"
    if len(str(folder / RAYS_OWN)) > MAX_SOCKET_FOLDER:
        name = hashlib.sha256(str(folder).encode()).hexdigest()[:10]
        folder = Path(tempfile.gettempdir()) / f"chainrule-{os.getuid()}-{name}"
    if folder.is_symlink() or (folder.exists() and folder.stat().st_uid != os.getuid()):
        raise Unavailable(f"{folder} belongs to somebody else; remove it or choose another data folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    return folder


def end_leftovers(folder: Path) -> None:
    """Ends what is left of an embedded cluster that has ended or was killed, whose sockets and logs are in `folder`.

    Ray's agents can survive their raylet by a minute. Whoever holds the data folder's lock may end them.
    """
    while process_ids := _processes_of(folder):  # again, as one may have started another before it was ended
        for process_id in process_ids:
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        time.sleep(0.01)  # they are not our children: there is nothing to wait on


def _processes_of(folder: Path) -> list[int]:
    """The live processes of an embedded cluster but this one: they have its token in their environment. Ray's agents,
    whose titles overwrite theirs, are known by the logs that they write."""
    mark = f"RAY_AUTH_TOKEN_PATH={folder / TOKEN}\0".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if mark in (process / "environ").read_bytes() or _writes_into(process, folder):
                found.append(int(process.name))
    return [process_id for process_id in found if process_id != os.getpid()]


def _writes_into(process: Path, folder: Path) -> bool:
    """Whether a process, an entry of /proc, has a file in `folder` open for writing, be it deleted meanwhile."""
    files = (file for file in (process / "fd").iterdir() if file.lstat().st_mode & stat.S_IWUSR)
    return any(file.readlink().is_relative_to(folder) for file in files)
