"""What is made of the words of those who know of vulnerabilities."""

import json
from typing import Any

import pytest

from supply.audit import Verdict, of_npm, of_pip_audit, verdict

SKIPPED = {"name": "numpy", "skip_reason": "Dependency not found on PyPI and could not be audited"}
GOOD = {"name": "ray", "version": "2.60.0", "vulns": []}
BAD = {"name": "jinja2", "version": "2.4.1", "vulns": [{"id": "PYSEC-2014-8"}, {"id": "PYSEC-2014-82"}]}


@pytest.mark.parametrize(
    ("dependencies", "expected"),
    [
        ([GOOD, GOOD], Verdict(2, 0, ())),
        ([SKIPPED, SKIPPED], Verdict(0, 2, ())),  # which pip-audit calls "No known vulnerabilities found"
        ([GOOD, SKIPPED, BAD], Verdict(2, 1, ("jinja2 2.4.1: PYSEC-2014-8, PYSEC-2014-82",))),
    ],
)
def test_a_package_that_is_not_known_is_not_a_package_without_vulnerabilities(
    dependencies: list[dict[str, Any]], expected: Verdict
) -> None:
    assert verdict(json.dumps({"dependencies": dependencies, "fixes": []}), of_pip_audit) == expected


def test_npm_tells_of_each_vulnerable_package() -> None:
    told = {
        "vulnerabilities": {"vite": {"severity": "high", "range": "<8.0.1"}},
        "metadata": {"dependencies": {"total": 108}},
    }
    assert verdict(json.dumps(told), of_npm) == Verdict(108, 0, ("vite: high, <8.0.1",))


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("", "gave no answer: nothing was said"),
        ("Traceback\nConnectionError: no such host\n", "gave no answer: ConnectionError: no such host"),
        ('{"message": "405 Method Not Allowed"}', 'another answer than was asked for: {"message": "405 Method'),
        ("[]", "another answer than was asked for: []"),
    ],
)
def test_what_is_no_answer_is_told_and_is_no_verdict(output: str, told: str) -> None:
    for read in (of_npm, of_pip_audit):
        said = verdict(output, read)
        assert isinstance(said, str)
        assert told in said
