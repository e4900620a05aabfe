"""The service as a process: from its settings to its last breath."""

import errno
import gc
import logging
import os
import resource
import signal
import socket
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from service.connection import Connection
from service.data_folder import DataFolder
from service.log import begin
from service.opening import App, Opening
from service.readers import Readers
from service.registration import registered
from service.settings import Settings
from shared.errors import Unavailable
from workers.blas import ASKED_FOR, prepare_process
from workers.storage import check_storage

if TYPE_CHECKING:
    from service.control import ControlPlane
    from service.credentials import Credentials
    from workers.job import Cluster

__all__ = ["serve"]

log = logging.getLogger("chainrule")

STREAMS_END_WITHIN_S = 1  # connections that are still open then are cut
SWITCHES_EVERY_S = 0.001  # 5 ms, Python's default, is how long the event loop would wait for each thread that computes
COLLECTS_AFTER = 10_000  # new objects, of which a list of jobs makes as many; Python's default is 700
MAX_FILES = 65_536  # open at once: each connection is one, and many systems allow 1,024 unless asked for more


class Server(uvicorn.Server):
    """uvicorn, which first ends our event streams: else it would wait for them before it ends the application."""

    control: "ControlPlane | None" = None
    failed = False

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.control is not None:
            self.control.begin_stop()
        await super().shutdown(sockets)

    def fail(self) -> None:
        """Ends the service because it cannot go on."""
        self.failed = self.should_exit = True


def serve(settings: Settings) -> None:
    """Runs the service until SIGTERM or SIGINT, and ends all that it started; leaves with 0, or with 1 and a line."""
    begin(settings.log_format)
    if settings.blas_kernel is not None:
        os.environ[ASKED_FOR] = settings.blas_kernel
        prepare_process()  # again, as importing the settings did it without; numpy is not imported yet
    _import_alone()
    _allow_many_files()
    sys.setswitchinterval(SWITCHES_EVERY_S)
    os.umask(0o077)  # what users send and train is nobody else's on this machine
    folder = DataFolder(settings.data_dir, settings.checkpoints, shared=settings.shared)
    try:
        folder.open()
        if settings.checkpoints is not None:
            check_storage(settings.checkpoints)
    except Unavailable as error:
        sys.exit(f"chainrule: {error}")
    listening = _listen(settings.host, settings.port)
    readers = Readers(settings.log_format)
    readers.start()
    port: int = listening.getsockname()[1]
    address = _address(settings.host, port)
    log.info("listening on %s, documented at %s/docs; keeps everything in %s", address, address, folder.path)

    def make_app() -> App:
        from service.app import create_app  # takes a second or two, in which the service is alive already

        app = create_app(settings, make_cluster, folder, say_how_to_sign_in, readers)
        server.control = app.state.control
        threading.Thread(target=_settle, args=(app.state.control,), name="settling", daemon=True).start()
        return app

    def make_cluster() -> "Cluster":
        from workers.ray_environment import ray_cluster  # brings Ray, which takes seconds to import

        return ray_cluster(settings.data_dir, settings.ray_address, settings.cpus, settings.transport)

    def say_how_to_sign_in(credentials: "Credentials") -> None:
        link = f"{address}/#signin={credentials.admin_signin_code().secret}"
        print(f"sign in, once, within 10 minutes: {link}", flush=True)  # not into the log, which others may read

    def on_failure() -> None:
        server.fail()

    config = uvicorn.Config(
        Opening(make_app, on_failure),
        host=settings.host,
        port=settings.port,
        http=Connection,
        loop="asyncio",  # also where another one is installed, with which nothing here was tried
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STREAMS_END_WITHIN_S,
    )
    server = Server(config)
    # uvicorn raises the signal again when it has ended: an end that was asked for is none to be killed by.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ended)
    with registered(address, port, folder.path):
        server.run([listening])
    readers.stop()
    if server.failed or not server.started:
        sys.exit(1)


def _import_alone() -> None:
    """What must not be imported while there are other threads: PyArrow makes a class that is a Sequence and a Mapping.
    Until it is finished, Python takes all that is a Sequence, as `str` is, for an instance of it, and so for a Mapping
    (CPython's `ABCMeta.__new__`). Who asks just then has that remembered for good; Ray cannot be imported any more."""
    import pyarrow  # noqa: F401


def _settle(control: "ControlPlane") -> None:
    """Has garbage looked for less often once all is there, and never again among what was there then: to go
    through the objects of all libraries stops every thread for a tenth of a second."""
    control.ready.wait()
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTS_AFTER, *gc.get_threshold()[1:])


def _allow_many_files() -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    allowed = MAX_FILES if most == resource.RLIM_INFINITY else min(most, MAX_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket; ends the process with a line where there can be none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            sys.exit(f"chainrule: {host}:{port} is in use by another program; choose another port with --port")
        sys.exit(f"chainrule: cannot listen on {host}:{port}: {error.strerror or error}")


def _address(host: str, port: int) -> str:
    """Where a browser on this machine finds the service."""
    name = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"


def _ended(_signal: int, _frame: FrameType | None) -> None:
    return
