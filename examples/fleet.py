"""Sixty-four learning rates and penalties on one pass over a stream, and a model for each key of another."""

import numpy as np
import pandas as pd
from river import datasets

from streamgd import cuda, linear_model, optim

# A grid over one stream: each member is the learner that it would be alone, but rows are read once for all.
# With device="cuda" a GPU does the same for thousands of members.
pages = list(datasets.Phishing())
X, y = pd.DataFrame([x for x, _ in pages]), [label for _, label in pages]
grid = {"optimizer.lr": np.geomspace(0.001, 30.0, 16).tolist(), "l2": [0.0, 1e-4, 1e-3, 1e-2]}
fleet = cuda.Fleet(linear_model.LogisticRegression(optim.AdaGrad()), grid, threads=2)
fleet.learn_rows(X, y)

loss, accuracy = fleet.metrics["loss"], fleet.metrics["accuracy"]
best = fleet.best()  # by the progressive loss; best("accuracy") by that
print(f"{len(fleet)} members, losses from {loss.min():.3f} to {loss.max():.3f}")
print(f"best: {fleet.params(best)}, loss {loss[best]:.3f}, accuracy {accuracy[best]:.1%}")

# A member is an ordinary learner, which goes on by itself.
model = fleet[best]
alone = linear_model.LogisticRegression(optim.AdaGrad(fleet.params(best)["optimizer.lr"]), l2=model.l2)
alone.learn_rows(X, y)
print(f"the same as alone: {model.weights == alone.weights}; {model.predict_proba_one(pages[0][0])}\n")

# A model for each key: 500 shops whose prices follow the same two signals, but each in its own way.
rng = np.random.default_rng(5)
shop = rng.integers(0, 500, size=100_000)
signals = rng.normal(size=(len(shop), 2))
effects = rng.normal(size=(500, 2))
price = (signals * effects[shop]).sum(axis=1) + 0.1 * rng.normal(size=len(shop))

shops = cuda.KeyedFleet(linear_model.LinearRegression(optim.SGD(0.05)))
together = linear_model.LinearRegression(optim.SGD(0.05))
z = shops.predict_learn_rows(shop, signals, price)  # each made before its row was learned
error = np.abs(together.predict_learn_rows(signals, price) - price).mean()
late = np.abs(z - price)[-5000:].mean()
print(f"one model for all   MAE {error:.3f}")
print(f"one for each shop   MAE {shops.overall['mae']:.3f}, of the last rows {late:.3f}")
key = int(shop[0])
print(f"shop {key}: {shops[key].n_samples} rows, off by {abs(shops[key].weights[0] - effects[key, 0]):.2f}")
print(f"worst shop: MAE {shops.metrics['mae'].max():.3f} of {len(shops)}")
