"""A client of the REST API: one method for each thing that the service can do, and `train` for the usual."""

import math
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from chainrule import files, safetensors
from chainrule.aio.connection import LONGEST_WAIT_S, AsyncConnection, document, given, segment
from chainrule.aio.job import AsyncJob
from chainrule.aio.page import AsyncPage
from chainrule.aio.waiting import aside, sent
from chainrule.aio.webhooks import AsyncWebhooks
from chainrule.body import json_body, json_text
from chainrule.errors import ChainruleError, InvalidFile, NotEnded, NotFound, Refused, Unavailable, Unreachable
from chainrule.evaluation import Evaluation
from chainrule.records import (
    TERMINAL_STATES,
    Checkpoint,
    Cluster,
    Dataset,
    Event,
    Histogram,
    Key,
    LogLine,
    MadeKey,
    Metric,
    Move,
    Plan,
    Prediction,
    SigninLink,
    Version,
    WhoAmI,
)
from chainrule.sse import EventParser
from chainrule.tables import rows_of
from chainrule.tenants import OwnQuota, Tenant
from chainrule.training import Source, learned, source_of, spec_of

if TYPE_CHECKING:
    from chainrule.model import Model

__all__ = ["AsyncClient"]

DATASET_ID = re.compile("ds_[0-9A-HJKMNP-TV-Z]{26}")
PREDICT_BODY_BYTES = 8 << 20  # the service takes 32 MiB of rows; what a line that breaks has sent again is less
PREDICT_ROWS = 1_000  # it takes 10,000; of a large model, these are computed well within the time for an answer
PREDICT_NUMBERS = 1_000_000  # probabilities, or numbers of several targets: as many as it tells at once …
PREDICT_FIRST_ROWS = 100  # … which are those of so few rows, of the 10,000 classes that there may be …
PREDICT_CHARACTERS = 64 << 20  # … and as many of their names, which each row repeats; they may be long


class AsyncClient(AsyncConnection):
    """Speaks to one Chainrule service; use it in a `with` block, or `close` it.

    The URL is `url`, else the environment's CHAINRULE_URL, else that of the only service that this user runs on this
    machine, else http://127.0.0.1:8400. The key is `key`, else the environment's CHAINRULE_API_KEY, else, for a service
    on this machine, its admin key. `transport` and `sleep` are the seams for tests. Raises InvalidInput for what is no
    URL or no key, and where several services run here and none of them at port 8400. All methods raise `Unreachable`
    when no answer comes and `ServiceError` when it is an error.

    A client may be pickled: a client of the same URL comes out, and nothing secret goes in.
    """

    @property
    def webhooks(self) -> AsyncWebhooks:
        """Who else is told when jobs move."""
        return AsyncWebhooks(self)

    # ------------------------------------------------------------------ data sets
    async def add_dataset(
        self,
        path: str | Path,
        name: str | None = None,
        *,
        header: bool | None = None,
        delimiter: str | None = None,
        missing: Sequence[str] | None = None,
        types: Mapping[str, str] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Dataset:
        """Uploads a CSV (also .csv.gz), Parquet or npz file, as a stream, under `name` (default: the file's own).

        `header` (is there one), `delimiter`, `missing` (further cells that mean no value) and `types` (by column)
        override what the service infers. `progress(sent, total)` is called with bytes. The same bytes under the same
        name again are the same data set. Raises InvalidFile if there is no such file or its suffix is none of these.
        """
        path = Path(path)
        media = files.media_of(path)
        if not path.is_file():
            raise InvalidFile(f"{path}: no such file")
        options: dict[str, Any] = {
            "header": None if header is None else str(header).lower(),
            "delimiter": delimiter,
            "missing": missing,
            "types": ",".join(f"{column}:{kind}" for column, kind in types.items()) if types else None,
        }
        headers = {"Content-Type": media.type, "Content-Length": str(path.stat().st_size)}
        if media.encoding:
            headers["Content-Encoding"] = media.encoding
        response = await self._send(
            "POST",
            "/v1/datasets",
            params={"name": name or files.name_of(path), **media.options, **given(options)},
            headers=headers,
            content=sent(files.chunks(path, progress)),
            timeout=httpx.Timeout(600.0, connect=10.0),
        )
        return Dataset.of(document(response))

    async def datasets(self, limit: int | None = None, cursor: str | None = None) -> AsyncPage[Dataset]:
        """The data sets, newest first, `limit` at most: a page that leads to the others."""
        return await self.page("/v1/datasets", Dataset.of, {"limit": limit, "cursor": cursor})

    async def dataset(self, id_or_name: str) -> Dataset:
        """A data set with its columns' profile; a name means its newest version."""
        return Dataset.of(await self._get(f"/v1/datasets/{segment(id_or_name)}"))

    async def preview(self, id_or_name: str, rows: int = 20) -> list[dict[str, Any]]:
        """The first rows of a data set."""
        answer = await self._get(f"/v1/datasets/{segment(id_or_name)}/preview", {"rows": rows})
        return list(answer["rows"])

    async def histograms(
        self, id_or_name: str, limit: int | None = None, cursor: str | None = None
    ) -> AsyncPage[Histogram]:
        """How the values of each column are spread, in the order of the columns, page by page as `jobs`; texts,
        timestamps and tensors have none."""
        path = f"/v1/datasets/{segment(id_or_name)}/histograms"
        return await self.page(path, Histogram.of, {"limit": limit, "cursor": cursor})

    async def delete_dataset(self, id_or_name: str) -> None:
        """Removes a data set; a name removes its newest version. Raises Conflict while a job that has not ended uses
        it."""
        dataset_id = id_or_name
        if not DATASET_ID.fullmatch(id_or_name):  # sent twice, a name would mean the version before
            dataset_id = (await self.dataset(id_or_name)).id
        await self._repeatable("DELETE", f"/v1/datasets/{segment(dataset_id)}")

    # ------------------------------------------------------------------ jobs
    async def train(
        self,
        data: Any,
        y: Any = None,
        *,
        target: str | Sequence[str] | None = None,
        layers: Sequence[int | Mapping[str, Any]] = (),
        idempotency_key: str | None = None,
        **spec: Any,
    ) -> AsyncJob:
        """Uploads a table, unless the service has it already, submits a job that trains on it, and returns that.

        Args:
            data: the path of a file; a table of pandas, Polars or Arrow; a dictionary of columns; a numpy array, whose
                rows become one column `x`; or a data set that is there, as a `Dataset`, by id or by name.
            y: what to learn, row by row, where it is not a column of `data`; it becomes the column `target`, or `y`.
            target: the column to learn, or several.
            layers: the hidden layers, a list; 64 is short for {"type": "dense", "units": 64}.
            spec: every other field of a spec, as at /docs: epochs=20, optimizer={"type": "adam"}, …

        It does not wait for the job, whose `wait` does. Raises InvalidInput for what can be seen here to be wrong, else
        as `add_dataset` and `submit`.
        """
        source = await aside(source_of, data, y, target)
        whole = spec_of(learned(y, target), layers, spec)
        whole["dataset"] = source if isinstance(source, str) else (await self._uploaded(source)).id
        return await self.submit(whole, idempotency_key=idempotency_key)

    async def _uploaded(self, source: Source) -> Dataset:
        """The data set of that name and content: the one that is there, else a new one."""
        try:
            there = await self.dataset(source.name)
        except NotFound:
            there = None
        if there is not None and there.sha256 == source.sha256:
            return there
        with source.file() as path:
            return await self.add_dataset(path, source.name, types=source.types)

    async def submit(self, spec: Mapping[str, Any], *, idempotency_key: str | None = None) -> AsyncJob:
        """Submits a job and returns it, queued. With the same key and spec again, the same job.

        Without a key of yours a random one is sent, so that a connection that breaks cannot make two jobs.
        Raises Refused with one FieldProblem for each wrong field, or InvalidInput for what is no JSON. Where no answer
        comes and the job may be there all the same, Unreachable tells the `idempotency_key`.
        """
        key = idempotency_key or str(uuid.uuid4())
        body = json_body(spec, {"Idempotency-Key": key})
        may_be_there = False

        async def ask() -> httpx.Response:
            nonlocal may_be_there
            try:
                return await self._send("POST", "/v1/jobs", **body)
            except Unreachable as broken:
                came_nowhere = isinstance(broken.__cause__, httpx.ConnectError | httpx.ConnectTimeout)
                may_be_there = may_be_there or not came_nowhere
                raise

        try:
            answer = await self._again(ask)
        except Unreachable as broken:
            raise Unreachable(broken.url, broken.why, key if may_be_there else None) from broken.__cause__
        return self._job(document(answer))

    async def plan(self, spec: Mapping[str, Any]) -> Plan:
        """A dry run: validates and plans only. Raises as `submit`."""
        answer = await self._repeatable("POST", "/v1/jobs", params={"dry_run": "true"}, **json_body(spec))
        return Plan.of(document(answer))

    async def job(self, job_id: str) -> AsyncJob:
        """One job as it is now."""
        return self._job(await self._get(f"/v1/jobs/{segment(job_id)}"))

    async def jobs(
        self,
        *,
        state: str | Sequence[str] | None = None,
        label: str | Sequence[str] | None = None,
        name: str | None = None,
        parameters_sha256: str | None = None,
        owner: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> AsyncPage[AsyncJob]:
        """The jobs, newest first: all of them, or `limit` at most, each page asked for when it is reached.

        `state` (any of them), `label` (key=value, or a key alone; all of them), `name` (a part of it, in any case),
        `parameters_sha256` (those that ended with these very bits) and `owner` (the name of the key that submitted
        them) filter. The answer is the first page, with `items` of its own; `cursor`, the `next_cursor` of an earlier
        page, begins after that one.
        """
        which = {"state": state, "label": label, "name": name, "parameters_sha256": parameters_sha256, "owner": owner}
        return await self.page("/v1/jobs", self._job, {**which, "limit": limit, "cursor": cursor})

    async def delete_job(self, job_id: str) -> None:
        """Removes an ended job and its files. Raises Conflict for one that has not ended."""
        await self._repeatable("DELETE", f"/v1/jobs/{segment(job_id)}")

    async def cancel(self, job_id: str) -> AsyncJob:
        """Asks a job to stop for good; repeating is harmless. Raises Conflict if it has ended otherwise."""
        return await self._move(job_id, "cancel")

    async def pause(self, job_id: str) -> AsyncJob:
        """Asks a running job to stop at the next step and keep its place; repeating is harmless."""
        return await self._move(job_id, "pause")

    async def resume(self, job_id: str) -> AsyncJob:
        """Lets a paused job go on; repeating is harmless."""
        return await self._move(job_id, "resume")

    async def metrics(self, job_id: str, after: int | None = None, *, points: int | None = None) -> list[Metric]:
        """The job's metrics so far, oldest first; only steps above `after` if given, and only so many `points` at most,
        evenly spread, those at the ends of epochs first."""
        return await self._all(f"/v1/jobs/{segment(job_id)}/metrics", dict, {"after": after, "points": points})

    async def history(self, job_id: str) -> list[Move]:
        """Every move of the job: from, to, when, why."""
        return await self._all(f"/v1/jobs/{segment(job_id)}/history", Move.of, {})

    async def checkpoints(self, job_id: str) -> list[Checkpoint]:
        """The checkpoints that are kept of the job, newest first; none once it has succeeded."""
        return await self._all(f"/v1/jobs/{segment(job_id)}/checkpoints", Checkpoint.of, {})

    async def wait(self, job_id: str, timeout_s: float | None = None, *, patience_s: float = 60.0) -> AsyncJob:
        """The job once it has succeeded, failed or been cancelled.

        A service that goes away meanwhile is waited for, `patience_s` at most. Raises NotEnded after `timeout_s`.
        """
        start = answered = time.monotonic()
        pause_s = 0.02
        while True:
            try:
                job = await self.job(job_id)
                answered = time.monotonic()
                if job.is_over:
                    return job
            except (Unreachable, Unavailable):
                if time.monotonic() - answered > patience_s:
                    raise
            if timeout_s is not None and time.monotonic() - start > timeout_s:
                raise NotEnded(f"job {job_id} has not ended within {timeout_s:g} s")
            await self._sleep(pause_s)
            pause_s = min(pause_s * 1.25, 1.0)

    async def waiting(self, job_id: str) -> AsyncIterator[AsyncJob]:
        """The job, asked for again and again as long as it waits for CPUs: `queue` tells where it stands."""
        pause_s = 0.05
        while (job := await self.job(job_id)).queue is not None:
            yield job
            await self._sleep(pause_s)
            pause_s = min(pause_s * 1.5, 2.0)

    def events(
        self,
        job_id: str,
        last_event_id: str | None = None,
        *,
        patience_s: float = 60.0,
        on_break: Callable[[ChainruleError], None] | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Event]:
        """The job's events, live, until it has ended; nothing is lost or doubled when the connection breaks.

        `last_event_id` resumes after an event seen earlier. A service that goes away is waited for, `patience_s` at
        most; then Unreachable or Unavailable is raised; `on_break` is told of each try that failed. Raises NotFound for
        a job that is not there, NotEnded after `timeout_s`.
        """
        return self._followed(job_id, "events", last_event_id or "", patience_s, on_break, timeout_s)

    async def logs(self, job_id: str, after: int | None = None) -> list[LogLine]:
        """The lines of the job's log so far, oldest first; only those with a `seq` above `after` if given."""
        return await self._all(f"/v1/jobs/{segment(job_id)}/logs", LogLine.of, {"after": after})

    async def follow_logs(
        self,
        job_id: str,
        after: int | None = None,
        *,
        patience_s: float = 60.0,
        on_break: Callable[[ChainruleError], None] | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[LogLine]:
        """The lines of the job's log, live, until it has ended; each once, as `events`, and raises as that."""
        last_id = "" if after is None else str(after)
        async for event in self._followed(job_id, "logs/stream", last_id, patience_s, on_break, timeout_s):
            yield LogLine.of(event.data)

    async def _followed(
        self,
        job_id: str,
        what: str,
        last_id: str,
        patience_s: float,
        on_break: Callable[[ChainruleError], None] | None,
        timeout_s: float | None,
    ) -> AsyncIterator[Event]:
        """The events of a stream of the job, over as many connections as that takes."""
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        path, parser = f"/v1/jobs/{segment(job_id)}/{what}", EventParser(last_id=last_id)
        failing_since: float | None = None
        while True:
            ended, silent = False, True
            try:
                async for event in self._stream(path, parser, deadline):
                    failing_since, silent = None, False
                    ended = event.type == "state" and event.data.get("state") in TERMINAL_STATES
                    yield event
                # A stream that ends without a word may have been resumed after its last event.
                if ended or (silent and (await self.job(job_id)).is_over):
                    return
                failing_since = None
            except (Unreachable, Unavailable) as broken:
                failing_since = failing_since or time.monotonic()
                if time.monotonic() - failing_since > patience_s:
                    raise
                if on_break:
                    on_break(broken)
            if time.monotonic() > deadline:
                raise NotEnded(f"job {job_id} has not ended within {timeout_s:g} s")
            await self._sleep(min(parser.retry_s or 0.5, LONGEST_WAIT_S))
            parser = EventParser(last_id=parser.last_id, retry_s=parser.retry_s)

    async def _move(self, job_id: str, move: str) -> AsyncJob:
        return self._job(document(await self._repeatable("POST", f"/v1/jobs/{segment(job_id)}/{move}")))

    def _job(self, answer: Mapping[str, Any]) -> AsyncJob:
        return AsyncJob.of(self, answer)

    # ------------------------------------------------------------------ models
    async def predict(self, job_id: str, rows: Any) -> list[Prediction]:
        """Predictions for `rows`, dictionaries or a table as `train` takes it, in order.

        Many rows are sent in several requests of a bounded size each. Raises Refused, or InvalidInput for what is no
        JSON, with the field that is wrong (`rows[1203].age`: the 1204th of `rows`).
        """
        path, headers = f"/v1/jobs/{segment(job_id)}/predict", {"Content-Type": "application/json"}
        predictions: list[Prediction] = []
        for batch in _batches(rows_of(rows), predictions):
            most = len(batch)
            while batch:
                body = b'{"rows":[' + b",".join(batch[:most]) + b"]}"
                try:
                    answer = await self._repeatable("POST", path, content=body, headers=headers)
                except Refused as refused:
                    if most == 1 or [problem.field for problem in refused.fields] != ["rows"]:
                        raise refused.shifted(len(predictions)) from None
                    most = 1  # whose answer shows how many there may be
                    continue
                predictions.extend(map(Prediction.of, document(answer)["predictions"]))
                batch = batch[most:]
                most = _rows_at_once(predictions)
        return predictions

    async def evaluation(self, job_id: str) -> Evaluation:
        """How good the model of a job that has succeeded is on the rows that it was validated on. Raises Conflict for
        one that has not, or was validated on none, and NotFound where these rows were deleted."""
        return Evaluation.of(await self._get(f"/v1/jobs/{segment(job_id)}/evaluation"))

    async def download_model(
        self, job_id: str, path: str | Path, *, progress: Callable[[int, int], None] | None = None
    ) -> Path:
        """Writes the model, one safetensors file, to `path`: whole, or not at all.

        `progress(received, total)` is called with bytes; it begins anew where the line broke.
        """
        path = Path(path)

        async def written() -> Path:
            async with self._open(_model(job_id)) as response:
                total = int(response.headers.get("Content-Length", 0))
                with files.whole(path) as file:
                    async for piece in response.aiter_bytes():
                        file.write(piece)
                        if progress:
                            progress(file.tell(), total)
            return path

        return await self._again(written)

    async def model(self, job_id: str) -> "Model":
        """The trained model, to predict with on this machine. It needs chainrule[model]."""
        from chainrule.model import Model  # late, because it loads numpy, which nothing else here needs

        answer = await self._repeatable("GET", _model(job_id))
        return await aside(Model.from_bytes, answer.content)

    async def model_metadata(self, job_id: str) -> dict[str, str]:
        """What the model says of itself (spec, preprocessing, classes, digest): only the head of the file is read."""

        async def read() -> dict[str, str]:
            head = bytearray()
            async with self._open(_model(job_id)) as response:
                async for piece in response.aiter_bytes():
                    head += piece
                    if (header := safetensors.header(head)) is not None:
                        return safetensors.metadata(header)
            raise ChainruleError("the service sent a model that is not a safetensors file: it ends early")

        return await self._again(read)

    # ------------------------------------------------------------------ keys
    async def add_key(
        self,
        name: str,
        scopes: Sequence[str] = ("submit",),
        *,
        tenant: str | None = None,
        expires_in_s: int | None = None,
    ) -> MadeKey:
        """Makes a key for a tenant (`default`, if none is named); only the answer holds the key. Needs `admin`."""
        asked = given({"name": name, "scopes": list(scopes), "tenant": tenant, "expires_in_s": expires_in_s})
        return MadeKey.of(document(await self._send("POST", "/v1/keys", **json_body(asked))))

    async def keys(self, limit: int | None = None, cursor: str | None = None) -> AsyncPage[Key]:
        """The keys of all tenants, newest first, page by page as `jobs`. Needs `admin`."""
        return await self.page("/v1/keys", Key.of, {"limit": limit, "cursor": cursor})

    async def revoke_key(self, key_id: str) -> None:
        """Revokes a key; repeating is harmless. Raises Conflict for the last admin key. Needs `admin`."""
        await self._repeatable("DELETE", f"/v1/keys/{segment(key_id)}")

    async def whoami(self) -> WhoAmI:
        """Whose key is sent: its tenant, and what it allows."""
        return WhoAmI.of(await self._get("/v1/session"))

    async def signin_link(self) -> SigninLink:
        """What opens the page signed in with this key, once, within ten minutes."""
        return SigninLink.of(document(await self._send("POST", "/v1/signin-links")))

    # ------------------------------------------------------------------ tenants
    async def quota(self) -> OwnQuota:
        """What one's own tenant may have, and what it has."""
        return OwnQuota.of(await self._get("/v1/quota"))

    async def tenants(self, limit: int | None = None, cursor: str | None = None) -> AsyncPage[Tenant]:
        """All tenants, by name, with their quotas, page by page as `jobs`. Needs `admin`."""
        return await self.page("/v1/tenants", Tenant.of, {"limit": limit, "cursor": cursor})

    async def tenant(self, name: str) -> Tenant:
        """One tenant with its quota. Needs `admin`."""
        return Tenant.of(await self._get(f"/v1/tenants/{segment(name)}"))

    async def set_quota(self, name: str, **quota: float | None) -> Tenant:
        """Sets all of a tenant's quota; what is left out, or None, is the service's default. Needs `admin`.

        `running_jobs`, `cpus`, `queued_jobs`, `stored_bytes`, `submits_per_minute` and `max_priority` are limits;
        `share` is how many times the CPUs of others its jobs get while others wait.
        """
        path = f"/v1/tenants/{segment(name)}/quota"
        return Tenant.of(document(await self._repeatable("PUT", path, **json_body(quota))))

    # ------------------------------------------------------------------ the service
    async def ready(self) -> bool:
        """Whether the service takes jobs now. Raises Unreachable when nothing answers."""
        return (await self._send("GET", "/readyz", refuse=False)).status_code == 200

    async def version(self) -> Version:
        """Which service answers."""
        return Version.of(await self._get("/v1/version"))

    async def cluster(self) -> Cluster:
        """The machines, their CPUs, how many are free, their BLAS kernels."""
        return Cluster.of(await self._get("/v1/cluster"))


def _model(job_id: str) -> str:
    return f"/v1/jobs/{segment(job_id)}/model"


def _rows_at_once(told: Sequence[Prediction]) -> int:
    """How many rows may be asked for, as the last answer shows."""
    if not told:
        return PREDICT_FIRST_ROWS
    numbers = told[-1].probabilities or told[-1].value
    if not isinstance(numbers, dict):
        return PREDICT_ROWS
    lengths = [len(name) for name in numbers]
    most = min(PREDICT_NUMBERS // len(lengths), PREDICT_CHARACTERS // (sum(lengths) + max(lengths)))
    return max(1, min(PREDICT_ROWS, most))


def _batches(rows: Iterable[Mapping[str, Any]], told: Sequence[Prediction]) -> Iterator[Sequence[bytes]]:
    """The rows as JSON, in lists that each fit into one request; `told` grows meanwhile. Raises InvalidInput."""
    batch: list[bytes] = []
    size = 0
    for number, row in enumerate(rows):
        text = json_text(row, f"rows[{number}]")
        if batch and (size + len(text) > PREDICT_BODY_BYTES or len(batch) >= _rows_at_once(told)):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text) + 1
    if batch:
        yield batch
