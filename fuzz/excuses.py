"""What Schemathesis takes for a failure and is none: each with its reason, and no wider than that reason.

It holds a request to be right that is as the OpenAPI document says. What a document can say ends at the single value:
not what lies in the database or in a file, nor how two fields go together.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from schemathesis import Response

__all__ = ["EXCUSES", "is_excused"]

NOTHING_WRONG = "Invalid component: positive test case"  # it found no way to make a wrong request, and sent a right one
REFUSED, ACCEPTED = "RejectedPositiveData", "AcceptedNegativeData"  # a right request, a wrong one
ANYTHING = ".*"
# What the service expects of a spec that is right by itself: of the data, and of fields that go together. Whatever else
# it says of the same fields contradicts the document.
OF_THE_DATA = {
    r"dataset|validation\.dataset": r"the id or the name of a data set.*|a data set.*|no missing values .*|.*class.*",
    r"preprocessing\.missing": r"no missing values .*",
    r"(target|features)(\[\d+\])?": r"a column .*|no missing .*|column names that differ|a data set with a column .*",
    r"task": r"regression, or a single target|classification: .*",
    r"loss": r".*: this is a (classification|regression)",
    r"validation\.fraction": r"null: .*",
    r"early_stopping\.metric": r".*: this is a .*|another metric: .*",
}
TOGETHER = {
    r"early_stopping": r"a spec with validation, .*",
    r"initial_parameters\..*": r"\d+, one for each .*|\d+ (rows|numbers), one for each .*|numbers within .*",
    r"workers\.max": r"at least min",
    r"optimizer\.nesterov": r"false, or momentum > 0",
    r"layers\[\d+\]\.units|features": r"a network of at most .*|prepared data of .*",
    r"epochs": r"at most .* (steps|operations).*",
    r"batch_size": r".* of memory at most; .*",
}
TYPES = {r"types(\..*)?": ANYTHING}
USED = {"Idempotency-Key": r"a key that was not used before.*"}


class Excuse(NamedTuple):
    """A failure that is none, where all that the answer names as wrong are these fields, with what it says of each."""

    reason: str
    operation: str
    fields: Mapping[str, str]
    """What is expected of a field, by the field; regular expressions all."""
    failure: str = REFUSED

    def covers(self, error: Mapping[str, Any]) -> bool:
        """Whether it is for that of an answer's `errors`."""
        return any(
            re.fullmatch(field, error["field"]) and re.fullmatch(expected, error["expected"], re.DOTALL)
            for field, expected in self.fields.items()
        )


EXCUSES = (
    Excuse("a file's format is no schema's matter", "add_dataset", {r"body|row \d+.*|column \d+": ANYTHING}),
    Excuse(
        "which columns there are is up to the file, and each is named once", "add_dataset", {r"types(\..*)?": ANYTHING}
    ),
    Excuse("these are for CSV only", "add_dataset", {"header|delimiter|missing": ANYTHING}),
    Excuse("only the data tell which columns there are, and what they hold", "submit_job", OF_THE_DATA),
    Excuse("fields that must go together, or cost too much together", "submit_job", TOGETHER),
    Excuse(
        "which keys were used before, and for what, only the service knows",
        "submit_job",
        {"Idempotency-Key": "a key that was not used before.*"},
    ),
    Excuse("which features there are, and of what type, is up to the model", "predict", {r"rows\[\d+\].*": ANYTHING}),
    Excuse("a key may only end in the future, and only in one way", "add_key", {"expires_at": ANYTHING}),
    Excuse("which hosts webhooks may go to is up to who runs the service", "(add|change)_webhook", {"url": ANYTHING}),
    Excuse("with a key in Authorization, the body is not looked at", "sign_in", {}, ACCEPTED),
)


def is_excused(failure: str, said: str, operation: str, response: Response) -> bool:
    """Whether a failure of that kind, of which the tool says so much, of an operation, is none."""
    if failure == ACCEPTED and NOTHING_WRONG in said:
        return True
    known = [each for each in EXCUSES if each.failure == failure and re.fullmatch(each.operation, operation)]
    if failure == REFUSED and response.status_code == 422:
        wrong = response.json()["errors"]
        return bool(wrong) and all(any(excuse.covers(error) for excuse in known) for error in wrong)
    return failure != REFUSED and bool(known)
