"""The service as a process: from its settings to its last breath."""

import logging
import signal
import socket
import sys
from types import FrameType

import uvicorn

from service.app import create_app
from service.control import ControlPlane
from service.settings import Settings
from shared.errors import Unavailable
from workers.job import Cluster

__all__ = ["serve"]

STREAMS_END_WITHIN_S = 1  # connections that are still open then are cut


class Server(uvicorn.Server):
    """uvicorn, which first ends our event streams: else it would wait for them before it ends the application."""

    def __init__(self, config: uvicorn.Config, control: ControlPlane) -> None:
        super().__init__(config)
        self._control = control

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._control.begin_stop()
        await super().shutdown(sockets)


def serve(settings: Settings) -> None:
    """Runs the service until SIGTERM or SIGINT, and ends all that it started; leaves with 0, or with 1 and a line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)

    def make_cluster() -> Cluster:
        from workers.ray_environment import ray_cluster  # brings Ray, which takes seconds to import

        return ray_cluster(settings.data_dir, settings.ray_address, settings.cpus)

    app = create_app(settings, make_cluster)
    control: ControlPlane = app.state.control
    try:
        control.folder.open()
    except Unavailable as error:
        sys.exit(f"chainrule: {error}")
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="h11",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STREAMS_END_WITHIN_S,
    )
    # uvicorn raises the signal again when it has ended: an end that was asked for is none to be killed by.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ended)
    server = Server(config, control)
    server.run()
    if not server.started:
        sys.exit(1)


def _ended(_signal: int, _frame: FrameType | None) -> None:
    return
