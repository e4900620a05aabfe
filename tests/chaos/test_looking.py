"""What is looked at beside what happens."""

import threading

import pytest

from chaos.looking import looking


def test_a_look_that_fails_fails_what_relies_on_it() -> None:
    looked = threading.Event()

    def look() -> None:
        looked.set()
        raise OSError("no such folder")

    with pytest.raises(OSError, match="no such folder"), looking(look):
        looked.wait()


def test_it_is_looked_again_and_again_until_the_end() -> None:
    looks = threading.Semaphore(0)
    with looking(looks.release):
        for _ in range(3):
            looks.acquire()
