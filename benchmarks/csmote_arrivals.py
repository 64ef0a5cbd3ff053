"""Seconds of each arrival of CapyMOA's C-SMOTE, in an environment of its own; started by `arrivals`."""

from __future__ import annotations

import sys
import time

import numpy as np
from capymoa.classifier import CSMOTE
from capymoa.stream import NumpyStream


def main(path: str, seconds: str) -> None:
    """Learn the rows of ``path``, an ``.npz`` of ``X (n, p)`` and ``y (n,)``; write each one's seconds."""
    with np.load(path) as rows:
        X, y = rows["X"], rows["y"]
    stream = NumpyStream(X, y.astype(int), target_type="categorical")
    model = CSMOTE(stream.get_schema(), random_seed=1, base_learner="functions.SGD -o 1 -r 0.01 -l 0")
    spent = []
    end = time.perf_counter() + float(seconds)
    while stream.has_more_instances() and time.perf_counter() < end:
        row = stream.next_instance()
        start = time.perf_counter()
        model.train(row)
        spent.append(time.perf_counter() - start)
    np.save(path.replace(".npz", ".npy"), np.array(spent))


if __name__ == "__main__":
    main(*sys.argv[1:])
