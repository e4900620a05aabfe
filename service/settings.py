"""How one service is set up: arguments of `chainrule serve`, else variables of the environment, else defaults."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.log import LogFormat
from service.quota import Quota
from shared.spec import HIGHEST_PRIORITY, LOWEST_PRIORITY
from workers.job import TransportName

__all__ = ["Settings"]


def _bucket(url: str) -> str:
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^/?#]+)*/?", url):
        raise PydanticCustomError("bucket", "expected s3://bucket or s3://bucket/prefix")
    return url


def _names(value: object) -> object:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


def _hosts(patterns: tuple[str, ...]) -> tuple[str, ...]:
    wrong = [each for each in patterns if not re.fullmatch(r"\*|(\*\.)?[A-Za-z0-9._-]+|\[?[0-9A-Fa-f:.]+\]?", each)]
    if wrong:
        raise PydanticCustomError(
            "hosts", "expected names or addresses without a port, such as hooks.example.com, *.example.com or *"
        )
    return patterns


class Settings(BaseSettings):
    """One service; `CHAINRULE_` and a field's name in capitals is its variable."""

    model_config = SettingsConfigDict(
        env_prefix="CHAINRULE_", frozen=True, extra="forbid", env_ignore_empty=True, use_attribute_docstrings=True
    )

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8400, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    allowed_host: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)] = ()
    """Further names that the service answers to, besides loopback's and the address to listen on: those of a proxy in
    front of it. With commas in between, as a variable."""
    data_dir: Path = Path("data")
    """Folder that holds everything the service keeps."""
    database_url: str | None = None
    """Database, as SQLAlchemy writes it; SQLite in the data folder by default."""
    ray_address: str | None = None
    """A Ray cluster to join; by default the service starts one of its own."""
    cpus: int | None = Field(default=None, ge=1)
    """CPUs that the service's own Ray offers; the machine's by default."""

    transport: TransportName = "direct"
    """How weights and gradients travel: through shared memory and sockets, or as plain Ray calls, to compare with."""

    blas_kernel: Literal["Nehalem", "Sandybridge", "Haswell", "SkylakeX"] | None = None
    """The OpenBLAS kernel of every node that can run it, so that different CPUs give the same bits; by default the
    fastest that each node's CPU can run."""

    checkpoints: Annotated[str, AfterValidator(_bucket)] | None = None
    """A bucket that holds the jobs' checkpoints, `s3://bucket/prefix`; by default they are in the data folder."""

    log_format: LogFormat = "text"
    """How the service's own log is written: for people, or as JSON, an object a line."""
    quota_running_jobs: int | None = Field(default=None, ge=0)
    """Jobs that a tenant may have running at once; no limit by default. This and the quotas below are those of tenants
    for which no other was set."""
    quota_cpus: int | None = Field(default=None, ge=0)
    """CPUs that a tenant's running jobs may hold; no limit by default."""
    quota_queued_jobs: int | None = Field(default=100_000, ge=0)
    """Jobs of a tenant that may wait at once."""
    quota_stored_bytes: int | None = Field(default=None, ge=0)
    """Bytes of data sets (as tables), models and jobs' plans that a tenant may keep; no limit by default."""
    quota_submits_per_minute: int | None = Field(default=3_000, ge=1)
    """Jobs that a tenant may submit a minute, at each control plane."""
    quota_max_priority: int | None = Field(default=None, ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY)
    """The highest priority that a tenant's jobs may be submitted with, none by default; those of the tenant `default`,
    which is there from the beginning, with any unless that is set for it."""
    submit_burst: int = Field(default=100, ge=1)
    """Jobs that may be submitted with one key at once, before the rate of a minute counts."""

    webhook_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names), AfterValidator(_hosts)] = ("*",)
    """Hosts that webhooks may go to, `*.example.com` for all below that name; by default every host that is at a public
    address. With commas in between, as a variable."""

    webhook_private: bool = False
    """Whether webhooks may go to private addresses of those hosts, also without TLS."""

    @property
    def quota(self) -> Quota:
        """The quota of a tenant that has none of its own."""
        return Quota(
            running_jobs=self.quota_running_jobs,
            cpus=self.quota_cpus,
            queued_jobs=self.quota_queued_jobs,
            stored_bytes=self.quota_stored_bytes,
            submits_per_minute=self.quota_submits_per_minute,
            max_priority=self.quota_max_priority,
        )

    @property
    def shared(self) -> bool:
        """Whether other control planes may work on the same jobs: those whose PostgreSQL, Ray cluster and data folder
        are the same. SQLite and embedded Ray each belong to one."""
        return not self.database.startswith("sqlite") and self.ray_address is not None

    @property
    def database(self) -> str:
        """The database's URL with its driver."""
        if self.database_url is None:
            return f"sqlite:///{self.data_dir.resolve() / 'chainrule.sqlite3'}"
        scheme, separator, rest = self.database_url.partition("://")
        return f"postgresql+psycopg{separator}{rest}" if scheme in ("postgres", "postgresql") else self.database_url
