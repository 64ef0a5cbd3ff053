"""Rows from NumPy and pandas: learned one at a time, as dicts are, in one compiled pass."""

import time

import numpy as np
import pandas as pd
from river import metrics

from streamgd import evaluate, linear_model, optim

rng = np.random.default_rng(7)
X = rng.normal(size=(100_000, 20))
y = X @ rng.normal(size=20) + rng.logistic(size=len(X)) > 0

# Progressive validation: each row is predicted, then learned.
model = linear_model.LogisticRegression(optim.SGD(0.05))
evaluate.progressive_val_score((X[:10], y[:10]), model.clone(), metrics.Accuracy())  # compiles
start = time.perf_counter()
score = evaluate.progressive_val_score((X, y), model, metrics.Accuracy() + metrics.LogLoss())
print(score)
print(f"{len(X) / (time.perf_counter() - start):,.0f} rows/s, the metrics included")

# The same by hand: outputs made before each update. The columns of an array are features 0 to 19.
model = linear_model.LogisticRegression(optim.SGD(0.05))
z = model.predict_learn_rows(X, y)
print(f"accuracy {np.mean((z > 0) == y):.4f}, weight of feature 3: {model.weights[3]:+.4f}")

# A frame brings names. learn_rows is learn_one on every row; learn_many is one step on their mean.
frame = pd.DataFrame(X[:1000], columns=[f"f{k}" for k in range(20)])
model = linear_model.LogisticRegression(optim.SGD(0.05))
model.learn_rows(frame, y[:1000])
model.learn_many(frame, y[:1000])
model.learn_one({"f0": 1.5, "a feature met late": 2.0}, True)
print(f"{model.n_samples} samples in {model.n_updates} updates, {len(model.weights)} features")
print(model.predict_proba_many(frame.head(2)).round(3).to_string())
