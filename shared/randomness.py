"""All randomness of a job, as a pure function of (seed, purpose, epoch or step, shard, layer).

The generator is Philox4x64-10 (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011),
which is counter-based: where a draw lies in the stream depends on its key and counter, never on what was drawn before
or by whom. So any worker can draw the numbers of any shard.
"""

from collections.abc import Iterator
from enum import IntEnum

import numpy as np

from shared import kernels

__all__ = ["Purpose", "permutation", "permutation_into", "philox", "split", "uniform"]

WORD = 2**64
PART_ROWS = 1 << 20  # of a long permutation, that are drawn and sorted at once


class Purpose(IntEnum):
    """What numbers are drawn for; different purposes never share a number. Their values are part of every result."""

    SPLIT = 1
    SHUFFLE = 2
    DROPOUT = 3
    INITIAL_WEIGHTS = 4


def philox(seed: int, purpose: Purpose, *, index: int = 0, shard: int = 0, layer: int = 0) -> np.random.Philox:
    """The stream of one purpose: key (seed, purpose), counter (0, index, shard, layer), the lowest word counting draws.

    `index` is the epoch or the step. Raises ValueError for a number that is not from 0 to 2⁶⁴ - 1.
    """
    words = (seed, int(purpose), index, shard, layer)
    if not all(0 <= word < WORD for word in words):
        raise ValueError(f"got {words} as seed, purpose, index, shard and layer, expected numbers from 0 to 2**64 - 1")
    key = np.array([seed, int(purpose)], dtype=np.uint64)
    counter = np.array([0, index, shard, layer], dtype=np.uint64)
    return np.random.Philox(counter=counter, key=key)


def permutation(n: int, seed: int, purpose: Purpose, index: int = 0) -> np.ndarray:
    """The numbers from 0 to n - 1 in random order, int64.

    Sorts n raw 64-bit draws, so that it depends on Philox alone and not on how a version of numpy shuffles.
    """
    draws = np.empty(n, np.uint64)
    kernels.philox_draws(np.uint64(seed), np.uint64(purpose), np.uint64(index), draws)
    return draws.argsort(kind="stable")


def permutation_into(
    out: np.ndarray, scratch: np.ndarray, seed: int, purpose: Purpose, index: int = 0, part_rows: int = PART_ROWS
) -> None:
    """Writes the very numbers of `permutation(len(out))` into `out`, with little memory of its own.

    The draws are told apart by their upper bits, and then each part is sorted alone. So `out` (n) and `scratch` (n × 2,
    uint64) may be files that are mapped into memory.
    """
    bits = max(0, (len(out) - 1) // part_rows).bit_length()
    parts = 1 << bits

    def drawn() -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Where some draws begin, the draws, and the part of each."""
        generator = philox(seed, purpose, index=index)
        for start in range(0, len(out), part_rows):
            draws = generator.random_raw(min(part_rows, len(out) - start))
            yield start, draws, (draws >> np.uint64(63 - bits) >> np.uint64(1)).astype(np.uint16)

    counts = sum((np.bincount(part, minlength=parts) for _, _, part in drawn()), np.zeros(parts, np.int64))
    ends = np.cumsum(counts)
    filled = ends - counts
    for start, draws, part in drawn():
        by_part = np.argsort(part, kind="stable")
        for number, chosen in enumerate(np.split(by_part, np.cumsum(np.bincount(part, minlength=parts))[:-1])):
            into = scratch[filled[number] : filled[number] + len(chosen)]
            into[:, 0], into[:, 1] = draws[chosen], chosen + start
            filled[number] += len(chosen)
    for first, end in zip(ends - counts, ends, strict=True):
        out[first:end] = scratch[first:end, 1][np.argsort(scratch[first:end, 0], kind="stable")]


def split(rows: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are trained on and which are validated on: two sorted int64 arrays of row numbers.

    About `fraction` of the rows are validated on: rows · fraction rounded half to even, at least 1, and at least 1 row
    is left to train on. Raises ValueError for fewer than 2 rows.
    """
    if rows < 2:
        raise ValueError(f"got {rows} rows to split, expected at least 2: one to train on and one to validate on")
    validation = min(max(round(rows * fraction), 1), rows - 1)
    order = permutation(rows, seed, Purpose.SPLIT)
    return np.sort(order[validation:]), np.sort(order[:validation])


def uniform(generator: np.random.Philox, n: int, limit: float) -> np.ndarray:
    """n float64 numbers, uniform in [-limit, limit): the upper 53 bits of raw draws, scaled."""
    unit = (generator.random_raw(n) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return (2.0 * unit - 1.0) * limit
