"""Columns in any unit and no rate to tune: the normalised update against plain gradient descent."""

import numpy as np
from river import metrics

from streamgd import evaluate, linear_model, optim

rng = np.random.default_rng(11)
X = rng.normal(size=(20_000, 5))
y = X @ np.array([1.0, -1.0, 2.0, 0.5, -1.5]) + rng.logistic(size=len(X)) > 0
units = np.array([1.0, 1e-6, 1e3, 60.0, 1e6])  # one column in tons, one in microseconds, ...


def score(optimizer: optim.base.Optimizer, X: np.ndarray) -> str:
    model = linear_model.LogisticRegression(optimizer)
    return f"{evaluate.progressive_val_score((X, y), model, metrics.LogLoss()).get():10.3f}"


print("log loss (0.693 is a coin)   one unit   any units")
for rate in (1e-6, 1e-3, 0.1):
    print(f"SGD({rate:g})".ljust(26), score(optim.SGD(rate), X), " ", score(optim.SGD(rate), X * units))
print("Normalized()".ljust(26), score(optim.Normalized(), X), " ", score(optim.Normalized(), X * units))

# The predictions are the same, not only the score: units have no part in them.
a = linear_model.LogisticRegression(optim.Normalized()).predict_learn_rows(X, y)
b = linear_model.LogisticRegression(optim.Normalized()).predict_learn_rows(X * units, y)
print(f"largest difference between raw outputs: {np.abs(a - b).max():.0e}")
