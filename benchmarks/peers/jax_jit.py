"""JAX, one process, the whole step compiled: trains the network given as JSON, and prints its pace as JSON.

The data lie on the device, and the step takes its rows from there: on a CPU this is faster than handing the rows in.
"""

import json
import os
import sys
import time
from functools import partial
from itertools import pairwise
from typing import Any

given = json.loads(sys.argv[1])
if hasattr(os, "sched_setaffinity"):  # XLA makes a thread for each core that it may run on
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given["threads"]])
os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


def initial(widths: list[int], key: Any) -> list[tuple[Any, Any]]:
    """He's random weights and zero biases, a pair a layer."""
    layers = []
    for before, after in pairwise(widths):
        key, own = jax.random.split(key)
        layers.append((jax.random.normal(own, (before, after)) * jnp.sqrt(2 / before), jnp.zeros(after)))
    return layers


def loss(layers: Any, x: Any, y: Any) -> Any:
    """The mean cross-entropy of a batch."""
    for weights, bias in layers[:-1]:
        x = jax.nn.relu(x @ weights + bias)
    weights, bias = layers[-1]
    return -jnp.take_along_axis(jax.nn.log_softmax(x @ weights + bias), y[:, None], axis=1).mean()


@partial(jax.jit, donate_argnums=(0, 1, 2))
def step(layers: Any, first: Any, second: Any, number: Any, x: Any, y: Any, batch: Any) -> Any:
    """One step of Adam (Kingma & Ba, 2015, algorithm 1)."""
    gradient = jax.grad(loss)(layers, x[batch], y[batch])
    first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, gradient)
    second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, gradient)
    rate, root = RATE / (1 - BETA1**number), jnp.sqrt(1 - BETA2**number)
    layers = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) / root + EPSILON), layers, first, second)
    return layers, first, second


def main() -> None:
    with np.load(given["data"]) as data:
        x, y = jnp.asarray(data["x"]), jnp.asarray(data["y"].astype(np.int32))
    layers = initial(given["widths"], jax.random.key(0))
    state = (layers, jax.tree.map(jnp.zeros_like, layers), jax.tree.map(jnp.zeros_like, layers))
    random, number = np.random.default_rng(0), 0

    def epoch() -> None:
        nonlocal state, number
        order = random.permutation(len(x)).astype(np.int32)
        for start in range(0, len(x), given["batch_size"]):
            number += 1
            state = step(*state, np.float32(number), x, y, order[start : start + given["batch_size"]])
        jax.block_until_ready(state)

    epoch()  # compiles, which is none of an epoch's time
    began = time.perf_counter()
    for _ in range(given["epochs"]):
        epoch()
    took_s = time.perf_counter() - began
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    used = f"{cores} cores, {jax.devices()[0].platform}, compiled, buffers donated"
    told = {"samples_per_s": given["epochs"] * len(x) / took_s, "used": used, "version": f"jax {jax.__version__}"}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
