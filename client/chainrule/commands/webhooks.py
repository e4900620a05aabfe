"""`chainrule webhooks …`: who else is told when jobs move, and what was sent to them."""

from typing import Annotated

import typer

from chainrule.session import Json, Session, listed, print_json
from chainrule.text import plain

webhooks = typer.Typer(no_args_is_help=True, help="Have other programs told when jobs move.")

Id = Annotated[str, typer.Argument(metavar="ID", help="wh_…")]
Limit = Annotated[int, typer.Option(min=1, help="How many at most.")]


def _labels(given: list[str] | None) -> dict[str, str] | None:
    pairs = [text.partition("=") for text in given or ()]
    for key, separator, _ in pairs:
        if not key or not separator:
            raise typer.BadParameter(f"got {key!r}, expected key=value", param_hint="--label")
    return {key: value for key, _, value in pairs} or None


@webhooks.command()
def add(
    ctx: typer.Context,
    url: Annotated[str, typer.Argument(help="Where events are sent: https://…")],
    event: Annotated[
        list[str] | None,
        typer.Option(help="An event, such as job.running; repeatable. [job.succeeded, job.failed, job.cancelled]"),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only jobs with this label; repeatable: all of them.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    as_json: Json = False,
) -> None:
    """Make a webhook. Its secret is printed this once, alone on stdout, so that it can go straight into a file."""
    labels = _labels(label)
    with ctx.ensure_object(Session).client() as client:
        made = client.webhooks.create(url, event, labels=labels, description=description)
    if as_json:
        print_json(made.json)
        return
    typer.echo(plain(f"{made.id}: {' '.join(made.events)} to {made.url}"), err=True)
    typer.echo(made.secret)


@webhooks.command("list")
def list_webhooks(ctx: typer.Context, limit: Limit = 50, as_json: Json = False) -> None:
    """List webhooks, newest first."""
    session = ctx.ensure_object(Session)
    with session.client() as client:
        items, cursor = listed(client.webhooks.list(limit))
    if as_json:
        print_json({"items": [webhook.json for webhook in items], "next_cursor": cursor})
        return
    from chainrule.show import webhooks_table

    session.console().print(webhooks_table(items))


@webhooks.command()
def remove(ctx: typer.Context, webhook_id: Id) -> None:
    """Remove a webhook and the log of its deliveries."""
    with ctx.ensure_object(Session).client() as client:
        client.webhooks.delete(webhook_id)
    typer.echo(plain(f"removed {webhook_id}"))


@webhooks.command()
def enable(ctx: typer.Context, webhook_id: Id) -> None:
    """Send to a webhook again that was disabled."""
    with ctx.ensure_object(Session).client() as client:
        client.webhooks.update(webhook_id, enabled=True)
    typer.echo(plain(f"enabled {webhook_id}"))


@webhooks.command()
def disable(ctx: typer.Context, webhook_id: Id) -> None:
    """Send nothing to a webhook any more; what waits has failed."""
    with ctx.ensure_object(Session).client() as client:
        client.webhooks.update(webhook_id, enabled=False)
    typer.echo(plain(f"disabled {webhook_id}"))


@webhooks.command()
def ping(ctx: typer.Context, webhook_id: Id) -> None:
    """Send a test event, once; `deliveries` tells how that went."""
    with ctx.ensure_object(Session).client() as client:
        sent = client.webhooks.ping(webhook_id)
    typer.echo(plain(f"{sent.id} is being sent; see chainrule webhooks deliveries {webhook_id}"))


@webhooks.command("rotate-secret")
def rotate_secret(ctx: typer.Context, webhook_id: Id) -> None:
    """Give a webhook a new secret, printed this once; for a day the old one signs too."""
    with ctx.ensure_object(Session).client() as client:
        made = client.webhooks.rotate_secret(webhook_id)
    typer.echo(plain(f"the old secret signs too until {made.json['old_secret_until']}"), err=True)
    typer.echo(made.secret)


@webhooks.command()
def deliveries(
    ctx: typer.Context,
    webhook_id: Id,
    state: Annotated[str | None, typer.Option(help="Only those that are pending, succeeded or failed.")] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List what was sent to a webhook and is to be, newest first."""
    session = ctx.ensure_object(Session)
    with session.client() as client:
        items, cursor = listed(client.webhooks.deliveries(webhook_id, state=state, limit=limit))
    if as_json:
        print_json({"items": [delivery.json for delivery in items], "next_cursor": cursor})
        return
    from chainrule.show import deliveries_table

    session.console().print(deliveries_table(items))


@webhooks.command()
def redeliver(
    ctx: typer.Context, webhook_id: Id, delivery_id: Annotated[str, typer.Argument(metavar="DELIVERY", help="dlv_…")]
) -> None:
    """Send a delivery again, or at once where it waits."""
    with ctx.ensure_object(Session).client() as client:
        client.webhooks.redeliver(webhook_id, delivery_id)
    typer.echo(plain(f"{delivery_id} is being sent"))
