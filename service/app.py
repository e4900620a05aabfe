"""The web application: routes, errors and the control plane behind them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.concurrency import run_in_threadpool

from service import docs_page, errors, openapi, web_page
from service.access import Access
from service.auth import NoKeysInUrls
from service.control import ControlPlane
from service.credentials import Credentials
from service.data_folder import DataFolder
from service.hosts import Hosts
from service.readers import Readers
from service.routes import datasets, evaluation, jobs, keys, logs, metrics, models, service, sessions, tenants, webhooks
from service.routes.parameters import admit
from service.settings import Settings
from workers.job import Cluster

__all__ = ["create_app"]


def create_app(
    settings: Settings,
    make_cluster: Callable[[], Cluster],
    folder: DataFolder | None = None,
    on_open: Callable[[Credentials], None] = lambda credentials: None,
    readers: Readers | None = None,
) -> FastAPI:
    """The application of one service. `make_cluster` is called once, in the background, when the application starts,
    and so is `on_open` as soon as the database is open.

    `app.state.control` is its ControlPlane. `folder` is the data folder, if it is open already; else starting raises
    Unavailable when another service has it. `readers` read uploaded files; they are the caller's to stop.
    """
    control = ControlPlane(settings, make_cluster, folder, on_open, readers)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        control.start()
        try:
            yield
        finally:
            await run_in_threadpool(control.stop)

    app = FastAPI(
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,
        dependencies=[Depends(admit)],
        telemetry={"tracing": False, "metrics": False, "logs": False},  # `service/telemetry.py` is all that is told
    )
    app.state.control = control
    # Tried in this order, and most requests are about jobs.
    for resource in (jobs, datasets, logs, models, evaluation, webhooks, keys, tenants, sessions, service, metrics):
        app.include_router(resource.router)
    web_page.install(app)
    docs_page.install(app)
    errors.install(app)
    app.add_middleware(Hosts, allowed=(settings.host, *settings.allowed_host))
    app.add_middleware(NoKeysInUrls)
    app.add_middleware(Access, telemetry=control.telemetry)
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]
    return app
