"""What happens when several do something at the same moment, again and again."""

import os
import threading
from collections.abc import Callable
from typing import Any

LONG = os.environ.get("CHAINRULE_TEST_LONG") == "1"
"""Whether races are run as often as the design asks for, which takes an hour or two, and not only for seconds."""


def race(rounds: int, *racers: Callable[[int], Any]) -> list[list[Any]]:
    """What each racer returned in each round, all of them let go at the same moment."""
    barrier = threading.Barrier(len(racers))
    outcomes: list[list[Any]] = [[None] * len(racers) for _ in range(rounds)]

    def run(number: int, racer: Callable[[int], Any]) -> None:
        try:
            for turn in range(rounds):
                barrier.wait()
                outcomes[turn][number] = racer(turn)
        except BaseException:
            barrier.abort()
            raise

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(racers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
