"""Batches: what comes at the same time is done together, each gets its own outcome, and nobody waits for others."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from service.batches import Batches

WITHIN_S = 20.0


class Doubling:
    """Doubles numbers, 100 aside, and keeps what it was called with; the first call waits until it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.began, self.may_end = threading.Event(), threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.calls.append(list(items))
        self.began.set()
        assert self.may_end.wait(WITHIN_S)
        if 666 in items:
            raise OSError("the disk is full")
        return [ValueError("a hundred") if item == 100 else 2 * item for item in items]


def begun(batches: "Batches[int, int]", *items: int) -> "list[asyncio.Task[int]]":
    """Items that are added by tasks of their own, which tell what comes of each."""
    return [asyncio.create_task(batches.add(item)) for item in items]


async def while_the_first_is_done(
    batches: "Batches[int, int]", work: Doubling, first: int, items: Sequence[int]
) -> list[int | BaseException]:
    """What comes of items that are added while one item is being done, and of that one."""
    tasks = begun(batches, first)
    assert await asyncio.to_thread(work.began.wait, WITHIN_S)
    tasks += begun(batches, *items)
    await asyncio.sleep(0)  # each task runs until it waits
    assert len(batches) == len(items)
    work.may_end.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


def outcomes(work: Doubling, batches: "Batches[int, int]", items: Sequence[int], first: int = 0) -> list[Any]:
    return asyncio.run(while_the_first_is_done(batches, work, first, items))


def test_what_comes_while_another_is_done_is_done_at_once_and_each_gets_its_own_result() -> None:
    work = Doubling()
    assert outcomes(work, Batches(work, most=100), range(1, 9)) == [2 * item for item in range(9)]
    assert [len(call) for call in work.calls] == [1, 8]


def test_a_batch_has_so_many_items_at_most() -> None:
    work = Doubling()
    assert outcomes(work, Batches(work, most=3), range(1, 9)) == [2 * item for item in range(9)]
    assert [len(call) for call in work.calls] == [1, 3, 3, 2]


def test_a_batch_ends_before_its_items_are_too_large_together_and_one_that_is_so_by_itself_is_alone() -> None:
    work = Doubling()
    batches = Batches(work, most=5, size=lambda item: item)
    assert outcomes(work, batches, (2, 3, 1, 8, 4), first=9) == [18, 4, 6, 2, 16, 8]
    assert work.calls == [[9], [2, 3], [1], [8], [4]]


def test_an_item_that_fails_fails_alone_and_what_fails_as_a_whole_fails_for_all() -> None:
    work = Doubling()
    zero, two, failed = outcomes(work, Batches(work, most=100), [1, 100])
    assert (zero, two, type(failed), str(failed)) == (0, 2, ValueError, "a hundred")
    work = Doubling()
    zero, *failed = outcomes(work, Batches(work, most=100), [1, 666])
    assert (zero, [str(error) for error in failed]) == (0, ["the disk is full"] * 2)


def test_one_that_comes_alone_is_done_at_once() -> None:
    work = Doubling()
    work.may_end.set()
    batches = Batches(work, most=100)

    async def come() -> list[int]:
        return [await batches.add(item) for item in (1, 2)]

    assert asyncio.run(come()) == [2, 4]
    with pytest.raises(ValueError, match="a hundred"):
        asyncio.run(batches.add(100))
    assert work.calls == [[1], [2], [100]]


def test_an_event_loop_is_woken_once_for_all_of_a_batch() -> None:
    work = Doubling()
    woken: list[Callable[..., object]] = []

    async def come() -> list[int]:
        loop = asyncio.get_running_loop()
        tell = loop.call_soon_threadsafe

        def counted(callback: Callable[..., object], *arguments: Any, **options: Any) -> asyncio.Handle:
            if threading.current_thread().name == "batches":
                woken.append(callback)
            return tell(callback, *arguments, **options)

        loop.call_soon_threadsafe = counted  # type: ignore[method-assign, assignment]
        return await while_the_first_is_done(Batches(work, most=100), work, 0, range(1, 9))  # type: ignore[return-value]

    assert asyncio.run(come()) == [2 * item for item in range(9)]
    assert len(woken) == len(work.calls) == 2


def test_what_nobody_waits_for_any_more_is_not_done_and_holds_up_nobody() -> None:
    work = Doubling()
    batches = Batches(work, most=100)

    async def come() -> list[int]:
        [first] = begun(batches, 0)
        assert await asyncio.to_thread(work.began.wait, WITHIN_S)
        given_up, other = begun(batches, 1, 2)
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(0)
        work.may_end.set()
        return [await first, await other]

    assert asyncio.run(come()) == [0, 4]
    assert work.calls == [[0], [2]]


def test_who_gives_up_while_its_item_is_done_holds_up_nobody() -> None:
    work = Doubling()
    batches = Batches(work, most=100)

    async def come() -> int:
        [given_up] = begun(batches, 0)
        assert await asyncio.to_thread(work.began.wait, WITHIN_S)
        given_up.cancel()
        await asyncio.sleep(0)
        work.may_end.set()
        return await batches.add(1)

    assert asyncio.run(come()) == 2


def test_an_event_loop_that_was_closed_meanwhile_holds_up_no_other() -> None:
    work = Doubling()
    batches = Batches(work, most=100)

    async def leave() -> None:
        begun(batches, 0)
        assert await asyncio.to_thread(work.began.wait, WITHIN_S)

    asyncio.run(leave())  # which cancels the task
    work.may_end.set()
    assert asyncio.run(batches.add(1)) == 2


def test_where_no_thread_can_be_started_all_that_wait_are_told_and_the_next_item_tries_again() -> None:
    starts: list[Any] = []

    def start(work: Any) -> None:
        starts.append(work)
        if len(starts) == 1:
            raise RuntimeError("can't start new thread")
        threading.Thread(target=work, daemon=True).start()

    batches: Batches[int, int] = Batches(lambda items: [2 * item for item in items], most=100, start=start)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        asyncio.run(batches.add(1))
    assert asyncio.run(batches.add(2)) == 4


@pytest.mark.parametrize(("rests_s", "expected"), [(WITHIN_S, 1), (0.0, 3)])
def test_those_that_come_one_after_the_other_share_a_thread_that_ends_when_nothing_comes(
    rests_s: float, expected: int
) -> None:
    threads: list[threading.Thread] = []

    def start(work: Callable[[], None]) -> None:
        threads.append(threading.Thread(target=work, daemon=True))
        threads[-1].start()

    batches: Batches[int, int] = Batches(list, most=100, start=start, rests_s=rests_s)

    async def come() -> list[int]:
        came = []
        for item in range(3):
            came.append(await batches.add(item))
            if not rests_s:
                await asyncio.to_thread(threads[-1].join, WITHIN_S)
        return came

    assert asyncio.run(come()) == [0, 1, 2]
    assert (len(threads), any(thread.is_alive() for thread in threads)) == (expected, rests_s > 0)
