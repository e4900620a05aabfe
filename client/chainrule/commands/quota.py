"""`chainrule quota …`: what tenants may have, and what they have."""

import re
from typing import Annotated, Any

import typer

from chainrule.session import Json, Session, listed, print_json

quota = typer.Typer(
    invoke_without_command=True,
    help="Show what your tenant may have, and what it has; list and set the quotas of all tenants.",
)

DEFAULT = "default"
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
NAMES = ("running_jobs", "cpus", "queued_jobs", "stored_bytes", "submits_per_minute", "max_priority", "share")


def _limit(text: str) -> str:
    """Checks what is given for a limit."""
    if text != DEFAULT and not re.fullmatch(r"[0-9]{1,15}[kMGT]?", text):
        raise typer.BadParameter(f"got {text!r}, expected a whole number such as 8, 600 or 50G, or {DEFAULT!r}")
    return text


def _priority(text: str) -> str:
    if text != DEFAULT and not re.fullmatch(r"-?[0-9]{1,7}", text):
        raise typer.BadParameter(f"got {text!r}, expected a whole number such as 0 or 10, or {DEFAULT!r}")
    return text


def _share(text: str) -> str:
    if text != DEFAULT and not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text):
        raise typer.BadParameter(f"got {text!r}, expected a number such as 2 or 0.5, or {DEFAULT!r}")
    return text


def _number(text: str) -> float | int | None:
    if text == DEFAULT:
        return None
    return float(text) if "." in text else int(text.rstrip("kMGT")) * UNITS[text.lstrip("-0123456789")]


def _option(what: str) -> Any:
    return typer.Option(metavar="NUMBER", parser=_limit, help=what)


@quota.callback()
def own(ctx: typer.Context, as_json: Json = False) -> None:
    """Show what your tenant may have, and what it has."""
    if ctx.invoked_subcommand is not None:
        return
    session = ctx.ensure_object(Session)
    with session.client() as client:
        told = client.quota()
    if as_json:
        print_json(told.json)
        return
    from chainrule.show import quota_details

    session.console().print(quota_details(told.tenant, told.limits, told.usage))


@quota.command("list")
def list_tenants(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: Json = False,
) -> None:
    """List all tenants, what each has and may have; needs a key with the scope admin."""
    session = ctx.ensure_object(Session)
    with session.client() as client:
        items, cursor = listed(client.tenants(limit))
    if as_json:
        print_json({"items": [tenant.json for tenant in items], "next_cursor": cursor})
        return
    from chainrule.show import quotas_table

    session.console().print(quotas_table(items))


@quota.command("set")
def set_quota(
    ctx: typer.Context,
    tenant: Annotated[str, typer.Argument(help="Whose quota.")],
    running_jobs: Annotated[str | None, _option("Jobs that may run at once.")] = None,
    cpus: Annotated[str | None, _option("CPUs that running jobs may hold.")] = None,
    queued_jobs: Annotated[str | None, _option("Jobs that may wait.")] = None,
    stored_bytes: Annotated[str | None, _option("Bytes of data sets (as tables), models and jobs' plans: 50G.")] = None,
    submits_per_minute: Annotated[str | None, _option("Jobs that may be submitted a minute.")] = None,
    max_priority: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", parser=_priority, help="The highest priority that jobs may be submitted with."),
    ] = None,
    share: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", parser=_share, help="How many times the CPUs of others it gets."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Set what a tenant may have; what is not named stays, `default` is the service's. Needs the scope admin."""
    given = (running_jobs, cpus, queued_jobs, stored_bytes, submits_per_minute, max_priority, share)
    changes = {name: _number(text) for name, text in zip(NAMES, given, strict=True) if text is not None}
    session = ctx.ensure_object(Session)
    with session.client() as client:
        told = client.set_quota(tenant, **{**client.tenant(tenant).quota, **changes})
    if as_json:
        print_json(told.json)
        return
    from chainrule.show import quota_details

    session.console().print(quota_details(told.name, told.limits, told.usage))
