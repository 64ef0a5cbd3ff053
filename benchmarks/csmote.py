"""CapyMOA's C-SMOTE on rows from files, in an environment of its own: started by suites/imbalance.py."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from capymoa.classifier import CSMOTE
from capymoa.stream import NumpyStream

SEED = 1


def answers(Z: np.ndarray, y: np.ndarray, learner: str, seconds: float) -> Iterator[float]:
    """Predict and learn each row in turn, until so much processor time is spent; NaN: no answer."""
    rows = NumpyStream(Z, y.astype(int), target_type="categorical")
    model = CSMOTE(rows.get_schema(), random_seed=SEED, base_learner=learner)
    end = time.process_time() + seconds
    while rows.has_more_instances() and time.process_time() < end:
        row = rows.next_instance()
        shares = model.predict_proba(row)
        # a class that was not met yet has no place
        yield np.nan if shares is None else float(shares[1]) if len(shares) > 1 else 0.0
        model.train(row)


def main(folder: str, learner: str, seconds: str) -> None:
    """Answer each file ``*.npz``, of ``Z (n, p)`` and ``y (n,)``, by a ``*.npy``: p of True."""
    for path in sorted(Path(folder).glob("*.npz")):
        with np.load(path) as part:
            found = [*answers(part["Z"], part["y"], learner, float(seconds))]
        np.save(path.with_suffix(".npy"), np.array(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
