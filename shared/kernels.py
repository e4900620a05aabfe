"""The element-wise work of training, fused and compiled: every loop that is not a matrix product.

All kernels are serial, write into memory that they are given, and never reorder a sum (no fastmath), so the same input
gives the same bits. Arrays are C-contiguous; `rows × columns` throughout. numba compiles a kernel when it first meets a
dtype and keeps the machine code on disk; warmup.py does it ahead of time.

A kernel takes its activation, loss or rule as an integer code and branches once, outside of its loops. All code that
kernels call lives in this file, because numba's cache on disk notices changes of this file only.
"""

import math
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compiled at its first call for each dtype, and kept on disk."""
    return cast(Function, numba.njit(cache=True, error_model="numpy", fastmath=False, nogil=True)(function))


def inner(function: Function) -> Function:
    """Compiled into the loops that call it: a loop with a call in it is not turned into vector code."""
    return cast(Function, numba.njit(error_model="numpy", fastmath=False, nogil=True, forceinline=True)(function))


ADD: Final = -1  # as in shared/sharding.py
IDENTITY: Final = 0
RELU: Final = 1
LEAKY_RELU: Final = 2
ELU: Final = 3
GELU: Final = 4
SIGMOID: Final = 5
TANH: Final = 6
SOFTPLUS: Final = 7
SILU: Final = 8
CODES: Final = {
    "identity": IDENTITY,
    "relu": RELU,
    "leaky_relu": LEAKY_RELU,
    "elu": ELU,
    "gelu": GELU,
    "sigmoid": SIGMOID,
    "tanh": TANH,
    "softplus": SOFTPLUS,
    "silu": SILU,
}
SAVES_DERIVATIVE: Final = frozenset({"gelu", "silu"})  # theirs does not follow from the output alone

SQUARED: Final = 0
ABSOLUTE: Final = 1
HUBER: Final = 2


# ---------------------------------------------------------------- special functions
# In float64 for either dtype, free of branches and of calls into libm, so that loops over them become vector code and
# their bits do not depend on the C library. Rational approximations: S. Moshier, Cephes (exp.c, ndtr.c), within 2 ulp.
LEAKY_SLOPE: Final = 0.01
SQRT_HALF: Final = 0.7071067811865476
INVERSE_SQRT_2PI: Final = 0.3989422804014327
LOG2_E: Final = 1.4426950408889634
LN2_HIGH: Final = 0.693145751953125
LN2_LOW: Final = 1.42860682030941723212e-6
ROUND: Final = 6755399441055744.0  # 1.5 · 2⁵²: adding it rounds to an integer, which then lies in the lowest bits
LOWEST: Final = -708.0  # exp of it is the least normal number


@inner
def _power_of_two_and_rest(x: Any) -> Any:
    """(2ⁿ, expm1(r)) where x = n ln 2 + r, |r| ≤ ln 2 / 2, for x ≤ 0; x below -708 counts as -708."""
    x = LOWEST if x < LOWEST else x * 1.0
    shifted = x * LOG2_E + ROUND
    n = shifted - ROUND
    r = x - n * LN2_HIGH - n * LN2_LOW
    s = r * r
    p = r * ((1.26177193074810590878e-4 * s + 3.02994407707441961300e-2) * s + 1.0)
    q = ((3.00198505138664455042e-6 * s + 2.52448340349684104192e-3) * s + 2.27265548208155028766e-1) * s + 2.0
    bits = np.int64((np.float64(shifted).view(np.int64) << 52) + (1023 << 52))
    return np.int64(bits).view(np.float64), 2.0 * p / (q - p)


@inner
def _exp(x: Any) -> Any:
    """eˣ for x ≤ 0; NaN stays NaN."""
    power, rest = _power_of_two_and_rest(x)
    return power * rest + power


@inner
def _expm1(x: Any) -> Any:
    """eˣ - 1 for x ≤ 0, exact to the last bits near 0 too."""
    power, rest = _power_of_two_and_rest(x)
    return power * rest + (power - 1.0)


@inner
def _log1p(u: Any) -> Any:
    """log(1 + u) for 0 ≤ u ≤ 1, as 2 artanh(s) = 2 (s + s³/3 + s⁵/5 + …) with s = u / (2 + u) ≤ 1/3."""
    s = u / (2.0 + u)
    t = s * s
    total = 1.0 / 33.0
    for k in range(31, 0, -2):
        total = total * t + 1.0 / k
    return 2.0 * s * total


@inner
def _erf(x: Any, exp_minus_x2: Any) -> Any:
    """The error function, given exp(-x²)."""
    a = min(abs(x), 6.0)  # erf(6) is 1 to the last bit
    z = a * a
    t = (
        ((9.60497373987051638749 * z + 90.0260197203842689217) * z + 2232.00534594684319226) * z
    ) + 7003.32514112805075473
    t = t * z + 55592.3013010394962768
    u = ((z + 33.5617141647503099647) * z + 521.357949780152679795) * z + 4594.32382970980127987
    u = (u * z + 22629.0000613890934246) * z + 49267.3942608635921086
    p = (2.46196981473530512524e-10 * a + 0.564189564831068821977) * a + 7.46321056442269912687
    p = ((p * a + 48.6371970985681366614) * a + 196.520832956077098242) * a + 526.445194995477358631
    p = ((p * a + 934.528527171957607540) * a + 1027.55188689515710272) * a + 557.535335369399327526
    q = ((a + 13.2281951154744992508) * a + 86.7072140885989742329) * a + 354.937778887819891062
    q = ((q * a + 975.708501743205489753) * a + 1823.90916687909736289) * a + 2246.33760818710981792
    q = (q * a + 1656.66309194161350182) * a + 557.535340817727675546
    near = a * t / u
    far = 1.0 - exp_minus_x2 * p / q
    return math.copysign(near if a < 1.0 else far, x) + (x - x)  # x - x keeps NaN


# ---------------------------------------------------------------- random numbers: Philox4x64-10, as numpy draws them
LOW_HALF: Final = np.uint64(0xFFFFFFFF)
HALF: Final = np.uint64(32)


@inner
def _high_product(a: Any, b: Any) -> Any:
    """The upper 64 bits of the product of two 64-bit numbers."""
    a_low, a_high, b_low, b_high = a & LOW_HALF, a >> HALF, b & LOW_HALF, b >> HALF
    middle = a_high * b_low + (a_low * b_low >> HALF)
    return a_high * b_high + (middle >> HALF) + (a_low * b_high + (middle & LOW_HALF) >> HALF)


@kernel
def philox_draws(seed: Any, purpose: Any, index: Any, out: Any) -> None:
    """out ← the first raw draws, uint64, of the stream with key (seed, purpose) and counter (0, index, 0, 0).

    Salmon et al. (SC 2011); numpy counts the lowest word up before each block of four, so that the first block is 1.
    """
    for start in range(0, out.shape[0], 4):
        a, b, c, d = np.uint64(start // 4 + 1), np.uint64(index), np.uint64(0), np.uint64(0)
        k, l = np.uint64(seed), np.uint64(purpose)  # noqa: E741
        for _ in range(10):
            high_a = _high_product(np.uint64(0xD2E7470EE14C6C93), a)
            high_c = _high_product(np.uint64(0xCA5A826395121157), c)
            low_a, low_c = np.uint64(0xD2E7470EE14C6C93) * a, np.uint64(0xCA5A826395121157) * c
            a, b, c, d = high_c ^ b ^ k, low_c, high_a ^ d ^ l, low_a
            k, l = k + np.uint64(0x9E3779B97F4A7C15), l + np.uint64(0xBB67AE8584CAA73B)  # noqa: E741
        block = (a, b, c, d)
        for i in range(min(4, out.shape[0] - start)):
            out[start + i] = block[i]


# ---------------------------------------------------------------- activations f(t), and f'(t) as a function of y = f(t)
@inner
def _identity(t: Any) -> Any:
    return t


@inner
def _relu(t: Any) -> Any:
    zero = type(t)(0)
    return zero if t < zero else t  # in this order NaN stays NaN, and is noticed


@inner
def _relu_slope(y: Any) -> Any:
    return type(y)(1) if y > 0 else type(y)(0)


@inner
def _leaky_relu(t: Any) -> Any:
    return t if t > 0 else t * type(t)(LEAKY_SLOPE)


@inner
def _leaky_relu_slope(y: Any) -> Any:
    return type(y)(1) if y > 0 else type(y)(LEAKY_SLOPE)


@inner
def _elu(t: Any) -> Any:
    return t if t > 0 else _expm1(min(t, type(t)(0)))


@inner
def _elu_slope(y: Any) -> Any:
    return type(y)(1) if y > 0 else y + type(y)(1)


@inner
def _sigmoid(t: Any) -> Any:
    e = _exp(-abs(t))
    return (1.0 if t > 0 else e) / (1.0 + e)


@inner
def _sigmoid_slope(y: Any) -> Any:
    return y * (type(y)(1) - y)


@inner
def _tanh(t: Any) -> Any:
    e = _expm1(-2.0 * abs(t))
    return math.copysign(e / (2.0 + e), t)


@inner
def _tanh_slope(y: Any) -> Any:
    return type(y)(1) - y * y


@inner
def _softplus(t: Any) -> Any:
    """log(1 + eᵗ) without overflow."""
    return (t if t > 0 else 0.0) + _log1p(_exp(-abs(t)))


@inner
def _softplus_slope(y: Any) -> Any:
    return -_expm1(-y)


@inner
def _gelu_and_slope(t: Any) -> Any:
    """t Φ(t) with the exact normal distribution function Φ, and its derivative Φ(t) + t φ(t)."""
    e = _exp(-0.5 * t * t)
    cumulative = 0.5 + 0.5 * _erf(t * SQRT_HALF, e)
    return t * cumulative, cumulative + t * (INVERSE_SQRT_2PI * e)


@inner
def _silu_and_slope(t: Any) -> Any:
    """t σ(t), and its derivative σ(t) (1 + t (1 - σ(t)))."""
    s = _sigmoid(t)
    return t * s, s * (1.0 + t * (1.0 - s))


@inner
def _gelu(t: Any) -> Any:
    return _gelu_and_slope(t)[0]


@inner
def _silu(t: Any) -> Any:
    return _silu_and_slope(t)[0]


def _forward_loop(f: Any) -> Any:
    @inner
    def loop(z: Any, bias: Any) -> None:
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                z[i, j] = f(z[i, j] + bias[j])

    return loop


def _saving_loop(f: Any) -> Any:
    @inner
    def loop(z: Any, bias: Any, slope: Any) -> None:
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                z[i, j], slope[i, j] = f(z[i, j] + bias[j])

    return loop


def _backward_loop(slope: Any) -> Any:
    @inner
    def loop(delta: Any, saved: Any, bias_gradient: Any) -> None:
        for i in range(delta.shape[0]):
            for j in range(delta.shape[1]):
                d = delta[i, j] * slope(saved[i, j])
                delta[i, j] = d
                bias_gradient[j] += d

    return loop


_all_identity = _forward_loop(_identity)
_all_relu = _forward_loop(_relu)
_all_leaky_relu = _forward_loop(_leaky_relu)
_all_elu = _forward_loop(_elu)
_all_gelu = _forward_loop(_gelu)
_all_sigmoid = _forward_loop(_sigmoid)
_all_tanh = _forward_loop(_tanh)
_all_softplus = _forward_loop(_softplus)
_all_silu = _forward_loop(_silu)
_all_gelu_and_slope = _saving_loop(_gelu_and_slope)
_all_silu_and_slope = _saving_loop(_silu_and_slope)
_back_relu = _backward_loop(_relu_slope)
_back_leaky_relu = _backward_loop(_leaky_relu_slope)
_back_elu = _backward_loop(_elu_slope)
_back_sigmoid = _backward_loop(_sigmoid_slope)
_back_tanh = _backward_loop(_tanh_slope)
_back_softplus = _backward_loop(_softplus_slope)
_back_saved = _backward_loop(_identity)


@kernel
def activate(z: Any, bias: Any, code: int) -> None:
    """z ← f(z + bias), in place."""
    if code == RELU:
        _all_relu(z, bias)
    elif code == LEAKY_RELU:
        _all_leaky_relu(z, bias)
    elif code == ELU:
        _all_elu(z, bias)
    elif code == GELU:
        _all_gelu(z, bias)
    elif code == SIGMOID:
        _all_sigmoid(z, bias)
    elif code == TANH:
        _all_tanh(z, bias)
    elif code == SOFTPLUS:
        _all_softplus(z, bias)
    elif code == SILU:
        _all_silu(z, bias)
    else:
        _all_identity(z, bias)


@kernel
def activate_and_save(z: Any, bias: Any, slope: Any, code: int) -> None:
    """z ← f(z + bias), in place, and slope ← f'(z + bias); for gelu and silu."""
    if code == GELU:
        _all_gelu_and_slope(z, bias, slope)
    else:
        _all_silu_and_slope(z, bias, slope)


@kernel
def backpropagate(delta: Any, saved: Any, bias_gradient: Any, code: int) -> None:
    """delta ← delta f'(t), in place, and bias_gradient ← its column sums, added row after row.

    `saved` is y = f(t), but f'(t) itself for gelu and silu.
    """
    bias_gradient[:] = 0
    if code == RELU:
        _back_relu(delta, saved, bias_gradient)
    elif code == LEAKY_RELU:
        _back_leaky_relu(delta, saved, bias_gradient)
    elif code == ELU:
        _back_elu(delta, saved, bias_gradient)
    elif code == SIGMOID:
        _back_sigmoid(delta, saved, bias_gradient)
    elif code == TANH:
        _back_tanh(delta, saved, bias_gradient)
    elif code == SOFTPLUS:
        _back_softplus(delta, saved, bias_gradient)
    elif code in (GELU, SILU):
        _back_saved(delta, saved, bias_gradient)
    else:
        for i in range(delta.shape[0]):
            for j in range(delta.shape[1]):
                bias_gradient[j] += delta[i, j]


@kernel
def drop(values: Any, draws: Any, rate: Any, scale: Any) -> None:
    """values ← values · scale where the draw is at least `rate`, else 0, in place: dropout's way forth and back."""
    zero = type(scale)(0)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            values[i, j] *= scale if draws[i, j] >= rate else zero


# ---------------------------------------------------------------- rows of a matrix of small integers
@kernel
def gather_standardized(x: Any, chosen: Any, mean: Any, scale: Any, out: Any) -> None:
    """out[i] ← (x[chosen[i]] - mean) / scale, in float64 and then rounded, as `FittedFeature.encode` does."""
    for i in range(chosen.shape[0]):
        row = chosen[i]
        for j in range(x.shape[1]):
            out[i, j] = (x[row, j] - mean[j]) / scale[j]


# ---------------------------------------------------------------- losses: gradient by row, and the sum over rows
@kernel
def softmax_cross_entropy(logits: Any, labels: Any, gradient: Any) -> float:
    """Σ over rows of log Σⱼ exp(zⱼ) - z_label; gradient ← softmax(z) - onehot(label)."""
    columns = logits.shape[1]
    total = 0.0
    for i in range(logits.shape[0]):
        label = labels[i]
        if label < 0 or label >= columns:
            raise ValueError("a class code is outside of the network's outputs")
        highest = logits[i, 0]
        for j in range(1, columns):
            highest = max(highest, logits[i, j])
        partition = 0.0
        for j in range(columns):
            e = _exp(np.float64(logits[i, j]) - highest)
            gradient[i, j] = e
            partition += e
        total += math.log(partition) + highest - logits[i, label]
        for j in range(columns):
            gradient[i, j] /= partition
        gradient[i, label] -= 1
    return total


@kernel
def sigmoid_cross_entropy(logits: Any, labels: Any, gradient: Any) -> float:
    """Σ over rows of softplus(z) - label z; gradient ← σ(z) - label. One column."""
    total = 0.0
    for i in range(logits.shape[0]):
        z = np.float64(logits[i, 0])
        label = labels[i]
        if label < 0 or label > 1:
            raise ValueError("a class code is neither 0 nor 1")
        total += _softplus(-z if label == 1 else z)
        gradient[i, 0] = _sigmoid(z) if label == 0 else -_sigmoid(-z)
    return total


@inner
def _squared(error: Any, threshold: Any) -> Any:
    return error * error, error + error


@inner
def _absolute(error: Any, threshold: Any) -> Any:
    one = type(error)(1)
    return abs(error), (one if error > 0 else (-one if error < 0 else error))


@inner
def _huber(error: Any, threshold: Any) -> Any:
    half = type(error)(0.5)
    size = abs(error)
    clipped = math.copysign(threshold, error) if size > threshold else error
    return clipped * (error - half * clipped), clipped


def _regression_loop(f: Any) -> Any:
    @inner
    def loop(outputs: Any, targets: Any, gradient: Any, sums: Any, threshold: Any) -> None:
        columns = type(threshold)(outputs.shape[1])
        for i in range(outputs.shape[0]):
            for j in range(outputs.shape[1]):
                loss, slope = f(outputs[i, j] - targets[i, j], threshold)
                sums[j] += loss
                gradient[i, j] = slope / columns

    return loop


_all_squared = _regression_loop(_squared)
_all_absolute = _regression_loop(_absolute)
_all_huber = _regression_loop(_huber)


@kernel
def regression_loss(outputs: Any, targets: Any, gradient: Any, sums: Any, code: int, threshold: Any) -> float:
    """Σ over rows of the mean over outputs of the loss of output - target; gradient ← its derivative.

    `sums` is scratch, one float64 a column, so that the sum can run over rows in vector code.
    """
    sums[:] = 0
    if code == SQUARED:
        _all_squared(outputs, targets, gradient, sums, threshold)
    elif code == ABSOLUTE:
        _all_absolute(outputs, targets, gradient, sums, threshold)
    else:
        _all_huber(outputs, targets, gradient, sums, threshold)
    total = 0.0
    for j in range(sums.shape[0]):
        total += sums[j]
    return float(total / sums.shape[0])


# ---------------------------------------------------------------- the tree's sum, and optimizers on it, in one pass
# All take `parts`, (parts, at least the parameters' number): the gradients that the workers sent; `program`, int64, how
# to add them (shared/sharding.py); `stack`, (depth, BLOCK) scratch; and which parameters to step, from start to stop,
# so that several threads can share the work. `share` is 1 / rows; scalars are of the parameters' dtype.
BLOCK: Final = 16384  # numbers that are added and stepped at a time: long to read ahead, a stack of them in the cache


@inner
def _sum_block(parts: Any, program: Any, stack: Any, low: int, count: int) -> None:
    """stack ← what `program` leaves on it, of parts[:, low : low + count]."""
    top = -1
    position = 0
    while position < program.shape[0]:
        operation = program[position]
        if operation == ADD:
            below, above = stack[top - 1], stack[top]
            for i in range(count):
                below[i] += above[i]
            top -= 1
        elif position + 2 < program.shape[0] and program[position + 1] != ADD and program[position + 2] == ADD:
            top += 1
            left, right = parts[operation][low : low + count], parts[program[position + 1]][low : low + count]
            above = stack[top]
            for i in range(count):
                above[i] = left[i] + right[i]
            position += 2
        else:
            top += 1
            above, part = stack[top], parts[operation][low : low + count]
            for i in range(count):
                above[i] = part[i]
        position += 1


@inner
def _last_two(parts: Any, program: Any, stack: Any, low: int, count: int) -> Any:
    """Two vectors whose sum is that of parts[:, low : low + count] along the tree.

    That last addition is left to the loop that steps the parameters: it waits for memory anyway, and then two parts
    need no stack. One part comes with negative zeros: x + -0.0 is x to the bit, even if x is a zero.
    """
    if program.shape[0] == 1:
        zeros = stack[0][:count]
        zeros[:] = -0.0
        return parts[program[0]][low : low + count], zeros
    if program.shape[0] == 3:
        return parts[program[0]][low : low + count], parts[program[1]][low : low + count]
    _sum_block(parts, program[:-1], stack, low, count)
    return stack[0][:count], stack[1][:count]


@kernel
def sgd(w: Any, parts: Any, program: Any, stack: Any, start: int, stop: int, share: Any, rate: Any) -> None:
    """w ← w - rate g, g = share Σ parts."""
    for low in range(start, stop, BLOCK):
        count = min(BLOCK, stop - low)
        a, b = _last_two(parts, program, stack, low, count)
        w_ = w[low : low + count]
        for i in range(count):
            w_[i] -= rate * ((a[i] + b[i]) * share)


@kernel
def sgd_momentum(
    w: Any, parts: Any, program: Any, stack: Any, start: int, stop: int, share: Any, rate: Any,
    v: Any, momentum: Any, nesterov: bool,
) -> None:  # fmt: skip
    """v ← momentum v + g; w ← w - rate v, or with nesterov w - rate (g + momentum v)."""
    for low in range(start, stop, BLOCK):
        count = min(BLOCK, stop - low)
        a, b = _last_two(parts, program, stack, low, count)
        w_, v_ = w[low : low + count], v[low : low + count]
        if nesterov:
            for i in range(count):
                g = (a[i] + b[i]) * share
                v_[i] = momentum * v_[i] + g
                w_[i] -= rate * (g + momentum * v_[i])
        else:
            for i in range(count):
                v_[i] = momentum * v_[i] + (a[i] + b[i]) * share
                w_[i] -= rate * v_[i]


@kernel
def adam(
    w: Any, parts: Any, program: Any, stack: Any, start: int, stop: int, share: Any, rate: Any,
    m: Any, v: Any, inverse_root: Any, beta1: Any, rest1: Any, beta2: Any, rest2: Any, epsilon: Any,
) -> None:  # fmt: skip
    """m ← β₁ m + (1 - β₁) g; v ← β₂ v + (1 - β₂) g²; w ← w - rate m / (√v · inverse_root + ε).

    With rate = learning rate / (1 - β₁ᵗ) and inverse_root = 1 / √(1 - β₂ᵗ) that is the paper's m̂ and v̂; rest = 1 - β.
    """
    for low in range(start, stop, BLOCK):
        count = min(BLOCK, stop - low)
        a, b = _last_two(parts, program, stack, low, count)
        w_, m_, v_ = w[low : low + count], m[low : low + count], v[low : low + count]
        for i in range(count):
            g = (a[i] + b[i]) * share
            m_[i] = beta1 * m_[i] + rest1 * g
            v_[i] = beta2 * v_[i] + rest2 * (g * g)
            w_[i] -= rate * m_[i] / (np.sqrt(v_[i]) * inverse_root + epsilon)


@kernel
def decay(w: Any, penalized: Any, start: int, stop: int, share: Any) -> None:
    """w ← w - share w, on weights only."""
    w_, penalized_ = w[start:stop], penalized[start:stop]
    for i in range(w_.shape[0]):
        w_[i] -= share * w_[i] * type(share)(penalized_[i])


@kernel
def rmsprop(
    w: Any, parts: Any, program: Any, stack: Any, start: int, stop: int, share: Any, rate: Any,
    v: Any, keep: Any, rest: Any, epsilon: Any,
) -> None:  # fmt: skip
    """v ← ρ v + (1 - ρ) g²; w ← w - rate g / (√v + ε)."""
    for low in range(start, stop, BLOCK):
        count = min(BLOCK, stop - low)
        a, b = _last_two(parts, program, stack, low, count)
        w_, v_ = w[low : low + count], v[low : low + count]
        for i in range(count):
            g = (a[i] + b[i]) * share
            v_[i] = keep * v_[i] + rest * (g * g)
            w_[i] -= rate * g / (np.sqrt(v_[i]) + epsilon)


@kernel
def adagrad(
    w: Any, parts: Any, program: Any, stack: Any, start: int, stop: int, share: Any, rate: Any, s: Any, epsilon: Any
) -> None:
    """s ← s + g²; w ← w - rate g / (√s + ε)."""
    for low in range(start, stop, BLOCK):
        count = min(BLOCK, stop - low)
        a, b = _last_two(parts, program, stack, low, count)
        w_, s_ = w[low : low + count], s[low : low + count]
        for i in range(count):
            g = (a[i] + b[i]) * share
            s_[i] += g * g
            w_[i] -= rate * g / (np.sqrt(s_[i]) + epsilon)


@kernel
def regularize(
    w: Any, parts: Any, program: Any, stack: Any, start: int, stop: int, share: Any,
    penalized: Any, l1: Any, l2: Any, out: Any,
) -> None:  # fmt: skip
    """out ← g + l1 sign(w) + l2 w, the penalties on weights only."""
    zero = type(l1)(0)
    for low in range(start, stop, BLOCK):
        count = min(BLOCK, stop - low)
        a, b = _last_two(parts, program, stack, low, count)
        w_, out_, penalized_ = w[low : low + count], out[low : low + count], penalized[low : low + count]
        for i in range(count):
            sign = l1 if w_[i] > 0 else (-l1 if w_[i] < 0 else zero)
            out_[i] = (a[i] + b[i]) * share + (sign + l2 * w_[i]) * type(l1)(penalized_[i])


LANES: Final = 16  # interleaved partial sums, which are then added in order: a sum that can be vector code


@kernel
def sum_of_squares(values: Any) -> float:
    """Σ x² in float64."""
    lanes = np.zeros(LANES)
    whole = values.shape[0] - values.shape[0] % LANES
    for i in range(0, whole, LANES):
        for j in range(LANES):
            x = np.float64(values[i + j])
            lanes[j] += x * x
    for i in range(whole, values.shape[0]):
        x = np.float64(values[i])
        lanes[i - whole] += x * x
    total = 0.0
    for j in range(LANES):
        total += lanes[j]
    return total


@kernel
def penalty(w: Any, penalized: Any, l1: float, l2: float) -> float:
    """Σ over weights of l1 |w| + l2 / 2 w², in float64."""
    lanes = np.zeros(LANES)
    whole = w.shape[0] - w.shape[0] % LANES
    for i in range(0, whole, LANES):
        for j in range(LANES):
            x = np.float64(w[i + j])
            lanes[j] += (l1 * abs(x) + 0.5 * l2 * x * x) * penalized[i + j]
    for i in range(whole, w.shape[0]):
        x = np.float64(w[i])
        lanes[i - whole] += (l1 * abs(x) + 0.5 * l2 * x * x) * penalized[i]
    total = 0.0
    for j in range(LANES):
        total += lanes[j]
    return total
