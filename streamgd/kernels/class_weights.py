"""Class weights: samples counted by class, and what a sample's weight is multiplied by.

``numbers`` are the factor of all counts at each sample, the cap, then the rule's hyper-parameters.
``counts (2, classes)`` are the counts, and what a window needs beside them; ``codes (2 + window,)`` its
place, whether it was full, and the codes of its samples, ``recent (window,)`` what it knows of each.
"""
# ruff: noqa: B018
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from streamgd._jit import bind, fingerprint, inlined, jitable
from streamgd.optim.class_weights import ClassWeight, fade, leave, store

from . import access, coordinate
from .pieces import Jit


def n_numbers(rule: type[ClassWeight] | None) -> int:
    """Length of ``numbers``."""
    return 2 + (0 if rule is None else len(rule.struct._fields))


def weigh_body(rule: type[ClassWeight] | None, jit: Jit) -> Callable[..., Any]:
    """Build ``(numbers, factors, counts, codes, recent, new, y, w) -> h``.

    ``h`` is the sample's weight times its class's, and ``new (known,)`` gets the counts with the sample,
    which `keep` makes the model's once it is learned. A sample that cannot be counted has its own weight:
    the rule of its row says what is wrong with it.
    """
    if rule is None:
        return lambda numbers, factors, counts, codes, recent, new, y, w: w
    make, hyper = rule.struct, jit(access.TAKE[len(rule.struct._fields)])
    weight = jit(rule.weight)

    def weigh(numbers, factors, counts, codes, recent, new, y, w):
        if not (0.0 <= y < new.shape[0]) or not (w > 0.0):
            return w
        for k in range(new.shape[0]):
            new[k] = counts[0, k]
        if recent.shape[0] > 0:
            leave(new, codes[2:], recent, codes, counts[1])
        else:
            fade(new, numbers[0])
        new[int(y)] += w
        value = weight(make(*hyper(numbers, 2)), int(y), new) * factors[int(y)]
        if 0.0 < numbers[1] < value:
            value = numbers[1]
        return w * value

    return weigh


@jitable
def keep(counts, codes, recent, new, y, w):
    """Make the counts with a sample the model's, once it is learned."""
    for k in range(new.shape[0]):
        counts[0, k] = new[k]
    if recent.shape[0] > 0:
        store(counts[0], codes[2:], recent, codes, counts[1], int(y), w)


@functools.cache
def weigh_rows(rule: type[ClassWeight]) -> Any:
    """Compiled weights of the rows of a mini-batch, counted in their order.

    ``(numbers, factors, counts, codes, recent, new, y, w, leave_out, out)``: ``out (n,)`` gets the weights;
    rows with ``leave_out`` are not counted, and keep their own.
    """
    weigh = inlined(weigh_body(rule, jitable))
    sources = fingerprint((rule,))

    def weigh_rows(numbers, factors, counts, codes, recent, new, y, w, leave_out, out):
        sources
        w_step = 1 if w.shape[0] > 1 else 0
        for i in range(out.shape[0]):
            own = w[i * w_step]
            out[i] = own
            if not leave_out[i]:
                out[i] = weigh(numbers, factors, counts, codes, recent, new, y[i], own)
                if out[i] > 0.0 and own > 0.0 and 0.0 <= y[i] < new.shape[0]:
                    keep(counts, codes, recent, new, y[i], own)

    vector, matrix = coordinate.VECTOR, coordinate.MATRIX
    flags = coordinate.types.boolean[::1]
    signature = (vector, vector, matrix, coordinate.WORDS, vector, vector, vector, vector, flags, vector)
    return bind(weigh_rows, signature, (rule,), nogil=True, borrows=True)
