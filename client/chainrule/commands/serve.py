"""`chainrule serve`: the service itself, if it is installed."""

from pathlib import Path
from typing import Annotated, Any

import typer

from chainrule.errors import ChainruleError


def _quota(what: str, variable: str, least: int) -> Any:
    return typer.Option(min=least, help=f"{what} [env: {variable}]")


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [env: CHAINRULE_HOST; 127.0.0.1]")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on. [env: CHAINRULE_PORT; 8400]")
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="A further name that the service answers to: a proxy's in front. Repeatable. "
            "[env: CHAINRULE_ALLOWED_HOST, with commas]"
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder that holds everything the service keeps. [env: CHAINRULE_DATA_DIR]")
    ] = None,
    database_url: Annotated[
        str | None, typer.Option(help="Database; SQLite in the data folder by default. [env: CHAINRULE_DATABASE_URL]")
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="A Ray cluster to join; embedded Ray by default. [env: CHAINRULE_RAY_ADDRESS]")
    ] = None,
    cpus: Annotated[
        int | None, typer.Option(min=1, help="CPUs that embedded Ray offers; the machine's. [env: CHAINRULE_CPUS]")
    ] = None,
    transport: Annotated[
        str | None,
        typer.Option(help="How vectors travel: direct, or ray to compare with. [env: CHAINRULE_TRANSPORT; direct]"),
    ] = None,
    blas_kernel: Annotated[
        str | None,
        typer.Option(
            help="OpenBLAS kernel of all nodes: Nehalem, Sandybridge, Haswell or SkylakeX; each CPU's fastest by "
            "default. [env: CHAINRULE_BLAS_KERNEL]"
        ),
    ] = None,
    checkpoints: Annotated[
        str | None,
        typer.Option(
            help="Bucket for the jobs' checkpoints, s3://bucket/prefix; credentials and endpoint come from AWS's own "
            "variables. In the data folder by default. [env: CHAINRULE_CHECKPOINTS]"
        ),
    ] = None,
    log_format: Annotated[
        str | None,
        typer.Option(help="How its log is written: text, or json, an object a line. [env: CHAINRULE_LOG_FORMAT; text]"),
    ] = None,
    quota_running_jobs: Annotated[
        int | None, _quota("Jobs of a tenant that may run at once; no limit.", "CHAINRULE_QUOTA_RUNNING_JOBS", 0)
    ] = None,
    quota_cpus: Annotated[
        int | None, _quota("CPUs that a tenant's running jobs may hold; no limit.", "CHAINRULE_QUOTA_CPUS", 0)
    ] = None,
    quota_queued_jobs: Annotated[
        int | None, _quota("Jobs of a tenant that may wait.", "CHAINRULE_QUOTA_QUEUED_JOBS; 100000", 0)
    ] = None,
    quota_stored_bytes: Annotated[
        int | None,
        _quota(
            "Bytes of a tenant's data sets (as tables), models and plans; no limit.", "CHAINRULE_QUOTA_STORED_BYTES", 0
        ),
    ] = None,
    quota_submits_per_minute: Annotated[
        int | None, _quota("Jobs that a tenant may submit a minute.", "CHAINRULE_QUOTA_SUBMITS_PER_MINUTE; 3000", 1)
    ] = None,
    quota_max_priority: Annotated[
        int | None,
        typer.Option(
            min=-1_000_000,
            max=1_000_000,
            help="The highest priority that a tenant's jobs may be submitted with, but for the tenant default. "
            "[env: CHAINRULE_QUOTA_MAX_PRIORITY; no limit]",
        ),
    ] = None,
    submit_burst: Annotated[
        int | None, _quota("Jobs that may be submitted with one key at once.", "CHAINRULE_SUBMIT_BURST; 100", 1)
    ] = None,
    webhook_hosts: Annotated[
        list[str] | None,
        typer.Option(
            help="A host that webhooks may go to, *.example.com for all below it; every public one by default. "
            "Repeatable. [env: CHAINRULE_WEBHOOK_HOSTS, with commas]"
        ),
    ] = None,
    webhook_private: Annotated[
        bool | None,
        typer.Option(
            help="Let webhooks go to private addresses of those hosts, also without TLS. "
            "[env: CHAINRULE_WEBHOOK_PRIVATE]"
        ),
    ] = None,
) -> None:
    """Start the service; Ctrl-C or SIGTERM ends it and all that it started."""
    try:
        from service.main import serve as run
        from service.settings import Settings
    except ModuleNotFoundError as error:
        if error.name not in ("service", "service.main", "service.settings"):
            raise
        raise ChainruleError(
            "the service is not installed here: in a clone of Chainrule, pip install ./client ."
        ) from error
    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "allowed_host": allowed_host,
        "data_dir": data_dir,
        "database_url": database_url,
        "ray_address": ray_address,
        "cpus": cpus,
        "transport": transport,
        "blas_kernel": blas_kernel,
        "checkpoints": checkpoints,
        "log_format": log_format,
        "quota_running_jobs": quota_running_jobs,
        "quota_cpus": quota_cpus,
        "quota_queued_jobs": quota_queued_jobs,
        "quota_stored_bytes": quota_stored_bytes,
        "quota_submits_per_minute": quota_submits_per_minute,
        "quota_max_priority": quota_max_priority,
        "submit_burst": submit_burst,
        "webhook_hosts": webhook_hosts,
        "webhook_private": webhook_private,
    }
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValueError as error:  # pydantic's, whose first line alone says nothing
        raise ChainruleError("; ".join(_mistakes(error))) from error
    run(settings)


def _mistakes(error: Any) -> list[str]:
    """What is wrong with the settings, by option."""
    return [
        f"--{'-'.join(map(str, each['loc'])).replace('_', '-')}: {each['msg']}, got {each['input']!r}"
        for each in error.errors()
    ]
