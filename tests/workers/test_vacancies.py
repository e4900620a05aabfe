"""When a process is hired for a seat that nobody has."""

from workers.vacancies import Vacancies


class Seats:
    """Vacancies under a clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.vacancies = Vacancies(lambda: self.now)

    def hired_after_s(self, number: int) -> float:
        """How long the seat stays empty from now on, looked at every half second."""
        began = self.now
        while not self.vacancies.due([number]):
            self.now += 0.5
        return self.now - began


def test_whoever_has_computed_is_replaced_at_once() -> None:
    seats = Seats()
    for _ in range(3):
        seats.now += 10.0
        seats.vacancies.lost(1, in_vain=False)
        assert seats.hired_after_s(1) == 0.0


def test_nobody_is_hired_twice_within_two_seconds() -> None:
    seats = Seats()
    assert seats.vacancies.due([1, 2]) == [1, 2]
    assert seats.hired_after_s(1) == 2.0


def test_a_seat_whose_processes_are_lost_before_they_compute_stays_empty_for_longer_each_time() -> None:
    seats, waited = Seats(), []
    for _ in range(9):
        seats.now += 10.0
        seats.vacancies.lost(1, in_vain=True)
        waited.append(seats.hired_after_s(1))
    assert waited == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def test_a_seat_on_which_somebody_has_computed_is_as_good_as_any() -> None:
    seats = Seats()
    for _ in range(5):
        seats.vacancies.lost(1, in_vain=True)
    seats.vacancies.lost(1, in_vain=False)
    assert seats.hired_after_s(1) == 0.0


def test_a_bad_seat_holds_up_no_other() -> None:
    seats = Seats()
    for _ in range(5):
        seats.vacancies.lost(1, in_vain=True)
    seats.vacancies.lost(2, in_vain=False)
    assert seats.vacancies.due([1, 2]) == [2]
