"""Experiments are made one after the other, whatever becomes of one."""

from io import StringIO

import pytest
from rich.console import Console

from benchmarks.records import BenchmarkFailed
from chaos.__main__ import made
from chaos.records import Finding, Skipped
from chaos.report import Section
from chaos.run import Run


def made_by_one_that_raises(error: Exception) -> Section:
    def experiment(run: Run) -> Finding:
        raise error

    return made(Console(file=StringIO()), "experiment", experiment, Run(lambda text: None))


def test_an_experiment_that_raises_what_nobody_foresaw_has_not_passed_and_tells_its_traceback() -> None:
    section = made_by_one_that_raises(AssertionError("no such folder"))
    assert not section.passed
    assert section.failure is not None
    assert section.failure.startswith("AssertionError: no such folder\nTraceback ")
    assert "raise error" in section.failure


@pytest.mark.parametrize(("error", "skipped"), [(BenchmarkFailed("did not start"), False), (Skipped("no root"), True)])
def test_an_experiment_that_breaks_off_or_is_skipped_says_why(error: Exception, skipped: bool) -> None:
    section = made_by_one_that_raises(error)
    assert (section.failure, section.skipped, section.passed) == (str(error), skipped, skipped)
