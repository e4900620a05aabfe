"""The errors of the client come through to another process whole."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("sklearn", reason="the estimators, which have an error of their own, need scikit-learn")

from chainrule import ChainruleError, FieldProblem, InvalidInput, ServiceError, Unreachable
from chainrule.sklearn import TrainingFailed

FIELDS = [FieldProblem("rows[3].age", -1, "an age"), FieldProblem("epochs", None, "an integer")]
GIVEN: dict[type[ChainruleError], tuple[Any, ...]] = {
    InvalidInput: (FIELDS,),
    ServiceError: (422, "Unprocessable Content", "the spec is wrong", FIELDS, "req_1", 2.5),
    Unreachable: ("http://127.0.0.1:8400", "timed out", "a key"),
}
"""What those are made with that take more than a message."""


def classes(root: type[ChainruleError] = ChainruleError) -> list[type[ChainruleError]]:
    return [root, *(one for below in root.__subclasses__() for one in classes(below))]


def pickled(error: ChainruleError) -> Any:
    return pickle.loads(pickle.dumps(error))  # noqa: S301


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("copied", [pickled, copy.copy])
def test_an_error_loses_nothing_on_its_way_to_another_process(
    kind: type[ChainruleError], copied: Callable[[ChainruleError], Any]
) -> None:
    given = next((GIVEN[one] for one in kind.__mro__ if one in GIVEN), ("what it says",))
    error = kind(*given)
    error.add_note("job_01 goes on")
    arrived = copied(error)
    assert type(arrived) is kind
    assert (str(arrived), arrived.args, vars(arrived)) == (str(error), error.args, vars(error))


def test_every_error_is_among_them() -> None:
    assert {TrainingFailed, InvalidInput, ServiceError, Unreachable} < set(classes())
    assert len(classes()) >= 14
