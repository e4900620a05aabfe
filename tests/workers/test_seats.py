"""The CPUs that a job holds on a cluster of several nodes: what is said where there is no place for it."""

from typing import Any

import pytest

from workers.job import NotPlaced, TooFewCpus


class NoPlace:
    """A placement group that never gets its place."""

    bundle_count = 2

    def wait(self, timeout_seconds: float) -> bool:
        return False


def node(cpus: float, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpus} if cpus else {}}


@pytest.mark.parametrize(
    ("nodes", "loss", "why"),
    [
        ([node(0), node(1), node(1, alive=False)], TooFewCpus, "needs 2 CPUs at once; the cluster has 1"),
        ([node(0), node(1), node(1)], NotPlaced, "the cluster found no place for it within 0 s"),
    ],
)
def test_an_attempt_that_finds_no_place_says_whether_there_are_too_few_cpus_at_all(
    monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, Any]], loss: type[NotPlaced], why: str
) -> None:
    from workers.on_ray import seats

    monkeypatch.setattr(seats, "PLACED_WITHIN_S", 0.0)
    monkeypatch.setattr(seats, "placement_group", lambda *_, **__: NoPlace())
    monkeypatch.setattr(seats.ray, "nodes", lambda: nodes)
    with pytest.raises(NotPlaced) as raised:
        seats.GroupedSeats("job_a.1.1.0a").open(2, together=2)
    assert (type(raised.value), str(raised.value)) == (loss, why)
