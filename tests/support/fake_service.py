"""A service in memory that answers as the REST contract says, as far as a client can see; it trains nothing."""

import gzip
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar

import httpx

CREATED = "2026-11-23T10:00:00Z"
NO_QUOTA = ("running_jobs", "cpus", "queued_jobs", "stored_bytes", "submits_per_minute", "max_priority", "share")
FEATURES = [{"name": "age", "type": "integer"}, {"name": "workclass", "type": "category"}]


def after(seconds: int) -> str:
    """The time so long after CREATED."""
    return (datetime.fromisoformat(CREATED) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def safetensors_file(metadata: dict[str, str]) -> bytes:
    """A whole model file: one input, one output, y = 1 x + 0."""
    tensors = {
        "layers.0.weights": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]},
        "layers.0.bias": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
    }
    head = json.dumps({"__metadata__": metadata, **tensors}).encode()
    return len(head).to_bytes(8, "little") + head + b"\0\0\x80?" + bytes(4)


def event(number: int, kind: str, data: dict[str, Any]) -> bytes:
    """One server-sent event as bytes."""
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def log_line(seq: int, message: str = "started on 2 CPUs", level: str = "info") -> dict[str, Any]:
    """A line of a job's log."""
    told = {"seq": seq, "at": CREATED, "level": level, "source": "control_plane", "message": message, "attempt": 1}
    return dict(told)


def problem(
    status: int, title: str, detail: str, errors: Sequence[dict[str, Any]] = (), retry_after: str | None = None
) -> httpx.Response:
    """An error as RFC 9457 describes it."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, "request_id": "req_1"}
    return httpx.Response(
        status,
        headers={"Content-Type": "application/problem+json", **({"Retry-After": retry_after} if retry_after else {})},
        content=json.dumps({**body, **({"errors": list(errors)} if errors else {})}),
    )


@dataclass
class FakeService:
    """Data sets and jobs in dictionaries. `answers` are given first, in order, whatever is asked; `streams` are the
    event streams of successive connections, and `end` the state that a job is in once one was read to its end;
    `queues` are where a job stands each time that it is asked for, and `why` is of its only move. `page` is the most
    items that a list gives."""

    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)
    answers: list[httpx.Response | httpx.TransportError] = field(default_factory=list)
    streams: list[Sequence[bytes | httpx.TransportError]] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    made_keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    quotas: dict[str, dict[str, Any]] = field(default_factory=lambda: {"default": dict.fromkeys(NO_QUOTA)})
    queues: list[dict[str, Any] | None] = field(default_factory=list)
    webhooks: dict[str, dict[str, Any]] = field(default_factory=dict)
    deliveries: list[dict[str, Any]] = field(default_factory=list)
    end: str | None = None
    why: str = "2 CPUs are free"
    page: int = 500

    def transport(self) -> httpx.MockTransport:
        """What a client is made with to speak to this service."""
        return httpx.MockTransport(self.handle)

    def async_transport(self) -> httpx.MockTransport:
        """The same for an asynchronous client; streams come whole."""

        def handle(request: httpx.Request) -> httpx.Response:
            answer = self.handle(request)
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.read())

        return httpx.MockTransport(handle)

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, httpx.TransportError):
                raise answer
            return answer
        path = request.url.raw_path.decode().partition("?")[0]
        for method, pattern, act in self.routes:
            if request.method == method and (match := re.fullmatch(pattern, path)):
                return act(self, request, *match.groups())
        return problem(404, "Not Found", f"there is no {path}")

    # ---------------------------------------------------------------- data sets
    def add_dataset(self, request: httpx.Request) -> httpx.Response:
        name = request.url.params["name"]
        body = request.content
        if int(request.headers["Content-Length"]) != len(body):
            return problem(400, "Bad Request", "the length does not match")
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        digest = hashlib.sha256(body).hexdigest()
        there = self.datasets.get(name)
        if there and there["sha256"] == digest:
            return httpx.Response(200, json=there)
        self.datasets[name] = {
            "id": f"ds_{len(self.datasets) + 1:02}",
            "name": name,
            "version": there["version"] + 1 if there else 1,
            "rows": body.count(b"\n") - 1,
            "size_bytes": len(body),
            "sha256": digest,
            "created_at": CREATED,
            "columns": [
                {"name": "age", "type": "integer", "missing": 0, "min": 17, "max": 90, "mean": 38.6},
                {"name": "workclass", "type": "category", "missing": 1, "distinct": 8, "most_common": ["Private"]},
                {"name": "image", "type": "tensor", "missing": 0, "shape": [28, 28], "dtype": "uint8"},
                {
                    "name": "zip",
                    "type": "category",
                    "missing": 0,
                    "distinct": 9,
                    "note": "read as category: row 3 has 'x'",
                },
            ],
        }
        return httpx.Response(201, json=self.datasets[name])

    def _dataset(self, which: str) -> dict[str, Any] | None:
        return next((one for name, one in self.datasets.items() if which in (name, one.get("id"))), None)

    def list_datasets(self, request: httpx.Request) -> httpx.Response:
        return self._page_of(request, list(self.datasets.values())[::-1])

    def get_dataset(self, request: httpx.Request, which: str) -> httpx.Response:
        dataset = self._dataset(which)
        return (
            httpx.Response(200, json=dataset) if dataset else problem(404, "Not Found", f"there is no data set {which}")
        )

    def delete_dataset(self, request: httpx.Request, which: str) -> httpx.Response:
        dataset = self._dataset(which)
        if dataset is None or dataset["id"] != which:
            return problem(404, "Not Found", f"there is no data set {which}")
        users = [job["id"] for job in self.jobs.values() if job["state"] in ("queued", "running", "paused")]
        if users:
            return problem(409, "Conflict", f"data set {which} is used by {users[0]}, which has not ended")
        del self.datasets[dataset["name"]]
        return httpx.Response(204)

    # ---------------------------------------------------------------- jobs
    def submit(self, request: httpx.Request) -> httpx.Response:
        spec = json.loads(request.content)
        errors = [
            {"field": f"layers[{number}].units", "got": layer["units"], "expected": "an integer from 1 to 1,000,000"}
            for number, layer in enumerate(spec.get("layers", []))
            if layer.get("units", 1) < 1
        ]
        if self._dataset(spec.get("dataset", "")) is None:
            errors.append({"field": "dataset", "got": spec.get("dataset"), "expected": "the id or name of a data set"})
        if errors:
            return problem(422, "Unprocessable Content", "the spec is wrong", errors)
        if request.url.params.get("dry_run") == "true":
            return httpx.Response(
                200, json={"spec": spec, "parameters": 9025, "steps": 2540, "memory_bytes": 10**8, "notes": []}
            )
        key = request.headers["Idempotency-Key"]
        if key in self.keys:
            return httpx.Response(200, json=self.jobs[self.keys[key]])
        job = self.add_job(spec)
        self.keys[key] = job["id"]
        return httpx.Response(202, headers={"Location": f"/v1/jobs/{job['id']}"}, json=job)

    def add_job(self, spec: dict[str, Any], state: str = "queued") -> dict[str, Any]:
        """A job, made directly."""
        job = {
            "id": f"job_{len(self.jobs) + 1:02}",
            "name": spec.get("name", "untitled"),
            "state": state,
            "reason": None,
            "labels": spec.get("labels", {}),
            "priority": 0,
            "dataset_id": "ds_01",
            "spec": spec,
            "dataset_sha256": "d" * 64,
            "progress": {"fraction": 0.42, "step": 1068, "steps": 2540, "epoch": 8, "epochs": 20, "eta_s": 3.1},
            "metrics": {"train_loss": 0.31, "validation_loss": 0.33},
            "workers": 2,
            "attempt": 1,
            "inputs": 108,
            "outputs": 1,
            "parameters": 9025,
            "parameters_sha256": "a" * 64 if state == "succeeded" else None,
            "environment": {"blas_kernel": "SkylakeX", "version": "0.1.0"},
            "owner": "the nightly jobs",
            "created_at": CREATED,
            "started_at": None,
            "finished_at": None,
            "notes": [],
            "error": None,
        }
        self.jobs[job["id"]] = job
        return job

    def list_jobs(self, request: httpx.Request) -> httpx.Response:
        states, labels = (request.url.params.get_list(name) for name in ("state", "label"))
        wanted = [label.split("=") for label in labels]
        items = [
            job
            for job in list(self.jobs.values())[::-1]
            if (not states or job["state"] in states) and all(job["labels"].get(key) == value for key, value in wanted)
        ]
        return self._page_of(request, items)

    def _page_of(self, request: httpx.Request, items: list[Any]) -> httpx.Response:
        start = int(request.url.params.get("cursor", 0))
        end = start + min(int(request.url.params.get("limit", 50)), self.page)
        return httpx.Response(
            200, json={"items": items[start:end], "next_cursor": str(end) if end < len(items) else None}
        )

    def get_job(self, request: httpx.Request, job_id: str) -> httpx.Response:
        if self.queues:
            self.jobs[job_id]["queue"] = self.queues.pop(0)
        return self._with(job_id, lambda job: httpx.Response(200, json=job))

    def _with(self, job_id: str, act: Callable[[dict[str, Any]], httpx.Response]) -> httpx.Response:
        job = self.jobs.get(job_id)
        return act(job) if job else problem(404, "Not Found", f"there is no job {job_id}")

    def delete_job(self, request: httpx.Request, job_id: str) -> httpx.Response:
        def act(job: dict[str, Any]) -> httpx.Response:
            if job["state"] in ("queued", "running", "paused"):
                return problem(409, "Conflict", f"job {job_id} is {job['state']}; cancel it first")
            del self.jobs[job_id]
            return httpx.Response(204)

        return self._with(job_id, act)

    def move(self, request: httpx.Request, job_id: str, move: str) -> httpx.Response:
        target = {"cancel": "cancelled", "pause": "paused", "resume": "queued"}[move]

        def act(job: dict[str, Any]) -> httpx.Response:
            if job["state"] in ("succeeded", "failed"):
                return problem(409, "Conflict", f"job {job_id} is {job['state']} and cannot {move}")
            job["state"] = target
            return httpx.Response(202, json=job)

        return self._with(job_id, act)

    def metrics(self, request: httpx.Request, job_id: str) -> httpx.Response:
        items = [{"step": 127 * epoch, "epoch": epoch, "train_loss": 1 / epoch} for epoch in range(1, 13)]
        return self._with(job_id, lambda job: self._page_of(request, items))

    def history(self, request: httpx.Request, job_id: str) -> httpx.Response:
        items = [{"from": "queued", "to": "running", "when": CREATED, "why": self.why, "attempt": 1}]
        return self._with(job_id, lambda job: self._page_of(request, items))

    def logs(self, request: httpx.Request, job_id: str) -> httpx.Response:
        items = [log_line(seq) for seq in range(1, 4) if seq > int(request.url.params.get("after", 0))]
        return self._with(job_id, lambda job: self._page_of(request, items))

    def events(self, request: httpx.Request, job_id: str) -> httpx.Response:
        def pieces() -> Iterator[bytes]:
            for piece in self.streams.pop(0) if self.streams else ():
                if isinstance(piece, httpx.TransportError):
                    raise piece
                yield piece
            if self.end is not None:
                self.jobs[job_id]["state"] = self.end

        headers = {"Content-Type": "text/event-stream"}
        return self._with(job_id, lambda job: httpx.Response(200, headers=headers, content=pieces()))

    # ---------------------------------------------------------------- models and the rest
    def model(self, request: httpx.Request, job_id: str) -> httpx.Response:
        metadata = {
            "format": "chainrule-model-1",
            "spec": json.dumps({"layers": []}),
            "preprocessing": json.dumps({"features": FEATURES}),
            "parameters_sha256": "a" * 64,
        }

        def act(job: dict[str, Any]) -> httpx.Response:
            if job["state"] != "succeeded":
                return problem(409, "Conflict", f"job {job_id} is {job['state']}; it has no model yet")
            return httpx.Response(200, content=safetensors_file(metadata))

        return self._with(job_id, act)

    def predict(self, request: httpx.Request, job_id: str) -> httpx.Response:
        rows = json.loads(request.content)["rows"]
        for number, row in enumerate(rows):
            if row["age"] is not None and row["age"] < 0:
                error = {"field": f"rows[{number}].age", "got": row["age"], "expected": "an age"}
                return problem(422, "Unprocessable Content", "a row is wrong", [error])
        young = {"value": "<=50K", "probabilities": {"<=50K": 0.9, ">50K": 0.1}}
        old = {"value": ">50K", "probabilities": {"<=50K": 0.2, ">50K": 0.8}}
        predictions = [old if row["age"] is not None and row["age"] > 40 else young for row in rows]
        return self._with(job_id, lambda job: httpx.Response(200, json={"predictions": predictions}))

    # ---------------------------------------------------------------- keys
    def add_key(self, request: httpx.Request) -> httpx.Response:
        sent = json.loads(request.content)
        made = {
            "id": f"key_{len(self.made_keys):08}",
            "name": sent["name"],
            "tenant": sent.get("tenant", "default"),
            "scopes": sent["scopes"],
            "created_at": CREATED,
            "expires_at": after(sent["expires_in_s"]) if "expires_in_s" in sent else None,
            "revoked_at": None,
        }
        self.made_keys[made["id"]] = made
        return httpx.Response(201, json={**made, "key": "chainrule_secret"})

    def list_keys(self, request: httpx.Request) -> httpx.Response:
        return self._page_of(request, list(self.made_keys.values())[::-1])

    def revoke_key(self, request: httpx.Request, key_id: str) -> httpx.Response:
        if key_id not in self.made_keys:
            return problem(404, "Not Found", f"there is no key {key_id}")
        self.made_keys[key_id]["revoked_at"] = CREATED
        return httpx.Response(204)

    def signin_link(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(201, json={"code": "c0de", "path": "/#signin=c0de", "expires_at": CREATED})

    def quota_of(self, name: str) -> dict[str, Any]:
        defaults = {"running_jobs": None, "cpus": None, "queued_jobs": 1_000, "stored_bytes": 50_000_000_000}
        defaults |= {"submits_per_minute": 600, "max_priority": 0, "share": 1.0}
        limits = defaults | {key: value for key, value in self.quotas[name].items() if value is not None}
        usage = {"running_jobs": 1, "cpus": 2, "queued_jobs": 3, "stored_bytes": 3_551_168}
        return {"name": name, "created_at": CREATED, "quota": self.quotas[name], "limits": limits, "usage": usage}

    def own_quota(self, request: httpx.Request) -> httpx.Response:
        told = self.quota_of("default")
        return httpx.Response(200, json={"tenant": "default", "limits": told["limits"], "usage": told["usage"]})

    def list_tenants(self, request: httpx.Request) -> httpx.Response:
        return self._page_of(request, [self.quota_of(name) for name in sorted(self.quotas)])

    def get_tenant(self, request: httpx.Request, name: str) -> httpx.Response:
        if name not in self.quotas:
            return problem(404, "Not Found", f"there is no tenant {name}")
        return httpx.Response(200, json=self.quota_of(name))

    def set_quota(self, request: httpx.Request, name: str) -> httpx.Response:
        self.quotas[name] = {**dict.fromkeys(NO_QUOTA), **json.loads(request.content)}
        return self.get_tenant(request, name)

    # ---------------------------------------------------------------- webhooks
    def add_webhook(self, request: httpx.Request) -> httpx.Response:
        made = {
            "id": f"wh_{len(self.webhooks):02}",
            "events": ["job.succeeded", "job.failed", "job.cancelled"],
            "labels": {},
            "description": "",
            "enabled": True,
            "disabled_reason": None,
            "failing_since": None,
            "old_secret_until": None,
            "created_at": CREATED,
            **json.loads(request.content),
        }
        self.webhooks[made["id"]] = made
        return httpx.Response(201, json={**made, "secret": "whsec_c2VjcmV0"})

    def list_webhooks(self, request: httpx.Request) -> httpx.Response:
        return self._page_of(request, list(self.webhooks.values())[::-1])

    def webhook(self, request: httpx.Request, webhook_id: str, what: str = "") -> httpx.Response:
        found = self.webhooks.get(webhook_id)
        if found is None:
            return problem(404, "Not Found", f"there is no webhook {webhook_id}")
        match request.method, what:
            case "DELETE", "":
                del self.webhooks[webhook_id]
                return httpx.Response(204)
            case "PATCH", "":
                changes = json.loads(request.content)
                enabled = changes.get("enabled", True)
                found |= {**changes, "disabled_reason": None if enabled else "by request"}
            case "POST", "/rotate_secret":
                return httpx.Response(200, json={**found, "old_secret_until": after(86_400), "secret": "whsec_bmV3"})
            case "GET", "/deliveries":
                wanted = request.url.params.get("state")
                return self._page_of(request, [each for each in self.deliveries if wanted in (None, each["state"])])
            case "POST", _:
                return httpx.Response(202, json=self.add_delivery())
        return httpx.Response(200, json=found)

    def add_delivery(self, state: str = "pending", error: str | None = None) -> dict[str, Any]:
        """A delivery, made directly."""
        made: dict[str, Any] = {
            "id": f"dlv_{len(self.deliveries):02}",
            "event": "ping",
            "state": state,
            "attempts": 0,
            "error": error,
            "next_attempt_at": CREATED if state == "pending" else None,
            "created_at": CREATED,
            "payload": {"type": "ping"},
            **dict.fromkeys(("attempted_at", "response_status", "duration_s", "response_body")),
        }
        self.deliveries.append(made)
        return made

    def ready(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"status": "ready"})

    def version(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"version": "0.1.0"})

    routes: ClassVar[tuple[tuple[str, str, Callable[..., httpx.Response]], ...]] = (
        ("POST", "/v1/keys", add_key),
        ("GET", "/v1/keys", list_keys),
        ("DELETE", "/v1/keys/([^/]+)", revoke_key),
        ("POST", "/v1/signin-links", signin_link),
        ("GET", "/v1/quota", own_quota),
        ("GET", "/v1/tenants", list_tenants),
        ("GET", "/v1/tenants/([^/]+)", get_tenant),
        ("PUT", "/v1/tenants/([^/]+)/quota", set_quota),
        ("POST", "/v1/webhooks", add_webhook),
        ("GET", "/v1/webhooks", list_webhooks),
        ("GET", "/v1/webhooks/([^/]+)(/deliveries|)", webhook),
        ("PATCH", "/v1/webhooks/([^/]+)", webhook),
        ("POST", "/v1/webhooks/([^/]+)(/.+)", webhook),
        ("DELETE", "/v1/webhooks/([^/]+)", webhook),
        ("POST", "/v1/datasets", add_dataset),
        ("GET", "/v1/datasets", list_datasets),
        ("GET", "/v1/datasets/([^/]+)", get_dataset),
        ("DELETE", "/v1/datasets/([^/]+)", delete_dataset),
        ("POST", "/v1/jobs", submit),
        ("GET", "/v1/jobs", list_jobs),
        ("GET", "/v1/jobs/([^/]+)", get_job),
        ("DELETE", "/v1/jobs/([^/]+)", delete_job),
        ("POST", "/v1/jobs/([^/]+)/(cancel|pause|resume)", move),
        ("GET", "/v1/jobs/([^/]+)/metrics", metrics),
        ("GET", "/v1/jobs/([^/]+)/history", history),
        ("GET", "/v1/jobs/([^/]+)/logs", logs),
        ("GET", "/v1/jobs/([^/]+)/(?:events|logs/stream)", events),
        ("GET", "/v1/jobs/([^/]+)/model", model),
        ("POST", "/v1/jobs/([^/]+)/predict", predict),
        ("GET", "/readyz", ready),
        ("GET", "/v1/version", version),
    )
