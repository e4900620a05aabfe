"""`chainrule keys …` and `chainrule signin`: who may do what, and the page for those who have a key."""

import re
from enum import StrEnum
from typing import Annotated

import typer

from chainrule.session import Json, Session, listed, print_json
from chainrule.text import plain

keys = typer.Typer(no_args_is_help=True, help="Make, list and revoke keys; needs a key with the scope admin.")

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Scope(StrEnum):
    """What a key allows; each implies those before it."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,9})([smhd])", text)
    if found is None:
        raise typer.BadParameter(f"got {text!r}, expected a number and a unit, such as 90d, 12h or 30m")
    return int(found[1]) * UNITS_S[found[2]]


@keys.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What it is for.")],
    scope: Annotated[Scope, typer.Option(help="What it allows; each implies those before it.")] = Scope.SUBMIT,
    tenant: Annotated[
        str | None, typer.Option(help="Whose jobs and data sets it opens: a new name is a new tenant. [default]")
    ] = None,
    expires: Annotated[
        int | None, typer.Option(metavar="TIME", parser=_seconds, help="How long it is good: 90d, 12h; else for ever.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key. It is printed this once, alone on stdout, so that it can go straight into a file."""
    with ctx.ensure_object(Session).client() as client:
        made = client.add_key(name, [scope.value], tenant=tenant, expires_in_s=expires)
    if as_json:
        print_json(made.json)
        return
    until = f", good until {made.json['expires_at']}" if made.expires_at else ""
    typer.echo(plain(f"{made.id}: {' '.join(made.scopes)} of {made.tenant}{until}"), err=True)
    typer.echo(made.key)


@keys.command("list")
def list_keys(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: Json = False,
) -> None:
    """List the keys of all tenants, newest first; revoked and expired ones too."""
    session = ctx.ensure_object(Session)
    with session.client() as client:
        items, cursor = listed(client.keys(limit))
    if as_json:
        print_json({"items": [key.json for key in items], "next_cursor": cursor})
        return
    from chainrule.show import keys_table

    session.console().print(keys_table(items))


@keys.command()
def revoke(ctx: typer.Context, key_id: Annotated[str, typer.Argument(metavar="ID", help="key_…")]) -> None:
    """Revoke a key: within a second it opens nothing any more. Refused for the last admin key."""
    with ctx.ensure_object(Session).client() as client:
        client.revoke_key(key_id)
    typer.echo(plain(f"revoked {key_id}"))


def signin(ctx: typer.Context) -> None:
    """Print a link that opens the page signed in with this key, once, within ten minutes."""
    with ctx.ensure_object(Session).client() as client:
        typer.echo(f"{client.url}{client.signin_link().path}")
