"""Where the time of a step goes: the pieces of what a worker and the server do, measured by themselves.

Two processes at the same time, as in a job of two workers, do each piece of a step again and again: gather the rows of
their 4 of 8 shards, the matrix products, all of a shard's way forth and back, the sums along the tree. The server's
step follows, by itself. A whole step is measured over the direct transport, without the service. What of it is none of
the pieces is travel, waiting for the other worker, and caches that are colder than in a loop of one piece.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.prepared import prepared
from benchmarks.problem import SHARDS, WORKERS, job
from benchmarks.processes import Processes
from benchmarks.records import Figure, Outcome, Spread
from benchmarks.run import Run
from benchmarks.together import Start, together
from benchmarks.update import step_times_ms
from shared.network import Network
from shared.plan import Plan
from workers.crew import FixedCrew
from workers.data import PreparedData
from workers.direct import DirectTransport
from workers.gradient_worker import network_of
from workers.parameter_server import ServerState

__all__ = ["PIECES", "measure"]

BATCHES = (512, 2_048, 8_192)
ROWS = 32_768
MINE = SHARDS // WORKERS  # shards of a worker
PIECES = ("matrix products", "other layers' work", "gathering rows", "sums over shards", "server's step", "the rest")


def measure(run: Run) -> Outcome:
    """Milliseconds of each piece, by batch."""
    figures = []
    for batch in BATCHES:
        with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder:
            plan, data = prepared(Path(folder), ROWS, job(ROWS, batch, 100))
            found: dict[str, list[float]] = {piece: [] for piece in ("a step", *PIECES)}
            for number in range(1, run.rounds + 1):
                run.say(f"batch {batch:,}, round {number} of {run.rounds}")
                for piece, took_ms in _round(run, plan, data).items():
                    found[piece].append(took_ms)
        figures += [Figure(f"batch {batch:,}", piece, "ms", Spread.of(times)) for piece, times in found.items()]
    return Outcome(figures)


def _round(run: Run, plan: Plan, data: Path) -> dict[str, float]:
    repeats = run.amount(20, quick=3)
    by_worker = together(WORKERS, partial(_pieces_ms, plan, data, repeats))
    pieces = {piece: max(found[piece] for found in by_worker) for piece in by_worker[0]}
    pieces["server's step"] = float(np.median(together(1, partial(step_times_ms, repeats * 5))[0]))
    whole = _step_ms(plan, data, repeats)
    return {"a step": whole, **pieces, "the rest": whole - sum(pieces.values())}


def _pieces_ms(plan: Plan, data: Path, repeats: int, start: Start, number: int) -> dict[str, float]:
    network, rows = network_of(plan), plan.spec.batch_size // SHARDS
    source = PreparedData.load(data).open_training(network.dtype)
    parameters, out = network.initial_parameters(0), np.empty((2, network.size), network.dtype)
    bound = network.bind(parameters, network.workspace(rows, training=True), rows, out[0])
    chosen = np.random.default_rng(number).integers(0, len(source), rows)
    source.gather(chosen, bound.x, bound.y)
    products = _products(network, parameters, rows)
    start()
    whole = _median_ms(lambda: bound.run(seed=0, step=0, shard=0), repeats)
    multiplied = _median_ms(lambda: [np.matmul(a, b, into) for a, b, into in products], repeats)
    return {
        "matrix products": MINE * multiplied,
        "other layers' work": MINE * (whole - multiplied),
        "gathering rows": MINE * _median_ms(lambda: source.gather(chosen, bound.x, bound.y), repeats),
        "sums over shards": (MINE - 1) * _median_ms(lambda: np.add(out[0], out[1], out[0]), repeats),
    }


def _products(network: Network, parameters: np.ndarray, rows: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The matrix products of a shard's way forth and back: two factors each, and where they go."""
    found, dtype = [], network.dtype
    for number, slot in enumerate(network.slots):
        weights = parameters[slot.weights].reshape(slot.inputs, slot.outputs)
        x, delta = np.ones((rows, slot.inputs), dtype), np.ones((rows, slot.outputs), dtype)
        found += [(x, weights, np.empty_like(delta)), (x.T, delta, np.empty_like(weights))]
        if number:
            found.append((delta, weights.T, np.empty_like(x)))
    return found


def _step_ms(plan: Plan, data: Path, repeats: int) -> float:
    """A whole step of two workers, over the direct transport."""
    staff = Processes()
    transport = DirectTransport(plan, FixedCrew(staff, WORKERS))
    try:
        transport.open(plan, data, ServerState(network_of(plan).initial_parameters(0)), 0)
        transport.steps(0, repeats)
        began = time.perf_counter()
        transport.steps(repeats, repeats)
        return (time.perf_counter() - began) * 1e3 / repeats
    finally:
        transport.close()
        staff.join()


def _median_ms(act: Callable[[], object], repeats: int) -> float:
    act()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        act()
        times.append(time.perf_counter() - began)
    return float(np.median(times)) * 1e3
