"""Batch, mini-batch and stochastic gradient descent are one call with another batch_size."""

import numpy as np

import streamgd
from streamgd import linear_model, optim, training

rng = np.random.default_rng(1)
X = rng.normal(size=(20_000, 3))
y = X @ [2.0, -1.0, 0.5] + 3.0 + rng.normal(size=len(X))
best, *_ = np.linalg.lstsq(np.column_stack([X, np.ones(len(X))]), y, rcond=None)
print(f"{'least squares':<28}", best.round(4))

# All three take the mean of the gradients of some rows: of one, of a hundred, of all.
for size, rate, epochs in ((1, 0.001, 1), (100, 0.1, 1), ("all", 0.3, 30)):
    model = linear_model.LinearRegression(optim.SGD(rate), intercept_lr=rate)
    history = streamgd.fit(model, X, y, batch_size=size, epochs=epochs)
    weights = np.array([*model.weights.values(), model.intercept])
    n = history.iterations_per_epoch
    print(f"batch_size {size!s:<5} {epochs:>2} x {n:>6,}", weights.round(4), f"{history.updates:,} updates")

# Epochs until the loss stops falling, in a new order each time; and a look at what happened.
model = linear_model.LinearRegression(optim.Adam(0.05), intercept_lr="optimizer")
history = streamgd.fit(
    model, X, y, batch_size=1_000, epochs=100, shuffle=True, seed=0,
    callbacks=[training.EarlyStopping(patience=2, min_delta=1e-4)],
)  # fmt: skip
print(history)
print(history.to_frame()[["samples", "epoch", "loss", "mae_window"]].iloc[[0, -1]].round(2).to_string())
