"""All randomness of a job, as a pure function of (seed, purpose, epoch or step, shard, layer).

The generator is Philox4x64-10 (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011),
which is counter-based: where a draw lies in the stream depends on its key and counter, never on what was drawn before
or by whom. So any worker can draw the numbers of any shard.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from shared import kernels

__all__ = ["Purpose", "Split", "permutation", "permutation_into", "philox", "split", "uniform"]

WORD = 2**64
BLOCK = 4  # draws that Philox makes at once
PART_ROWS = 1 << 20  # of a long permutation or split, that are drawn and sorted at once
SPLIT_BITS = 16  # by the upper bits of its draws, a split is first told coarsely


class Purpose(IntEnum):
    """What numbers are drawn for; different purposes never share a number. Their values are part of every result."""

    SPLIT = 1
    SHUFFLE = 2
    DROPOUT = 3
    INITIAL_WEIGHTS = 4


def philox(
    seed: int, purpose: Purpose, *, index: int = 0, shard: int = 0, layer: int = 0, block: int = 0
) -> np.random.Philox:
    """The stream of one purpose: key (seed, purpose), counter (block, index, shard, layer).

    `index` is the epoch or the step; `block` counts the draws by fours, so that a stream can be entered anywhere.
    Raises ValueError for a number that is not from 0 to 2⁶⁴ - 1.
    """
    words = (seed, int(purpose), index, shard, layer)
    if not all(0 <= word < WORD for word in words):
        raise ValueError(f"got {words} as seed, purpose, index, shard and layer, expected numbers from 0 to 2**64 - 1")
    key = np.array([seed, int(purpose)], dtype=np.uint64)
    counter = np.array([block, index, shard, layer], dtype=np.uint64)
    return np.random.Philox(counter=counter, key=key)


def permutation(n: int, seed: int, purpose: Purpose, index: int = 0) -> np.ndarray:
    """The numbers from 0 to n - 1 in random order, int64.

    Sorts n raw 64-bit draws, so that it depends on Philox alone and not on how a version of numpy shuffles.
    """
    draws = np.empty(n, np.uint64)
    kernels.philox_draws(np.uint64(seed), np.uint64(purpose), np.uint64(index), draws)
    return draws.argsort(kind="stable")


def permutation_into(
    out: np.ndarray,
    scratch: np.ndarray,
    seed: int,
    purpose: Purpose,
    index: int = 0,
    part_rows: int = PART_ROWS,
    heed: Callable[[], None] = lambda: None,
) -> None:
    """Writes the very numbers of `permutation(len(out))` into `out`, with little memory of its own.

    The draws are told apart by their upper bits, and then each part is sorted alone. So `out` (n) and `scratch` (n × 2,
    uint64) may be files that are mapped into memory. Calls `heed` with every part, which may raise to stop.
    """
    bits = max(0, (len(out) - 1) // part_rows).bit_length()
    parts = 1 << bits

    def drawn() -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        return _drawn(len(out), philox(seed, purpose, index=index), bits, part_rows, heed)

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
        heed()
        out[first:end] = scratch[first:end, 1][np.argsort(scratch[first:end, 0], kind="stable")]


def _drawn(
    n: int, generator: np.random.Philox, bits: int, part_rows: int, heed: Callable[[], None]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """n draws, some at a time: where they begin, the draws, and the upper `bits` bits of each, at most 16."""
    for start in range(0, n, part_rows):
        heed()
        draws = generator.random_raw(min(part_rows, n - start))
        yield start, draws, (draws >> np.uint64(63 - bits) >> np.uint64(1)).astype(np.uint16)


@dataclass(frozen=True)
class Split:
    """Which of `rows` rows are trained on and which are validated on, in no memory to speak of.

    The rows are in the random order of `permutation`, that of their draws; the first `validation_rows` of it are
    validated on, up to the row `last` with the draw `last_draw`.
    """

    rows: int
    validation_rows: int
    seed: int
    last_draw: np.uint64
    last: int

    @property
    def training_rows(self) -> int:
        return self.rows - self.validation_rows

    def validates(self, rows: slice) -> np.ndarray:
        """Whether each of `rows`, from a start up to a stop, is validated on: bool."""
        before = rows.start % BLOCK
        generator = philox(self.seed, Purpose.SPLIT, block=rows.start // BLOCK)
        draws = generator.random_raw(before + rows.stop - rows.start)[before:]
        tied = (draws == self.last_draw) & (np.arange(rows.start, rows.stop) <= self.last)
        return np.asarray((draws < self.last_draw) | tied)

    def trains(self, rows: slice) -> np.ndarray:
        """Whether each of `rows` is trained on: bool."""
        return ~self.validates(rows)


def split(
    rows: int, fraction: float, seed: int, heed: Callable[[], None] = lambda: None, part_rows: int = PART_ROWS
) -> Split:
    """Finds which rows are trained on and which are validated on, in two passes over the draws and bounded memory.

    About `fraction` of the rows are validated on: rows · fraction rounded half to even, at least 1, and at least 1 row
    is left to train on. Calls `heed` now and then, which may raise to stop. Raises ValueError for fewer than 2 rows.
    """
    if rows < 2:
        raise ValueError(f"got {rows} rows to split, expected at least 2: one to train on and one to validate on")
    validation = min(max(round(rows * fraction), 1), rows - 1)

    def drawn() -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        return _drawn(rows, philox(seed, Purpose.SPLIT), SPLIT_BITS, part_rows, heed)

    counts = sum((np.bincount(upper, minlength=1 << SPLIT_BITS) for _, _, upper in drawn()), np.zeros(1, np.int64))
    up_to = np.cumsum(counts)
    bits = int(np.searchsorted(up_to, validation))  # of the last row that is validated on
    near = [(draws[upper == bits], start + np.flatnonzero(upper == bits)) for start, draws, upper in drawn()]
    draws, numbers = (np.concatenate(parts) for parts in zip(*near, strict=True))
    place = np.argsort(draws, kind="stable")[validation - 1 - (up_to[bits] - counts[bits])]
    return Split(rows, validation, seed, draws[place], int(numbers[place]))


def uniform(generator: np.random.Philox, n: int, limit: float) -> np.ndarray:
    """n float64 numbers, uniform in [-limit, limit): the upper 53 bits of raw draws, scaled."""
    unit = (generator.random_raw(n) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return (2.0 * unit - 1.0) * limit
