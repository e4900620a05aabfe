"""Examples of the API's bodies, as the OpenAPI document shows them: one job on the census, told through."""

import json
from typing import Any

from shared.spec import JobSpec

__all__ = [
    "ANSWERS",
    "BODIES",
    "DATASET_ID",
    "JOB_ID",
    "KEY",
    "KEY_ID",
    "QUOTA",
    "ROWS",
    "SIGNIN",
    "SPEC",
    "WEBHOOK",
    "WEBHOOK_CHANGE",
    "WEBHOOK_ID",
]

Json = dict[str, Any]

JOB_ID = "job_01K9T4Z3N7J5W8QH2M6RVYBXCD"
DATASET_ID = "ds_01K9T4Y8V2C6D0E4F8G2H6J0KM"
KEY_ID = "key_ab12cd34"
WEBHOOK_ID = "wh_01K9T50A1B2C3D4E5F6G7H8J9K"
SHA256 = "9007ff524acf0776b9598a0ed883058df91f59c003e78cb2cddd88f87535fc86"
SUBMITTED_AT, STARTED_AT = "2026-11-23T10:15:00.000000Z", "2026-11-23T10:15:00.042117Z"

# ---------------------------------------------------------------- what is sent
SPEC: Json = {
    "name": "adult-income",
    "dataset": "adult",
    "target": "income",
    "features": ["age", "workclass", "education", "hours_per_week"],
    "layers": [
        {"type": "dense", "units": 64, "activation": "relu"},
        {"type": "dropout", "rate": 0.1},
        {"type": "dense", "units": 32, "activation": "relu"},
    ],
    "optimizer": {"type": "adam", "learning_rate": 0.001},
    "batch_size": 256,
    "epochs": 20,
    "validation": {"fraction": 0.1},
    "early_stopping": {"patience": 3},
    "workers": 2,
    "seed": 0,
}
ROWS: Json = {
    "rows": [
        {"age": 39, "workclass": "State-gov", "education": "Bachelors", "hours_per_week": 40},
        {"age": 52, "workclass": None, "education": "Doctorate", "hours_per_week": 50},
    ]
}

KEY: Json = {"name": "the nightly jobs", "tenant": "risk", "scopes": ["submit"], "expires_in_s": 7776000}
QUOTA: Json = {"cpus": 8, "stored_bytes": 50_000_000_000, "share": 2.0}
SIGNIN: Json = {"code": "tQ3oB1vY2mZ7cX0nR5kL8pW4sD6fG9hJ_aE-iUyTqMs"}

WEBHOOK: Json = {
    "url": "https://example.com/hooks/chainrule",
    "events": ["job.succeeded", "job.failed"],
    "labels": {"team": "risk"},
    "description": "the nightly jobs",
}
WEBHOOK_CHANGE: Json = {"enabled": True}

# ---------------------------------------------------------------- data sets
DATASET: Json = {
    "id": DATASET_ID,
    "name": "adult",
    "version": 1,
    "rows": 32561,
    "size_bytes": 3551168,
    "sha256": SHA256,
    "created_at": "2026-11-23T10:14:12.310274Z",
    "columns": [
        {"name": "age", "type": "integer", "missing": 0, "min": 17, "max": 90, "mean": 38.58164675532078},
        {
            "name": "workclass",
            "type": "category",
            "missing": 1836,
            "distinct": 8,
            "most_common": ["Private", "Self-emp-not-inc", "Local-gov", "State-gov", "Self-emp-inc"],
        },
        {"name": "income", "type": "category", "missing": 0, "distinct": 2, "most_common": ["<=50K", ">50K"]},
    ],
}
PREVIEW: Json = {
    "rows": [
        {"age": 39, "workclass": "State-gov", "income": "<=50K"},
        {"age": 27, "workclass": None, "income": "<=50K"},
    ]
}

HISTOGRAMS: list[Json] = [
    {"column": "age", "rows": 32561, "edges": [17.0, 35.25, 53.5, 71.75, 90.0], "counts": [14577, 13096, 4357, 531]},
    {"column": "income", "rows": 32561, "values": ["<=50K", ">50K"], "counts": [24720, 7841], "others": 0},
]

# ---------------------------------------------------------------- jobs
COMPLETED: Json = JobSpec.model_validate(
    {**SPEC, "task": "classification", "loss": {"type": "cross_entropy"}}
).model_dump(mode="json")
PROGRESS: Json = {"fraction": 0.4, "step": 920, "steps": 2300, "epoch": 8, "epochs": 20, "eta_s": 3.1}
METRICS: Json = {
    "train_loss": 0.39,
    "learning_rate": 0.001,
    "samples_per_s": 141000.0,
    "validation_loss": 0.41,
    "validation_accuracy": 0.81,
    "validation_auc": 0.86,
}
JOB: Json = {
    "id": JOB_ID,
    "name": "adult-income",
    "state": "running",
    "reason": None,
    "spec": COMPLETED,
    "labels": {},
    "priority": 0,
    "dataset_id": DATASET_ID,
    "dataset_sha256": SHA256,
    "progress": PROGRESS,
    "metrics": METRICS,
    "workers": 2,
    "attempt": 1,
    "inputs": 27,
    "outputs": 1,
    "parameters": 3905,
    "parameters_sha256": None,
    "environment": {
        "blas_kernel": "SkylakeX",
        "version": "0.1.0",
        "python": "3.11.9",
        "numpy": "2.3.5",
        "machine": "x86_64",
    },
    "notes": [],
    "queue": None,
    "owner": "the nightly jobs",
    "created_at": SUBMITTED_AT,
    "started_at": STARTED_AT,
    "finished_at": None,
    "error": None,
}
QUEUED: Json = {
    **JOB,
    "state": "queued",
    "reason": "waits for its turn to be given CPUs",
    "progress": {"fraction": 0.0, "step": 0, "steps": 2300, "epoch": 0, "epochs": 20, "eta_s": None},
    "metrics": {},
    "workers": 0,
    "environment": {},
    "queue": {"position": 3, "estimated_start_at": "2026-11-23T10:21:30.000000Z"},
    "started_at": None,
}
FIRST: Json = {"position": 1, "estimated_start_at": None}
DRY_RUN: Json = {
    "spec": COMPLETED,
    "inputs": 27,
    "outputs": 1,
    "classes": 2,
    "parameters": 3905,
    "training_rows": 29305,
    "validation_rows": 3256,
    "steps_per_epoch": 115,
    "steps": 2300,
    "memory_bytes": 674401604,
    "disk_bytes": 3896752,
    "notes": [],
}
METRIC: Json = {"step": 115, "epoch": 1, "elapsed_s": 0.4, **METRICS}
MOVES: list[Json] = [
    {"from": None, "to": "queued", "when": SUBMITTED_AT, "why": "Submitted.", "attempt": 1},
    {"from": "queued", "to": "running", "when": STARTED_AT, "why": "started on 2 CPUs", "attempt": 1},
]


def _event(number: int, kind: str, data: Json) -> str:
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"


MOVED: Json = {"from": None, "to": "queued", "reason": "Submitted.", "attempt": 1, "at": SUBMITTED_AT}
EVENTS = (
    _event(1, "state", {**MOVED, "state": "queued"})
    + _event(2, "progress", {**PROGRESS, "metrics": METRICS})
    + _event(3, "metrics", METRIC)
    + _event(4, "workers", {"workers": 1, "step": 920, "why": "resized"})
    + ": still here\n\n"
)

LOG: list[Json] = [
    {
        **{"seq": 1, "at": SUBMITTED_AT, "level": "info", "source": "control_plane"},
        **{"message": "queued: Submitted.", "attempt": 1},
    },
    {
        **{"seq": 4, "at": STARTED_AT, "level": "info", "source": "coordinator"},
        **{"message": "computes with 2 workers on 127.0.0.1, BLAS kernel SkylakeX; starts from the beginning"},
        "attempt": 1,
    },
]

# ---------------------------------------------------------------- models
MODEL_FILE = '…{"__metadata__":{"format":"chainrule-model-1",…},"layers.0.weights":{"dtype":"F32",…},…}…'
PREDICTIONS: Json = {
    "predictions": [
        {"value": "<=50K", "probabilities": {"<=50K": 0.72, ">50K": 0.28}},
        {"value": ">50K", "probabilities": {"<=50K": 0.35, ">50K": 0.65}},
    ]
}

EVALUATION: Json = {
    "task": "classification",
    "rows": 3256,
    "of_rows": 3256,
    "classes": ["<=50K", ">50K"],
    "confusion": [[2301, 171], [322, 462]],
    "roc": {"x": [0.0, 0.07, 1.0], "y": [0.0, 0.59, 1.0], "threshold": [None, 0.0, -6.2], "area": 0.86},
    "precision_recall": {"x": [0.0, 0.59, 1.0], "y": [1.0, 0.73, 0.24], "threshold": [None, 0.0, -6.2], "area": 0.69},
}

# ---------------------------------------------------------------- the service
NODE: Json = {
    "id": "3f2a9c0e5b7d48169a3c2e1f0d4b8a7c6e5f4d3c2b1a09f8e7d6c5b4",
    "address": "127.0.0.1",
    "cpus": 2.0,
    "cpus_free": 0.0,
    "memory_bytes": 8_000_000_000,
    "blas_kernel": "SkylakeX",
}

# ---------------------------------------------------------------- keys
MADE_KEY: Json = {
    "id": KEY_ID,
    "name": "the nightly jobs",
    "tenant": "risk",
    "scopes": ["read", "submit"],
    "created_at": SUBMITTED_AT,
    "expires_at": "2027-02-21T10:15:00.000000Z",
    "revoked_at": None,
}
LIMITS: Json = {
    "running_jobs": None,
    "cpus": 8,
    "queued_jobs": 100_000,
    "stored_bytes": 50_000_000_000,
    "submits_per_minute": 3_000,
    "max_priority": 0,
    "share": 2.0,
}
USED: Json = {"running_jobs": 1, "cpus": 2, "queued_jobs": 3, "stored_bytes": 3_566_788}
TENANT: Json = {
    "name": "risk",
    "created_at": SUBMITTED_AT,
    "quota": {**dict.fromkeys(LIMITS), **QUOTA},
    "limits": LIMITS,
    "usage": USED,
}
HOLDER: Json = {
    "tenant": "risk",
    "scopes": ["read", "submit"],
    "key": {"id": KEY_ID, "name": "the nightly jobs"},
}

TELEMETRY = """# HELP chainrule_jobs Jobs in each state, of all control planes.
# TYPE chainrule_jobs gauge
chainrule_jobs{state="queued"} 3.0
chainrule_jobs{state="running"} 2.0
"""

# ---------------------------------------------------------------- webhooks
MADE_WEBHOOK: Json = {
    "id": WEBHOOK_ID,
    **WEBHOOK,
    "enabled": True,
    "disabled_reason": None,
    "failing_since": None,
    "old_secret_until": None,
    "created_at": SUBMITTED_AT,
}
JOB_EVENT: Json = {
    "type": "job.succeeded",
    "timestamp": "2026-11-23T10:15:05.318822Z",
    "data": {
        "id": JOB_ID,
        "name": "adult-income",
        "metrics": METRICS,
        "parameters_sha256": SHA256,
        "error": None,
        "created_at": SUBMITTED_AT,
        "started_at": STARTED_AT,
        "finished_at": "2026-11-23T10:15:05.318822Z",
        "labels": {"team": "risk"},
        "seq": 44,
        "from": "running",
        "state": "succeeded",
        "reason": "trained to its end",
        "attempt": 1,
    },
}
PING_EVENT: Json = {"type": "ping", "timestamp": SUBMITTED_AT, "data": {"webhook_id": WEBHOOK_ID}}
DELIVERY: Json = {
    "id": "dlv_01K9T51R2S3T4V5W6X7Y8Z9A0B",
    "event": "job.succeeded",
    "state": "succeeded",
    "attempts": 1,
    "attempted_at": "2026-11-23T10:15:05.611204Z",
    "response_status": 200,
    "duration_s": 0.12,
    "error": None,
    "response_body": "ok",
    "next_attempt_at": None,
    "created_at": "2026-11-23T10:15:05.318822Z",
    "payload": JOB_EVENT,
}
PING_DELIVERY: Json = {
    **DELIVERY,
    "event": "ping",
    "state": "pending",
    "attempts": 0,
    **dict.fromkeys(("attempted_at", "response_status", "duration_s", "response_body")),
    "next_attempt_at": SUBMITTED_AT,
    "created_at": SUBMITTED_AT,
    "payload": PING_EVENT,
}

BODIES: dict[str, Json] = {
    "CheckpointPage": {"items": [{"step": 805, "sha256": SHA256}], "next_cursor": None},
    "ClusterInfo": {"nodes": [NODE], "cpus": 2, "cpus_free": 0, "blas_kernel": "SkylakeX"},
    "Dataset": DATASET,
    "DatasetPage": {"items": [DATASET], "next_cursor": None},
    "Delivery": DELIVERY,
    "DeliveryPage": {"items": [DELIVERY], "next_cursor": None},
    "DryRun": DRY_RUN,
    "Evaluation": EVALUATION,
    "HistogramPage": {"items": HISTOGRAMS, "next_cursor": None},
    "HistoryPage": {"items": MOVES, "next_cursor": None},
    "Job": JOB,
    "JobPage": {"items": [JOB], "next_cursor": "MTI"},
    "KeyPage": {"items": [MADE_KEY], "next_cursor": None},
    "LogPage": {"items": LOG, "next_cursor": None},
    "MadeKey": {**MADE_KEY, "key": "chainrule_ab12cd34_…"},
    "MadeWebhook": {**MADE_WEBHOOK, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwBXWQxOCMhgs="},
    "MetricPage": {"items": [METRIC], "next_cursor": None},
    "OwnQuota": {"tenant": "risk", "limits": LIMITS, "usage": USED},
    "Predictions": PREDICTIONS,
    "Preview": PREVIEW,
    "Session": HOLDER,
    "SigninLink": {**SIGNIN, "path": f"/#signin={SIGNIN['code']}", "expires_at": "2026-11-23T10:25:00.000000Z"},
    "Status": {"status": "ready"},
    "Tenant": TENANT,
    "TenantPage": {"items": [TENANT], "next_cursor": None},
    "VersionInfo": {"version": "0.1.0", "api": "v1", "python": "3.11.9", "ray": "2.60.0"},
    "Webhook": MADE_WEBHOOK,
    "WebhookPage": {"items": [MADE_WEBHOOK], "next_cursor": None},
}
"""By the name of a schema: an example of an answer that is of it."""

ANSWERS: dict[tuple[str, str], Json | str] = {
    ("submit_job", "202"): QUEUED,
    ("cancel_job", "202"): {**JOB, "reason": "is being cancelled"},
    ("pause_job", "202"): {**JOB, "reason": "is being paused"},
    ("resume_job", "202"): {**JOB, "state": "paused", "reason": "resumes when it is given CPUs", "queue": FIRST},
    ("ping_webhook", "202"): PING_DELIVERY,
    ("redeliver", "202"): {**DELIVERY, "state": "pending", "next_attempt_at": DELIVERY["created_at"]},
    ("watch_job", "200"): EVENTS,
    ("watch_logs", "200"): _event(4, "log", LOG[1]),
    ("get_model", "200"): MODEL_FILE,
    ("get_model", "206"): MODEL_FILE[2:],
    ("get_telemetry", "200"): TELEMETRY,
    ("healthz", "200"): {"status": "alive"},
}
"""By operation and status: an example of an answer that is of no schema, or tells more than that of its schema."""
