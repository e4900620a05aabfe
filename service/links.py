"""Links of the OpenAPI document: what can be done with what an operation has answered."""

from typing import Any

__all__ = ["LINKS"]

Json = dict[str, Any]

OF_A_JOB = (
    *("get_job", "delete_job", "cancel_job", "pause_job", "resume_job", "get_metrics", "get_history", "watch_job"),
    *("get_model", "predict", "get_evaluation", "get_checkpoints", "get_logs", "watch_logs"),
)
OF_A_WEBHOOK = (
    *("get_webhook", "change_webhook", "delete_webhook", "ping_webhook", "rotate_webhook_secret", "list_deliveries"),
)
OF_A_DATASET = ("get_dataset", "preview_dataset", "get_histograms", "delete_dataset")


def _to(operations: tuple[str, ...], parameter: str) -> Json:
    """Links to operations on the thing whose id is in the answer."""
    parameters = {parameter: "$response.body#/id"}
    return {name: {"operationId": name, "parameters": parameters} for name in operations}


LINKS: dict[str, dict[str, Json]] = {
    "add_dataset": dict.fromkeys(("200", "201"), _to(OF_A_DATASET, "dataset")),
    "submit_job": {"202": _to(OF_A_JOB, "job_id")},
    "add_key": {"201": _to(("revoke_key",), "key_id")},
    "add_webhook": {"201": _to(OF_A_WEBHOOK, "webhook_id")},
    "add_signin_link": {
        "201": {"sign_in": {"operationId": "sign_in", "requestBody": {"code": "$response.body#/code"}}}
    },
}
"""By operation and status."""
