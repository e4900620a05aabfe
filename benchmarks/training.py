"""How fast a network trains, beside other libraries.

The network is 784-512-256-10 with ReLU and Adam in float32, on random data. Chainrule and its peers take turns, round
by round, so that whatever else the machine does meets all of them alike. All train on the same rows in the same
batches, in a new order each epoch, on two cores: Chainrule as a job with 2 workers and 8 shards, reproducible to the
bit. Nobody's first epoch is counted. Goals are about the median of the rounds' ratios.
"""

import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peer import PEERS, Pace, Peer
from benchmarks.problem import WIDTHS, WORKERS, job, upload
from benchmarks.records import Figure, Goal, Outcome, Spread
from benchmarks.run import Run
from benchmarks.service import running_service, trained

__all__ = ["absent", "measure", "outcome"]

BATCHES = (512, 2_048, 8_192)
US = "Chainrule, 2 workers"
TIMES_AS_FAST = {  # as each peer, by batch
    "PyTorch DDP, 2 processes": (3.5, 2.6, 2.5),
    "PyTorch, 2 threads": (2.2, 2.2, 2.2),
    "JAX jit, 2 threads": (1.0, 1.1, 1.2),
    "scikit-learn, 2 threads": (2.0, 2.0, 2.0),
}

Paces = dict[str, dict[int, list[float]]]  # samples/s in each round, by who trained and batch


def measure(run: Run) -> Outcome:
    """Samples/s of Chainrule and of the peers that are installed."""
    rows, epochs = run.amount(65_536, quick=16_384), run.amount(5, quick=4)
    installed = {peer: python for peer in PEERS if (python := peer.interpreter()) is not None}
    paces: Paces = defaultdict(lambda: defaultdict(list))
    told: dict[str, Pace] = {}
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder, running_service() as client:
        data = upload(client, Path(folder), rows)
        for number in range(1, run.rounds + 1):
            for batch_size in BATCHES:
                turn = f"round {number} of {run.rounds}, batch {batch_size:,}"
                run.say(f"{turn}: {US}")
                pace = trained(client, job(rows, batch_size, epochs + 1)).steps_per_s * batch_size
                paces[US][batch_size].append(pace)
                problem = {"data": str(data), "widths": WIDTHS, "threads": WORKERS}
                for peer, python in installed.items():
                    run.say(f"{turn}: {peer.name}")
                    told[peer.name] = peer.train(python, {**problem, "batch_size": batch_size, "epochs": epochs})
                    paces[peer.name][batch_size].append(told[peer.name].samples_per_s)
    used = [f"{name}: {pace.version}, {pace.used}" for name, pace in told.items()]
    return outcome(paces, [*used, *absent(PEERS, installed)])


def absent(peers: Sequence[Peer], installed: Mapping[Peer, Path]) -> list[str]:
    """What to say of the peers that are not installed."""
    return [f"{peer.name}: not installed, left out (`make bench-peers`)" for peer in peers if peer not in installed]


def outcome(paces: Paces, notes: Sequence[str]) -> Outcome:
    """The figures, and a goal for each batch and each peer that took part."""
    figures = [
        Figure(f"batch {batch_size:,}", name, "samples/s", Spread.of(by_batch[batch_size]))
        for batch_size in BATCHES
        for name, by_batch in paces.items()
    ]
    goals = [
        Goal(f"against {name}, batch {batch_size:,}", "×", bound, _ratio(paces[US][batch_size], by_batch[batch_size]))
        for name, by_batch in paces.items()
        if name != US
        for batch_size, bound in zip(BATCHES, TIMES_AS_FAST[name], strict=True)
    ]
    return Outcome(figures, goals, notes)


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Round by round."""
    return Spread.of([mine / other for mine, other in zip(ours, theirs, strict=True)])
