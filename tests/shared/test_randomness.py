"""Philox against its authors' known answers and a second implementation; what permutations and splits depend on."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.randomness import Purpose, Split, permutation, permutation_into, philox, split, uniform

MASK = 2**64 - 1


def philox4x64(counter: list[int], key: list[int]) -> list[int]:
    """Ten rounds of Philox4x64, written from the paper (Salmon et al., 2011, section 3.3)."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        high0, low0 = divmod(0xD2E7470EE14C6C93 * c0, 2**64)
        high1, low1 = divmod(0xCA5A826395121157 * c2, 2**64)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return [c0, c1, c2, c3]


def test_the_second_implementation_gives_the_authors_known_answers() -> None:
    # Random123, tests/kat_vectors, philox4x64 with 10 rounds
    zeros = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    ones = [0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0]
    assert philox4x64([0] * 4, [0] * 2) == zeros
    assert philox4x64([MASK] * 4, [MASK] * 2) == ones


def test_a_stream_is_philox_of_key_and_counter() -> None:
    stream = philox(2**63 - 1, Purpose.DROPOUT, index=7, shard=5, layer=3)
    blocks = [philox4x64([word, 7, 5, 3], [2**63 - 1, Purpose.DROPOUT]) for word in (1, 2, 3)]
    assert stream.random_raw(12).tolist() == list(itertools.chain(*blocks))


def test_streams_of_different_keys_share_no_number() -> None:
    variants = [
        philox(0, Purpose.SPLIT),
        philox(1, Purpose.SPLIT),
        *(philox(0, purpose) for purpose in Purpose if purpose != Purpose.SPLIT),
        philox(0, Purpose.SPLIT, index=1),
        philox(0, Purpose.SPLIT, shard=1),
        philox(0, Purpose.SPLIT, layer=1),
    ]
    draws = [set(variant.random_raw(1000).tolist()) for variant in variants]
    assert len(set().union(*draws)) == 1000 * len(variants)


@pytest.mark.parametrize("words", [{"seed": -1}, {"seed": 2**64}, {"index": -1}, {"layer": 2**64}])
def test_a_number_beyond_64_bits_is_refused(words: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="from 0 to"):
        philox(**{"seed": 0, "purpose": Purpose.SPLIT, **words})  # type: ignore[arg-type]


def test_dropouts_float32_draws_are_the_upper_bits_of_the_stream() -> None:
    """numpy cuts each 64-bit number in two, low half first, and keeps 24 bits: so draws follow from Philox alone."""
    raw = philox(1, Purpose.DROPOUT, index=2).random_raw(50)
    halves = np.stack([raw & np.uint64(0xFFFFFFFF), raw >> np.uint64(32)], axis=1).ravel()
    expected = ((halves >> np.uint64(8)).astype(np.float64) * 2.0**-24).astype(np.float32)
    drawn = np.empty((4, 25), np.float32)
    np.random.Generator(philox(1, Purpose.DROPOUT, index=2)).random(out=drawn, dtype=np.float32)
    np.testing.assert_array_equal(drawn.ravel(), expected)


@settings(deadline=None)  # the first call loads what is compiled
@given(n=st.integers(0, 300), seed=st.integers(0, 2**63 - 1), index=st.integers(0, 10**9))
def test_a_permutation_holds_every_number_once(n: int, seed: int, index: int) -> None:
    order = permutation(n, seed, Purpose.SHUFFLE, index)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(n))


def test_a_permutation_depends_on_seed_purpose_and_index_alone() -> None:
    base = permutation(1000, 5, Purpose.SHUFFLE, 2)
    permutation(17, 5, Purpose.SHUFFLE, 1)  # what was drawn before does not matter
    np.testing.assert_array_equal(base, permutation(1000, 5, Purpose.SHUFFLE, 2))
    for other in (
        permutation(1000, 6, Purpose.SHUFFLE, 2),
        permutation(1000, 5, Purpose.SPLIT, 2),
        permutation(1000, 5, Purpose.SHUFFLE, 3),
    ):
        assert (other == base).mean() < 0.02


def test_a_permutation_is_the_order_of_the_raw_draws() -> None:
    draws = philox(4, Purpose.SHUFFLE, index=9).random_raw(6).tolist()
    assert permutation(6, 4, Purpose.SHUFFLE, 9).tolist() == sorted(range(6), key=draws.__getitem__)


@pytest.mark.parametrize("n", [0, 1, 2, 63, 64, 65, 1000])
def test_a_permutation_made_part_by_part_is_the_same(n: int) -> None:
    out, scratch = np.full(n, -1), np.zeros((n, 2), np.uint64)
    permutation_into(out, scratch, 5, Purpose.SHUFFLE, 2, part_rows=64)
    np.testing.assert_array_equal(out, permutation(n, 5, Purpose.SHUFFLE, 2))


def sorted_split(rows: int, fraction: float, seed: int) -> np.ndarray:
    """The rows that are validated on, by sorting all of them."""
    return np.sort(permutation(rows, seed, Purpose.SPLIT)[: min(max(round(rows * fraction), 1), rows - 1)])


@settings(deadline=None)
@given(
    rows=st.integers(2, 500),
    fraction=st.floats(0.001, 0.999),
    seed=st.integers(0, 2**63 - 1),
    part_rows=st.integers(1, 600),
)
def test_a_split_gives_the_first_of_a_permutation_to_validation(
    rows: int, fraction: float, seed: int, part_rows: int
) -> None:
    found = split(rows, fraction, seed, part_rows=part_rows)
    assert np.flatnonzero(found.validates(slice(0, rows))).tolist() == sorted_split(rows, fraction, seed).tolist()
    assert found.validation_rows == min(max(round(rows * fraction), 1), rows - 1)
    assert found.training_rows == rows - found.validation_rows


@pytest.mark.parametrize("rows", [2**16, 2**20 + 1])
@pytest.mark.parametrize("fraction", [1e-9, 0.1, 0.5, 0.999999])
def test_a_split_of_many_rows_is_the_one_that_sorting_them_gives(rows: int, fraction: float) -> None:
    for seed in (0, 2**63 - 1):
        found = split(rows, fraction, seed)
        assert np.array_equal(np.flatnonzero(found.validates(slice(0, rows))), sorted_split(rows, fraction, seed))


def test_a_split_is_the_same_whatever_rows_it_is_asked_for() -> None:
    found = split(1000, 0.3, 5)
    whole = found.validates(slice(0, 1000))
    for start, stop in itertools.combinations((0, 1, 2, 3, 4, 5, 501, 998, 999, 1000), 2):
        assert np.array_equal(found.validates(slice(start, stop)), whole[start:stop])
        assert np.array_equal(found.trains(slice(start, stop)), ~whole[start:stop])


def test_of_rows_with_the_same_draw_the_first_are_validated_on() -> None:
    draw = np.uint64(philox(0, Purpose.SPLIT).random_raw(10)[7])
    for last, is_validated_on in ((6, False), (7, True), (8, True)):
        assert Split(10, 5, 0, draw, last).validates(slice(7, 8)).tolist() == [is_validated_on]


def test_a_split_depends_on_the_seed() -> None:
    one, other = (split(1000, 0.2, seed).validates(slice(0, 1000)) for seed in (1, 2))
    assert np.count_nonzero(one & other) < 80


def test_a_split_of_many_rows_needs_little_memory() -> None:
    tracemalloc.start()
    try:
        split(10_000_000, 0.5, 0).validates(slice(0, 65_536))
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


def test_a_split_heeds_a_wish_to_stop() -> None:
    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        split(10, 0.5, 0, stop)


def test_one_row_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="got 1 rows"):
        split(1, 0.5, 0)


def test_uniform_numbers_are_the_upper_53_bits_scaled() -> None:
    raw = philox(2, Purpose.INITIAL_WEIGHTS, layer=1).random_raw(100)
    numbers = uniform(philox(2, Purpose.INITIAL_WEIGHTS, layer=1), 100, 3.0)
    assert numbers.tolist() == [(2 * ((int(word) >> 11) / 2**53) - 1) * 3 for word in raw]
