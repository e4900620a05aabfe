"""What is excused is what the excuse names, and nothing beside it."""

from types import SimpleNamespace
from typing import Any

import pytest

from fuzz.excuses import ACCEPTED, EXCUSES, NOTHING_WRONG, REFUSED, is_excused


def answer(status: int, *fields: str) -> Any:
    return SimpleNamespace(status_code=status, json=lambda: {"errors": [{"field": field} for field in fields]})


@pytest.mark.parametrize(
    ("failure", "operation", "answered", "excused"),
    [
        (REFUSED, "submit_job", answer(422, "target"), True),
        (REFUSED, "submit_job", answer(422, "target", "workers.max"), True),
        (REFUSED, "submit_job", answer(422, "target", "labels.x"), False),
        (REFUSED, "submit_job", answer(422, "target "), False),
        (REFUSED, "submit_job", answer(400, "target"), False),
        (REFUSED, "list_jobs", answer(422, "target"), False),
        (REFUSED, "submit_job", answer(422), False),
        (ACCEPTED, "sign_in", answer(200), True),
        (ACCEPTED, "submit_job", answer(202), False),
        ("ServerError", "submit_job", answer(500), False),
        ("ServerError", "sign_in", answer(500), False),
    ],
)
def test_an_excuse_is_for_its_operation_its_fields_and_its_kind_of_failure(
    failure: str, operation: str, answered: Any, excused: bool
) -> None:
    assert is_excused(failure, "", operation, answered) == excused


def test_a_wrong_request_in_which_nothing_is_wrong_may_be_taken() -> None:
    assert is_excused(ACCEPTED, f"Invalid data should have been rejected\n{NOTHING_WRONG}", "add_dataset", answer(201))


def test_there_are_few_excuses_each_with_a_reason() -> None:
    assert all(excuse.reason and excuse.operation for excuse in EXCUSES)
    assert len(EXCUSES) <= 10
