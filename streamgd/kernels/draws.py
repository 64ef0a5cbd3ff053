"""Random numbers inside kernels: one generator of 64-bit words, and what is drawn from its words.

The functions are for compiled code, which inlines them (1 ns a word).
"""

# mypy: disable-error-code="no-untyped-def,misc"

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgd._jit import borrowing

_0, _1, _3, _11, _12, _24, _32, _40 = (np.uint64(k) for k in (0, 1, 3, 11, 12, 24, 32, 40))
_LOW = np.uint64(0xFFFFFFFF)

# From here on a Poisson number is found by rejection: products of uniform numbers take one for each unit.
_MANY = 10.0


def seeded(seed: int | None = None) -> NDArray[np.uint64]:
    """Return the state of a new generator, ``(4,)``: that of ``numpy.random.SFC64(seed)``.

    Parameters
    ----------
    seed
        Not negative. None: from the operating system's entropy.
    """
    state: NDArray[np.uint64] = np.random.SFC64(seed).state["state"]["state"]
    return state.copy()


@borrowing
def next_word(state: Any) -> Any:
    """Return the next 64 random bits (SFC64; Doty-Humphrey, PractRand, 2013) and move the state on."""
    word = state[0] + state[1] + state[3]
    state[0] = state[1] ^ (state[1] >> _11)
    state[1] = state[2] + (state[2] << _3)
    state[2] = ((state[2] << _24) | (state[2] >> _40)) + word
    state[3] += _1
    return word


@borrowing
def unit(state: Any) -> Any:
    """Return a uniform number in (0, 1): odd multiples of 2 ** -53, so neither end, and a safe logarithm."""
    return (np.float64(next_word(state) >> _12) + 0.5) * 2.0**-52


@borrowing
def _product(a, b):
    """Return the upper and the lower 64 bits of a product."""
    a1, a0, b1, b0 = a >> _32, a & _LOW, b >> _32, b & _LOW
    middle = a1 * b0 + ((a0 * b0) >> _32)
    other = a0 * b1 + (middle & _LOW)
    return a1 * b1 + (middle >> _32) + (other >> _32), a * b


@borrowing
def below(state: Any, n: Any) -> Any:
    """Return one of 0, 1 ... n - 1 (n > 0), each exactly as likely (Lemire, 2019, algorithm 5)."""
    n = np.uint64(n)
    high, low = _product(next_word(state), n)
    if low < n:
        surplus = (_0 - n) % n  # 2 ** 64 modulo n: so many words would be too many for some numbers
        while low < surplus:
            high, low = _product(next_word(state), n)
    return np.int64(high)


@borrowing
def poisson(state: Any, rate: Any) -> Any:
    """Return a Poisson number of a finite ``rate``, which is not negative.

    Small rates count how many uniform numbers can be multiplied before the product falls below
    ``exp(-rate)`` (Knuth, 1969); larger ones are rejected from a transformed uniform number (PTRS;
    Hörmann, 1993), which takes the same time at every rate.
    """
    if rate >= _MANY:
        return _rejected(state, rate)
    least = math.exp(-rate)
    count = 0
    product = unit(state)
    while product > least:
        count += 1
        product *= unit(state)
    return count


@borrowing
def _rejected(state, rate):
    log_rate = math.log(rate)
    b = 0.931 + 2.53 * math.sqrt(rate)
    a = 0.02483 * b - 0.059
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    inner = 0.9277 - 3.6224 / (b - 2.0)
    while True:
        u = unit(state) - 0.5
        v = unit(state)
        edge = 0.5 - abs(u)
        k = math.floor((2.0 * a / edge + b) * u + rate + 0.43)
        if edge >= 0.07 and v <= inner:
            return k
        if k < 0 or (edge < 0.013 and v > edge):
            continue
        height = math.log(v * inverse_alpha / (a / (edge * edge) + b))
        if height <= k * log_rate - rate - math.lgamma(k + 1.0):
            return k
