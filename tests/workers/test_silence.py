"""When an attempt on Ray that does not answer has died."""

from workers.on_ray.silence import Silences

A, B = "job_a.1.1.00000000", "job_b.1.1.00000000"


def test_an_attempt_has_died_when_it_has_not_answered_at_so_many_looks() -> None:
    silences = Silences(3)
    assert [silences.look([A], {}) for _ in range(4)] == [set(), set(), {A}, {A}]


def test_an_attempt_that_answers_once_is_counted_anew() -> None:
    """It was still being placed, or starting, or its machine was too busy to answer."""
    silences = Silences(3)
    answers = [{B}, {B}, {A, B}, {B}, {B}]
    assert [silences.look([A, B], each) for each in answers] == [set()] * 5
    assert silences.look([A, B], {B}) == {A}


def test_an_attempt_that_holds_no_cpus_any_more_is_forgotten() -> None:
    silences = Silences(2)
    assert [silences.look(holding, {}) for holding in ([A], [], [A])] == [set()] * 3
