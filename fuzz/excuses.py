"""What Schemathesis takes for a failure and is none: each with its reason, and no wider than that reason.

It holds a request to be right that is as the OpenAPI document says. What a document can say ends at the single value:
not what lies in the database or in a file, nor how two fields go together.
"""

import re
from typing import NamedTuple

from schemathesis import Response

__all__ = ["EXCUSES", "is_excused"]

NOTHING_WRONG = "Invalid component: positive test case"  # it found no way to make a wrong request, and sent a right one
REFUSED, ACCEPTED = "RejectedPositiveData", "AcceptedNegativeData"  # a right request, a wrong one
DATA = r"dataset|target(\[\d+\])?|features(\[\d+\])?|validation(\..+)?|task|loss(\..+)?|preprocessing\.missing"
TOGETHER = (
    r"(early_stopping|initial_parameters|schedule|workers)(\..+)?|optimizer\.nesterov|layers(\[\d+\].*)?"
    r"|epochs|batch_size"
)


class Excuse(NamedTuple):
    """A failure that is none, where all that the answer names as wrong are these fields."""

    reason: str
    operation: str
    fields: str
    """A regular expression."""
    failure: str = REFUSED


EXCUSES = (
    Excuse("a file's format is no schema's matter", "add_dataset", r"body|row \d+.*|column \d+"),
    Excuse("which columns there are is up to the file, and each is named once", "add_dataset", r"types(\..*)?"),
    Excuse("these are for CSV only", "add_dataset", "header|delimiter|missing"),
    Excuse("only the data tell which columns there are, and what they hold", "submit_job", DATA),
    Excuse("fields that must go together, or cost too much together", "submit_job", TOGETHER),
    Excuse("which keys were used before, and for what, only the service knows", "submit_job", "Idempotency-Key"),
    Excuse("which features there are, and of what type, is up to the model", "predict", r"rows\[\d+\].*"),
    Excuse("a key may only end in the future, and only in one way", "add_key", "expires_at"),
    Excuse("which hosts webhooks may go to is up to who runs the service", "(add|change)_webhook", "url"),
    Excuse("with a key in Authorization, the body is not looked at", "sign_in", "", ACCEPTED),
)


def is_excused(failure: str, said: str, operation: str, response: Response) -> bool:
    """Whether a failure of that kind, of which the tool says so much, of an operation, is none."""
    if failure == ACCEPTED and NOTHING_WRONG in said:
        return True
    known = [each for each in EXCUSES if each.failure == failure and re.fullmatch(each.operation, operation)]
    if failure == REFUSED and response.status_code == 422:
        wrong = [error["field"] for error in response.json()["errors"]]
        return bool(wrong) and all(any(re.fullmatch(excuse.fields, field) for excuse in known) for field in wrong)
    return failure != REFUSED and bool(known)
