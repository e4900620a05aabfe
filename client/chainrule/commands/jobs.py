"""Commands on jobs: train, jobs, watch, show, logs, cancel, pause, resume, rm."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chainrule.session import ExitCode, Json, Session, listed, print_json
from chainrule.text import plain

if TYPE_CHECKING:
    from chainrule.client import Client
    from chainrule.job import Job
    from chainrule.records import JobRecord

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id, job_…")]


def train(
    ctx: typer.Context,
    spec_file: Annotated[Path, typer.Argument(metavar="SPEC", help="The job's spec, a YAML or JSON file.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change a field: optimizer.learning_rate=1e-3. Repeatable."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Watch the job until it ends.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check and plan; nothing is trained.")] = False,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key and spec again give the same job, not a second one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Submit a job. With --follow, exit code 1 if it fails or is cancelled."""
    from chainrule.specs import read_spec, with_settings

    session = ctx.ensure_object(Session)
    spec = with_settings(read_spec(spec_file), settings or [])
    with session.client() as client:
        if dry_run:
            _plan(session, client, spec, as_json)
            return
        job = client.submit(spec, idempotency_key=idempotency_key)
        if follow:
            _follow(session, job, as_json)
        elif as_json:
            print_json(job.json)
        else:
            typer.echo(plain(f"{job.id}  {job.name}: {job.state}"))


def _plan(session: Session, client: "Client", spec: dict[str, object], as_json: bool) -> None:
    plan = client.plan(spec)
    if as_json:
        print_json(plan.json)
        return
    from chainrule.show import plan_details

    session.console().print(plan_details(plan))


def watch(ctx: typer.Context, job_id: JobId, as_json: Json = False) -> None:
    """Follow a job live until it ends; Ctrl-C leaves it running. Exit code 1 if it fails or is cancelled."""
    session = ctx.ensure_object(Session)
    with session.client() as client:
        _follow(session, client.job(job_id), as_json)


def _follow(session: Session, job: "Job", as_json: bool) -> None:
    """Watches until the end; leaves by typer.Exit with the code that fits."""
    try:
        if as_json:
            for event in job.events():
                typer.echo(json.dumps({"type": event.type, "id": event.id, "data": event.data}, ensure_ascii=False))
            job.refresh()
        else:
            from chainrule.watch import view_on

            job.follow(view_on(job, session.console(stderr=True)))
    except KeyboardInterrupt:
        typer.echo(
            f"\n{job.id} goes on without being watched. Again: chainrule watch {job.id}"
            f"   Stop it: chainrule cancel {job.id}",
            err=True,
        )
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if not as_json:
        _say_end(job)
    if job.state != "succeeded":
        raise typer.Exit(ExitCode.JOB_FAILED)


def _say_end(job: "JobRecord") -> None:
    from chainrule.show import number_text

    reason = f" ({job.reason})" if job.reason else ""
    metrics = "".join(f"  {name} {number_text(value)}" for name, value in job.latest_metrics.items())
    typer.echo(plain(f"{job.id}  {job.name}: {job.state}{reason}{metrics}"))
    if job.parameters_sha256:
        typer.echo(f"sha256 {job.parameters_sha256}")


def jobs(
    ctx: typer.Context,
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only these: queued, running, paused, succeeded, failed, cancelled. Repeatable."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only jobs with this label. Repeatable.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Only jobs with this in their name, in any case.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only jobs submitted with a key of this name.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    session = ctx.ensure_object(Session)
    with session.client() as client:
        items, cursor = listed(client.jobs(state=state, label=label, name=name, owner=owner, limit=limit))
    if as_json:
        print_json({"items": [job.json for job in items], "next_cursor": cursor})
        return
    from chainrule.show import jobs_table

    session.console().print(jobs_table(items))


def show(ctx: typer.Context, job_id: JobId, as_json: Json = False) -> None:
    """Show everything about a job: progress, spec, metrics, history."""
    session = ctx.ensure_object(Session)
    with session.client() as client:
        job, metrics, history = client.job(job_id), client.metrics(job_id), client.history(job_id)
    if as_json:
        print_json({"job": job.json, "metrics": metrics, "history": [move.json for move in history]})
        return
    from chainrule.show import job_details

    session.console().print(job_details(job, metrics, history))


def logs(
    ctx: typer.Context,
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    after: Annotated[int | None, typer.Option(min=0, metavar="SEQ", help="Only lines above that number.")] = None,
    as_json: Json = False,
) -> None:
    """Print what happened to a job, line by line; with --json an object a line. Ctrl-C leaves the job running."""
    from chainrule.show import log_line

    session = ctx.ensure_object(Session)
    console = session.console()
    with session.client() as client:
        try:
            for line in client.follow_logs(job_id, after) if follow else client.logs(job_id, after):
                if as_json:
                    typer.echo(json.dumps(line.json, ensure_ascii=False))
                else:
                    console.print(log_line(line), soft_wrap=True)
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from None


def cancel(ctx: typer.Context, job_id: JobId, as_json: Json = False) -> None:
    """Stop a job for good."""
    with ctx.ensure_object(Session).client() as client:
        _moved(client.cancel(job_id), as_json)


def pause(ctx: typer.Context, job_id: JobId, as_json: Json = False) -> None:
    """Stop a running job at its next step; resume goes on from there, to the same bits."""
    with ctx.ensure_object(Session).client() as client:
        _moved(client.pause(job_id), as_json)


def resume(ctx: typer.Context, job_id: JobId, as_json: Json = False) -> None:
    """Let a paused job go on."""
    with ctx.ensure_object(Session).client() as client:
        _moved(client.resume(job_id), as_json)


def _moved(job: "JobRecord", as_json: bool) -> None:
    if as_json:
        print_json(job.json)
    else:
        reason = f" ({job.reason})" if job.reason else ""
        typer.echo(plain(f"{job.id}  {job.name}: {job.state}{reason}"))


def rm(ctx: typer.Context, job_id: JobId) -> None:
    """Remove an ended job and its files."""
    with ctx.ensure_object(Session).client() as client:
        client.delete_job(job_id)
    typer.echo(f"removed {job_id}")
