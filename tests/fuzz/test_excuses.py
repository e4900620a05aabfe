"""What is excused is what the excuse names, and nothing beside it."""

from types import SimpleNamespace
from typing import Any

import pytest

from fuzz.excuses import ACCEPTED, EXCUSES, NOTHING_WRONG, REFUSED, is_excused

SAID = {"target": "a column of the data set: a, b", "workers.max": "at least min"}


def answer(status: int, *fields: str, **expected: str) -> Any:
    """One that says of fields what the service says of them, or something else."""
    said = {**{field: SAID.get(field, "") for field in fields}, **expected}
    errors = [{"field": field, "expected": words} for field, words in said.items()]
    return SimpleNamespace(status_code=status, json=lambda: {"errors": errors})


@pytest.mark.parametrize(
    ("failure", "operation", "answered", "excused"),
    [
        (REFUSED, "submit_job", answer(422, "target"), True),
        (REFUSED, "submit_job", answer(422, "target", "workers.max"), True),
        (REFUSED, "submit_job", answer(422, "target", "labels.x"), False),
        (REFUSED, "submit_job", answer(422, "target "), False),
        (REFUSED, "submit_job", answer(422, target="a text"), False),
        (REFUSED, "submit_job", answer(422, **{"preprocessing.missing": "no missing values or …"}), True),
        (REFUSED, "submit_job", answer(422, "target", epochs="an integer from 1 to 1,000,000,000"), False),
        (REFUSED, "submit_job", answer(422, epochs="at most 1,000 steps; 10 an epoch make 10,000"), True),
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
