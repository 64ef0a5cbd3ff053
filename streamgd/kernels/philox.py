"""Random numbers by their place: a number's words are a function of seed and place, on CPU and GPU alike.

Whoever makes the n-th of many things draws what it needs from the words at n: the order, the threads and the
device do not matter. Plain Python, compiled code and CUDA kernels run the same functions, on integers alone
until a float32 is made, and get the same bits.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from .._jit import jitable

_ROUNDS = 10

# 64-bit words hold 32-bit numbers: Numba and NumPy agree on the type of their products.
_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _8, _32 = np.uint64(0xFFFFFFFF), np.uint64(8), np.uint64(32)
_24_BITS = np.float32(2.0**-24)


@jitable
def philox(c0, c1, c2, c3, k0, k1):
    """Return the four 32-bit words of a counter, four words, and a key, two: Philox4x32-10.

    All are uint64 below 2 ** 32 (J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as
    1, 2, 3", SC 2011, section 3.3).
    """
    for _ in range(_ROUNDS):
        even, odd = _MULTIPLIER_0 * c0, _MULTIPLIER_1 * c2
        c0, c1, c2, c3 = (odd >> _32) ^ c1 ^ k0, odd & _LOW, (even >> _32) ^ c3 ^ k1, even & _LOW
        k0, k1 = (k0 + _WEYL_0) & _LOW, (k1 + _WEYL_1) & _LOW
    return c0, c1, c2, c3


@jitable
def words_at(seed, place, stream, block):
    """Return four random 32-bit words, as uint64.

    Parameters
    ----------
    seed
        From 0, below 2 ** 64: the key.
    place
        Number of what is drawn for, from 0, below 2 ** 64.
    stream
        What else tells one thing from another, below 2 ** 32: things of each stream are numbered from 0.
    block
        Which four words of that thing, below 2 ** 32.
    """
    key, counter = np.uint64(seed), np.uint64(place)
    return philox(counter & _LOW, counter >> _32, np.uint64(block), np.uint64(stream), key & _LOW, key >> _32)


@jitable
def unit_of(word):
    """Return a uniform float32 in [0, 1) of a word: its upper 24 bits, so that no float is rounded to 1."""
    return np.float32(word >> _8) * _24_BITS


@jitable
def below_of(high, low, n):
    """Return one of 0, 1 ... n - 1, an int64, of two words; n is from 1 to 2 ** 32.

    The 64 bits are multiplied by n and shifted (Lemire, 2019), and none are rejected, so that a thing has its
    words whatever comes out: probabilities differ from 1 / n by less than 2 ** -64, which is n * 2 ** -64 of
    them.
    """
    n = np.uint64(n)
    return np.int64((high * n + ((low * n) >> _32)) >> _32)
