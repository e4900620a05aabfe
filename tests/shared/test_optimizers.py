"""Every optimizer against a plain reading of its paper, element by element, over several steps; and by hand."""

from collections.abc import Callable, Iterator, Sequence
from math import copysign, hypot, sqrt

import numpy as np
import pytest

from shared import spec
from shared.optimizers import RANGE_FROM, GradientSum, build_optimizer, penalty, run_in_turn
from shared.sharding import Node, whole_sum

DTYPES = [("float32", 2e-5), ("float64", 1e-13)]
SIZE = 37
PENALIZED = (np.arange(SIZE) % 3 > 0).astype(np.uint8)
RATES = [0.1, 0.05, 0.0, 0.2, 0.1, 0.01]  # a schedule's, one a step
DIVISOR = 7

SETTINGS: dict[str, spec.Optimizer] = {
    "sgd": spec.Sgd(type="sgd"),
    "momentum": spec.Sgd(type="sgd", momentum=0.9),
    "nesterov": spec.Sgd(type="sgd", momentum=0.8, nesterov=True),
    "adam": spec.Adam(type="adam", beta1=0.85, beta2=0.99, epsilon=1e-6),
    "adam without memory": spec.Adam(type="adam", beta1=0.0, beta2=0.0),
    "adamw": spec.AdamW(type="adamw", weight_decay=0.3),
    "rmsprop": spec.RMSprop(type="rmsprop", decay=0.8),
    "adagrad": spec.Adagrad(type="adagrad"),
}
REGULARIZATION = [(0.0, 0.0, None), (0.02, 0.0, None), (0.0, 0.3, None), (0.01, 0.1, 0.5), (0.0, 0.0, 1e3)]


def paper(settings: spec.Optimizer, w: float, penalized: bool) -> Iterator[float]:
    """One parameter's life: send (g, learning rate), get w. Variables are named as in the papers."""
    v = m = 0.0
    t = 0
    while True:
        g, alpha = yield w  # type: ignore[misc]
        t += 1
        match settings:
            case spec.Sgd():
                v = settings.momentum * v + g
                w -= alpha * (g + settings.momentum * v if settings.nesterov else v)
            case spec.Adam():
                beta1, beta2 = settings.beta1, settings.beta2
                m = beta1 * m + (1 - beta1) * g
                v = beta2 * v + (1 - beta2) * g**2
                m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
                decay = settings.weight_decay * w if isinstance(settings, spec.AdamW) and penalized else 0.0
                w -= alpha * (m_hat / (sqrt(v_hat) + settings.epsilon) + decay)
            case spec.RMSprop():
                v = settings.decay * v + (1 - settings.decay) * g**2
                w -= alpha * g / (sqrt(v) + settings.epsilon)
            case spec.Adagrad():
                v += g**2
                w -= alpha * g / (sqrt(v) + settings.epsilon)


def by_the_papers(
    settings: spec.Optimizer, start: list[float], sums: np.ndarray, l1: float, l2: float, clip: float | None
) -> list[float]:
    lives = [paper(settings, w, bool(PENALIZED[i])) for i, w in enumerate(start)]
    w = [next(life) for life in lives]
    for rate, summed in zip(RATES, sums.tolist(), strict=True):
        g = [total / DIVISOR for total in summed]
        for i in np.flatnonzero(PENALIZED):
            g[i] += l1 * (copysign(1, w[i]) if w[i] else 0) + l2 * w[i]
        norm = hypot(*g)
        if clip is not None and norm > clip:
            g = [x * clip / norm for x in g]
        w = [life.send((x, rate)) for life, x in zip(lives, g, strict=True)]  # type: ignore[attr-defined]
    return w


@pytest.mark.parametrize(("l1", "l2", "clip"), REGULARIZATION)
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("name", SETTINGS)
def test_an_optimizer_does_what_its_paper_says(
    name: str, dtype: str, tolerance: float, l1: float, l2: float, clip: float | None
) -> None:
    random = np.random.default_rng(5)
    w = random.standard_normal(SIZE).astype(dtype)
    w[:6] = 0  # where l1 has no sign
    sums = random.normal(0, DIVISOR, (len(RATES), SIZE)).astype(dtype)
    expected = by_the_papers(SETTINGS[name], w.tolist(), sums, l1, l2, clip)
    optimizer = build_optimizer(SETTINGS[name], SIZE, dtype, PENALIZED, l1, l2, clip)
    for number, (rate, summed) in enumerate(zip(RATES, sums, strict=True), start=1):
        optimizer.update(w, GradientSum.of(summed), divisor=DIVISOR, learning_rate=rate, step=number)
    np.testing.assert_allclose(w, expected, rtol=tolerance, atol=tolerance)


def one_step(settings: spec.Optimizer, w: list[float], g: list[float], **more: float) -> list[float]:
    weights = np.array(w)
    mask = np.array([1] * (len(w) - 1) + [0], np.uint8)  # the last is a bias
    optimizer = build_optimizer(settings, len(w), "float64", mask, **more)
    optimizer.update(weights, GradientSum.of(np.array(g)), divisor=2, learning_rate=0.1, step=1)
    return [float(x) for x in weights]


def test_one_step_by_hand() -> None:
    w, g = [1.0, -1.0, 1.0], [2.0, 4.0, -6.0]  # over 2 rows: means 1, 2, -3
    assert one_step(spec.Sgd(type="sgd"), w, g) == pytest.approx([0.9, -1.2, 1.3])
    assert one_step(spec.Sgd(type="sgd"), w, g, l2=0.5) == pytest.approx([0.85, -1.15, 1.3])
    assert one_step(spec.Sgd(type="sgd"), w, g, l1=0.5) == pytest.approx([0.85, -1.15, 1.3])
    clipped = 0.1 / sqrt(14)  # to norm 1
    assert one_step(spec.Sgd(type="sgd"), w, g, clip_norm=1.0) == pytest.approx(
        [1 - clipped, -1 - 2 * clipped, 1 + 3 * clipped]
    )
    assert one_step(spec.Adam(type="adam"), w, g) == pytest.approx([0.9, -1.1, 1.1], abs=1e-8)
    assert one_step(spec.AdamW(type="adamw", weight_decay=0.5), w, g) == pytest.approx([0.85, -1.05, 1.1], abs=1e-8)
    assert one_step(spec.RMSprop(type="rmsprop", decay=0.75), w, g) == pytest.approx([0.8, -1.2, 1.2], abs=1e-8)
    assert one_step(spec.Adagrad(type="adagrad"), w, g) == pytest.approx([0.9, -1.1, 1.1], abs=1e-8)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_slots_are_the_whole_state(name: str) -> None:
    random = np.random.default_rng(6)
    start, sums = random.standard_normal(SIZE), random.standard_normal((4, SIZE))
    through, resumed = start.copy(), start.copy()
    optimizer = build_optimizer(SETTINGS[name], SIZE, "float64", PENALIZED, 0.1, 0.1, 1.0)
    first_half = build_optimizer(SETTINGS[name], SIZE, "float64", PENALIZED, 0.1, 0.1, 1.0)
    second_half = build_optimizer(SETTINGS[name], SIZE, "float64", PENALIZED, 0.1, 0.1, 1.0)
    for step, total in enumerate(sums, start=1):
        optimizer.update(through, GradientSum.of(total), divisor=1, learning_rate=0.1, step=step)
        if step == 3:
            for slot, saved in first_half.slots.items():
                second_half.slots[slot][:] = saved
        half = first_half if step < 3 else second_half
        half.update(resumed, GradientSum.of(total), divisor=1, learning_rate=0.1, step=step)
    np.testing.assert_array_equal(through, resumed)


def test_slots_have_names_and_the_parameters_dtype() -> None:
    names = {
        name: sorted(build_optimizer(settings, SIZE, "float32", PENALIZED).slots) for name, settings in SETTINGS.items()
    }
    assert names["sgd"] == []
    assert names["momentum"] == names["nesterov"] == names["rmsprop"] == ["v"]
    assert names["adam"] == names["adamw"] == ["m", "v"]
    assert names["adagrad"] == ["s"]
    slots = build_optimizer(SETTINGS["adam"], SIZE, "float32", PENALIZED).slots
    assert all(slot.dtype == np.float32 and slot.shape == (SIZE,) and not slot.any() for slot in slots.values())


@pytest.mark.parametrize("name", SETTINGS)
def test_a_gradient_that_is_not_a_number_shows_in_the_parameters(name: str) -> None:
    for clip in (None, 1.0):
        w = np.ones(SIZE)
        optimizer = build_optimizer(SETTINGS[name], SIZE, "float64", PENALIZED, clip_norm=clip)
        optimizer.update(w, GradientSum.of(np.full(SIZE, np.nan)), divisor=1, learning_rate=0.1, step=1)
        assert np.isnan(w).all()


def test_the_penalty_counts_weights_only() -> None:
    w, mask = np.array([1.0, -2.0, 100.0], np.float32), np.array([1, 1, 0], np.uint8)
    assert penalty(w, mask, 0.5, 0.0) == 1.5
    assert penalty(w, mask, 0.0, 0.5) == 1.25
    assert penalty(w, mask, 0.5, 0.5) == 2.75
    assert penalty(w, mask, 0.0, 0.0) == 0.0


def test_the_penaltys_derivative_is_what_the_step_adds_to_the_gradient() -> None:
    w = np.array([0.3, -0.7, 0.9])
    mask, h, l1, l2 = np.array([1, 1, 0], np.uint8), 1e-6, 0.2, 0.4
    after = w.copy()
    optimizer = build_optimizer(spec.Sgd(type="sgd"), 3, "float64", mask, l1, l2)
    optimizer.update(after, GradientSum.of(np.zeros(3)), divisor=1, learning_rate=1.0, step=1)
    for i, step in enumerate(np.eye(3) * h):
        difference = (penalty(w + step, mask, l1, l2) - penalty(w - step, mask, l1, l2)) / (2 * h)
        assert w[i] - after[i] == pytest.approx(difference, abs=1e-8)


def summed_in_order(parts: np.ndarray, count: int = 8) -> np.ndarray:
    """A power of two of parts along the tree."""
    return parts[0] if count == 1 else summed_in_order(parts[0:count:2] + parts[1:count:2], count // 2)


@pytest.mark.parametrize("name", SETTINGS)
def test_parts_are_summed_along_the_tree_whoever_holds_what_and_however_many_threads_step(name: str) -> None:
    size = 3 * RANGE_FROM // 2 + 77
    random = np.random.default_rng(8)
    memory = random.standard_normal((9, size + 5)).astype(np.float32)
    held, rows = tuple(Node(shard, shard + 1) for shard in range(8)), [3, 1, 2, 0, 8, 5, 6, 7]
    gradient = GradientSum(memory, rows, whole_sum(80, 8, held))
    halves = np.stack([summed_in_order(memory[half], 4) for half in (rows[:4], rows[4:])])
    of_halves = GradientSum(halves, [0, 1], whole_sum(80, 8, (Node(0, 4), Node(4, 8))))
    whole = GradientSum.of(summed_in_order(memory[rows][:, :size]))
    penalized = np.ones(size, np.uint8)
    found = []
    for ranges, total in ((1, whole), (1, gradient), (3, gradient), (1, of_halves), (3, of_halves)):
        ran: list[int] = []

        def backwards(tasks: Sequence[Callable[[], None]], ran: list[int] = ran) -> None:
            ran.append(len(tasks))
            run_in_turn(tasks[::-1])

        w = np.ones(size, np.float32)
        optimizer = build_optimizer(
            SETTINGS[name], size, "float32", penalized, 0.1, 0.1, 1.0, ranges=ranges, run_all=backwards
        )
        optimizer.update(w, total, divisor=80, learning_rate=0.1, step=1)
        assert max(ran) == ranges
        found.append(w)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_the_state_begins_on_cache_lines_that_differ_within_a_page() -> None:
    slots = build_optimizer(SETTINGS["adam"], 1_000, "float32", np.ones(1_000, np.uint8)).slots
    starts = [slot.ctypes.data for slot in slots.values()]
    assert [start % 64 for start in starts] == [0, 0]
    assert len({start % 4096 for start in starts}) == 2
