"""Not the mean of a number: counts, an interval that holds eight of ten, steps that need no rate."""

import numpy as np
from river import metrics

from streamgd import evaluate, linear_model, optim

rng = np.random.default_rng(3)
n = 100_000
X = np.column_stack([rng.uniform(size=n), rng.uniform(size=n) < 0.3])  # how warm, and whether it rains
rentals = rng.poisson(np.exp(1.0 + 1.5 * X[:, 0] - 1.2 * X[:, 1]))  # bicycles hired in an hour

# A count: the Poisson loss has a logarithm as its link, so effects multiply and no prediction is negative.
warm_and_dry, cold_and_wet = {0: 1.0, 1: 0.0}, {0: 0.0, 1: 1.0}
print(f"rentals when warm and dry, cold and wet: truth {np.exp(2.5):.2f}, {np.exp(-0.2):.2f}")
slower = optim.schedulers.InverseScaling(0.05, 0.5)
for loss in (optim.losses.Squared(), optim.losses.Poisson()):
    model = linear_model.LinearRegression(optim.SGD(slower), loss, intercept_lr=slower)
    model.learn_rows(X, rentals)
    dry, wet = model.predict_one(warm_and_dry), model.predict_one(cold_and_wet)
    print(f"{type(loss).__name__:8} {dry:6.2f} {wet:6.2f}")

# An interval: one model for each of its ends.
minutes = 20.0 + 10.0 * X[:, 0] + (1.0 + X[:, 1]) * rng.exponential(5.0, size=n)  # a ride
low, high = (
    linear_model.LinearRegression(optim.SGD(0.05), optim.losses.Quantile(alpha), intercept_lr=0.05)
    for alpha in (0.1, 0.9)
)
below, above = low.predict_learn_rows(X, minutes), high.predict_learn_rows(X, minutes)
inside = ((below < minutes) & (minutes < above))[10_000:]
print(f"dry: {low.predict_one({0: 0.5}):.1f} to {high.predict_one({0: 0.5}):.1f} minutes, ", end="")
print(f"wet: {low.predict_one({0: 0.5, 1: 1.0}):.1f} to {high.predict_one({0: 0.5, 1: 1.0}):.1f} minutes")
print(f"{inside.mean():.1%} of the rides lie between their two ends")

# No rate: a passive-aggressive step is as long as the row needs. C bounds it where the target is noisy.
for C in (1.0, 0.1):
    model = linear_model.PARegressor(C=C)
    error = evaluate.progressive_val_score((X, minutes), model, metrics.MAE())
    print(f"PARegressor(C={C:g}): {error}")
