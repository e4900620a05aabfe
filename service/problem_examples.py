"""Examples of problem documents: for each operation and status, what the service would say there."""

from typing import Any

from service.examples import DATASET_ID, JOB_ID, KEY_ID, WEBHOOK_ID
from service.problems import title_of

__all__ = ["problem_example"]

Json = dict[str, Any]

REQUEST_ID = "req_01K9T51Q0C3E5G7J9M1P3R5T7V"

DETAILS: dict[int, str] = {
    400: "the body cannot be read: got Expecting value at line 1, column 1, expected JSON",
    401: "got no key, expected Authorization: Bearer KEY",
    403: f"the key {KEY_ID} has the scope read; this needs submit",
    404: f"there is no job {JOB_ID}",
    413: "got a body of 40000000 bytes, expected at most 1,048,576",
    415: "got text/plain, expected Content-Type: application/json",
    416: "got Range: bytes=4096-, expected a range within 4,096 bytes",
    422: "1 field is wrong: ",  # and which
    429: "jobs are submitted too fast: the tenant may submit 3,000 a minute, and a key 100 at once",
    500: f"the service failed at this request; its log says more under {REQUEST_ID}",
    503: "the database is being opened; try again in a moment",
}
OTHER_HOST = "got Host: elsewhere.example.org, expected a name of this service; see --allowed-host"
COMPUTED = (
    "100 requests of the tenant wait already for plans, predictions, evaluations, metrics, logs, previews, histograms "
    "or searches, of which 4 are computed at once; expected fewer"
)
FOLLOWED = "2,000 event streams of the tenant are open already; expected fewer"
TOO_MUCH: dict[str, str] = {
    "list_jobs": COMPUTED,
    **dict.fromkeys(("get_metrics", "get_history", "get_logs"), COMPUTED),
    "watch_job": FOLLOWED,
    "watch_logs": FOLLOWED,
}
OF_MODELS: dict[int, str] = {429: COMPUTED}
OF_DATASETS: dict[int, str] = {
    429: COMPUTED,
    404: "there is no data set adult",
    413: "got 3000000000 bytes, expected at most 2,147,483,648",
    415: "got application/x-pickle, expected Content-Type: text/csv, application/vnd.apache.parquet or "
    "application/x-npz",
}
OF_KEYS: dict[int, str] = {404: f"there is no key {KEY_ID}"}
OF_TENANTS: dict[int, str] = {404: "there is no tenant risk: the first key of a tenant makes it"}
OF_WEBHOOKS: dict[int, str] = {404: f"there is no webhook {WEBHOOK_ID}"}
DISABLED = "the webhook is disabled (by request): enable it first"
CONFLICTS: dict[str, str] = {
    "submit_job": f"data set {DATASET_ID} is missing: its file is gone; upload it again",
    "delete_dataset": f"data set {DATASET_ID} is used by {JOB_ID}, which is running; cancel that first",
    "delete_job": "the job is running: only an ended job can be deleted; cancel it first",
    "cancel_job": "the job has succeeded: it cannot be cancelled any more",
    "pause_job": "the job is queued: only a running job can be paused; cancel it, or wait until it runs",
    "resume_job": "the job is queued: it starts by itself when CPUs are free; only a paused job can be resumed",
    "get_histograms": f"data set {DATASET_ID} is missing: its file is gone; upload it again",
    "get_evaluation": "the job is running: it has a model only once it has succeeded",
    "get_model": "the job is running: it has a model only once it has succeeded",
    "predict": "the job is running: it has a model only once it has succeeded",
    "add_webhook": "there are 50 webhooks, expected at most that many; delete one first",
    "ping_webhook": DISABLED,
    "redeliver": DISABLED,
    "revoke_key": f"{KEY_ID} is the last admin key: make another one before you revoke it",
}
WRONG_FIELDS: dict[str, Json] = {
    "submit_job": {"field": "layers[1].units", "got": -3, "expected": "an integer from 1 to 1,000,000"},
    "add_dataset": {"field": "row 17 (line 18), column 'age'", "got": "oops", "expected": "a finite number"},
    "add_key": {"field": "scopes", "got": [], "expected": "a list of at least 1 value"},
    "set_quota": {"field": "cpus", "got": -1, "expected": "an integer from 0 to 9,007,199,254,740,991, or null"},
    "predict": {"field": "rows[3].age", "got": "39", "expected": "an integer, or null where it is missing"},
}
WRONG_URL: Json = {"field": "url", "got": "https://10.0.0.5/hook", "expected": "a public address"}
WRONG_FIELDS |= {"add_webhook": WRONG_URL, "change_webhook": WRONG_URL}
WRONG_PARAMETER: Json = {"field": "verbose", "got": "true", "expected": "no parameter"}
WRONG_BODY: Json = {"field": "body", "got": "Expecting value at line 1, column 1", "expected": "JSON"}


def problem_example(operation: str, tag: str, status: int, *, takes_json: bool) -> Json:
    """What the operation, of the resource `tag`, answers with that status."""
    of_tags = {"datasets": OF_DATASETS, "models": OF_MODELS, "keys": OF_KEYS, "tenants": OF_TENANTS}
    of_tag = {**of_tags, "webhooks": OF_WEBHOOKS}.get(tag, {})
    details = {**DETAILS, **of_tag, 409: CONFLICTS.get(operation)}
    if status == 429:
        details[429] = TOO_MUCH.get(operation, details[429])
    if status == 400 and not takes_json:
        details[400] = OTHER_HOST
    wrong = {400: WRONG_BODY if takes_json else None, 422: WRONG_FIELDS.get(operation, WRONG_PARAMETER)}.get(status)
    example: Json = {
        "type": "about:blank",
        "title": title_of(status),
        "status": status,
        "detail": f"{details[status]}{wrong['field']}" if status == 422 and wrong else details[status],
        "request_id": REQUEST_ID,
    }
    return example if wrong is None else {**example, "errors": [wrong]}
