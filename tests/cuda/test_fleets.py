"""`cuda.Fleet` and `cuda.KeyedFleet` on the device: as on the CPU in single precision."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from streamgd import cuda, linear_model, optim
from streamgd.cuda._backend import cuda as numba_cuda
from streamgd.optim import penalties, schedulers

CLOSE = 1e-5  # exponentials and divisions are rounded otherwise on a device
N, P = 14, 3


def stream(binary: bool):
    rng = np.random.default_rng(4)
    X = rng.normal(size=(N, P)).astype(np.float32)
    y = X @ rng.normal(size=P) + 0.3 * rng.normal(size=N)
    return X, y > 0 if binary else y, rng.choice([0.0, 1.0, 2.0], N), rng.choice(["a", "b", "c"], N)


def differ(a: object, b: object) -> float:
    return float(np.max(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float))))


MODELS = {
    "schedule": linear_model.LinearRegression(optim.SGD(schedulers.InverseScaling(0.1, 0.5)), l2=0.01),
    "labels": linear_model.LogisticRegression(optim.Adam(0.01), l1=0.001),
    "folded": linear_model.LinearRegression(optim.SGD(0.05), penalty=penalties.Proximal(0.001, 1e4)),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_grid_and_what_goes_between_devices(name: str):
    X, y, w, _ = stream(name == "labels")
    there, here = (
        cuda.Fleet(MODELS[name], {"clip_gradient": [1e12, 0.3]}, device=device, dtype="float32")
        for device in ("cuda", "cpu")
    )
    assert differ(*(fleet.predict_learn_rows(X, y, w) for fleet in (there, here))) < CLOSE
    for metric, values in there.metrics.items():
        assert differ(values, here.metrics[metric]) < CLOSE
    moved = pickle.loads(pickle.dumps(there)).to("cpu")
    expected = here.predict_learn_rows(X, y)
    assert differ(there.predict_learn_rows(numba_cuda.to_device(X), y), expected) < CLOSE
    assert differ(moved.predict_learn_rows(X, y), expected) < CLOSE
    some = {"columns": [2, 0]}  # of the features, in another order
    expected = here.predict_learn_rows(X[:, [2, 0]], y, **some)
    assert differ(there.predict_learn_rows(X[:, [2, 0]], y, **some), expected) < CLOSE
    assert differ(moved.to("cuda").predict_learn_rows(X[:, [2, 0]], y, **some), expected) < CLOSE
    assert (there.predict_many(X) == here.predict_many(X)).all() or name != "labels"
    assert there.n_samples.tolist() == here.n_samples.tolist()
    assert there[1].weights == pytest.approx(here[1].weights, abs=CLOSE)


@pytest.mark.parametrize("on_device", [False, True], ids=["host", "device"])
def test_a_model_for_each_key(on_device: bool):
    X, y, w, keys = stream(binary=True)
    place = numba_cuda.to_device if on_device else np.asarray
    there, here = (
        cuda.KeyedFleet(MODELS["labels"], device=device, dtype="float32") for device in ("cuda", "cpu")
    )
    for a, b in ((0, 9), (9, N)):
        part = y[a:b], w[a:b]
        z = there.predict_learn_rows(keys[a:b], place(X[a:b]), *part)
        assert differ(z, here.predict_learn_rows(keys[a:b], X[a:b], *part)) < CLOSE
    assert there.keys() == here.keys()
    assert there.overall == pytest.approx(here.overall, abs=CLOSE)
    assert there["b"].weights == pytest.approx(here["b"].weights, abs=CLOSE)
    assert there.predict_many(["a", "new"], X[:2]).tolist() == here.predict_many(["a", "new"], X[:2]).tolist()
    X[5, 1] = np.nan
    with pytest.raises(ValueError, match="row 5: feature 1 is nan") as raised:
        there.learn_rows(keys, place(X), y, w)
    assert raised.value.row == 5
    with pytest.raises(ValueError, match="dtype='float64' on 'cuda'"):
        cuda.KeyedFleet(MODELS["labels"], device="cuda", dtype="float64")
