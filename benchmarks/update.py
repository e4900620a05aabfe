"""How long the parameter server takes for a step: it adds the workers' gradients, averages, and applies Adam.

This is `ParameterServer.step` in a process of its own, for the 535,818 parameters of the network that is trained, with
one subtree's part from each of two workers, and as many threads, as in a job. Unlike there, the gradients were not just
written by another core, so that this is the least that a step can take.
"""

import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.prepared import prepared
from benchmarks.problem import SHARDS, WORKERS, job, parameters
from benchmarks.records import Figure, Goal, Outcome, Spread
from benchmarks.run import Run
from benchmarks.together import Start, together
from shared.sharding import Node
from workers.gradient_worker import Part, network_of
from workers.parameter_server import ParameterServer, ServerState

__all__ = ["measure", "step_times_ms"]

BATCH = 512
LIMIT_MS = 0.25
WARM_UP = 20  # steps before the first that counts
SUBTREES = (Node(0, SHARDS // 2), Node(SHARDS // 2, SHARDS))  # what each of two workers sends


def measure(run: Run) -> Outcome:
    """Milliseconds a step."""
    run.say("the server's step")
    (times_ms,) = together(1, partial(step_times_ms, run.amount(1_000, quick=100)))
    took = Spread.of(times_ms)
    what = f"averaging + Adam, {parameters():,} parameters, 2 workers"
    return Outcome([Figure(what, "a step", "ms", took)], [Goal(what, "ms", LIMIT_MS, took, at_most=True)])


def step_times_ms(count: int, _start: Start, _number: int) -> list[float]:
    """The time of each of `count` steps of a server."""
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder:
        plan, _ = prepared(Path(folder), BATCH, job(BATCH, BATCH, epochs=WARM_UP + count))
    state = ServerState(network_of(plan).initial_parameters(plan.spec.seed))
    gradients = np.random.default_rng(0).standard_normal((WORKERS, plan.parameters), np.float32)
    server = ParameterServer(plan, state, 0, np.empty_like(state.parameters), gradients, threads=WORKERS)
    parts = [Part(node, row, 1.0) for row, node in enumerate(SUBTREES)]
    times_ms = []
    for step in range(WARM_UP + count):
        began = time.perf_counter()
        server.step(step, parts)
        times_ms.append((time.perf_counter() - began) * 1e3)
    return times_ms[WARM_UP:]
