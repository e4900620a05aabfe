"""What readers are told of the jobs that wait, with a clock that the test moves."""

from collections.abc import Iterator
from typing import Any

import pytest

from service.clock import later
from service.places import LOOKS_EVERY_S, MAKES_ROOM_S, Place
from support.world import BEGAN_AT, SimulatedJob, World


@pytest.fixture
def world() -> Iterator[World]:
    database = World.database()
    yield World(database, cpus=2)
    database.close()


def place(world: World, job_id: str) -> Place | None:
    return world.places.of(world.store.any_job(job_id))


def at(seconds: float) -> str:
    return later(BEGAN_AT, seconds)


def running(world: World, count: int) -> list[SimulatedJob]:
    """Attempts at so many jobs that hold a CPU each."""
    for _ in range(count):
        world.submit(1, 1, 0)
    world.turn()
    world.follow()
    return world.cluster.open()


def progress(eta_s: float | None) -> dict[str, Any]:
    return {"fraction": 0.5, "step": 1, "steps": 2, "epoch": 1, "epochs": 2, "eta_s": eta_s, "metrics": {}}


def look(world: World) -> None:
    world.clock += LOOKS_EVERY_S
    world.turn()


def test_whoever_waits_has_a_place_and_who_runs_has_none(world: World) -> None:
    jobs = running(world, 2)
    low, high = world.submit(1, 1, 0), world.submit(1, 1, 5)
    assert place(world, high) == Place(1, None)
    look(world)
    room_is_made = at(world.clock + MAKES_ROOM_S)
    assert [place(world, job_id) for job_id in (high, low)] == [Place(1, room_is_made), Place(2, None)]
    assert place(world, jobs[0].job.id) is None


def test_a_start_is_told_from_what_running_jobs_say_and_how_long_such_jobs_lasted(world: World) -> None:
    jobs = running(world, 2)
    first, second, third = (world.submit(1, 1, 0) for _ in range(3))
    jobs[0].tell("progress", **progress(30.0))
    look(world)
    assert [place(world, job_id) for job_id in (first, second)] == [Place(1, at(31.0)), Place(2, None)]
    world.clock = 60.0
    jobs[1].finish("succeeded")  # the first to end, after a minute
    world.turn()
    world.clock = 71.0
    jobs[0].tell("progress", **progress(2.0))
    look(world)
    assert place(world, first) is None
    assert [place(world, job_id) for job_id in (second, third)] == [Place(1, at(74.0)), Place(2, at(120.0))]


def test_the_line_is_looked_at_no_more_often_than_is_worth_it(world: World) -> None:
    running(world, 2)
    look(world)
    first = world.submit(1, 1, 0)
    world.turn()
    second = world.submit(1, 1, 0)
    world.turn()
    assert [place(world, job_id) for job_id in (first, second)] == [Place(1, None), Place(1, None)]
    look(world)
    assert [place(world, job_id) for job_id in (first, second)] == [Place(1, None), Place(2, None)]


def test_tenants_that_share_take_turns_in_the_line_too(world: World) -> None:
    running(world, 2)
    ours = [world.submit(1, 1, 0) for _ in range(3)]
    theirs = [world.submit(1, 1, 0, "blue") for _ in range(3)]
    look(world)
    places = [place(world, job_id) for job_id in (*theirs, *ours)]
    assert [each and each.position for each in places] == [1, 2, 3, 4, 5, 6]
