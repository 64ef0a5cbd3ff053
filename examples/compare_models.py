"""Several models on one pass over one stream: is 84 % right any good? Curves, late labels, and seeds."""

import numpy as np
from river import preprocessing, tree

from streamgd import evaluate, linear_model

# The market goes up or down in long runs, and two signals tell a little about which.
rng = np.random.default_rng(3)
turns = rng.random(20_000) < 0.08
up = np.cumsum(turns) % 2 == 1
X = rng.normal(size=(len(up), 2)) + np.where(up, 0.7, -0.7)[:, np.newaxis]
models = {
    "linear": linear_model.LogisticRegression("auto"),
    "tree": preprocessing.StandardScaler() | tree.HoeffdingTreeClassifier(),
}

# kappa compares with guessing, kappa-m with always saying the more frequent label, kappa-temporal with
# repeating the last one: that would be better here than both models.
metrics = ["accuracy", "kappa", "kappa-m", "kappa-temporal"]
result = evaluate.progressive_val(models, X, up, metrics=metrics, window=None)
print(result, "\n")

# A day later the last label is known: given to the models, they are at least as good as it.
before = np.column_stack([X, np.concatenate([[0], up[:-1]])])
models = {name: model.clone() for name, model in models.items()}
print(evaluate.progressive_val(models, before, up, metrics=metrics, window=None), "\n")

# If labels come 5 rows late, what they tell is older, for the models and for who repeats them.
before = np.column_stack([X, np.concatenate([[0] * 5, up[:-5]])])
late = evaluate.progressive_val(
    linear_model.LogisticRegression("auto"), before, up, delay=5, metrics=metrics, window=1000, fading=0.999
)
print(late, "\n")
# late.plot("late.png") draws the curves; here they are as numbers.
print(
    late.to_frame()[["samples", "kappa-temporal", "kappa-temporal_window"]].tail(3).to_string(index=False),
    "\n",
)


# Models or data that are a function of a seed: the mean over seeds, and its standard error.
def market(seed):
    rng = np.random.default_rng(seed)
    up = np.cumsum(rng.random(2000) < 0.08) % 2 == 1
    return rng.normal(size=(len(up), 2)) + np.where(up, 0.7, -0.7)[:, np.newaxis], up


small = linear_model.LogisticRegression(labels=(False, True))
over_seeds = evaluate.progressive_val(
    {"auto": small.clone({"optimizer": "auto"}), "SGD(0.01)": small},
    market,
    seeds=range(5),
    window=None,
    every=500,
)
print(over_seeds)
band = over_seeds.band("auto", "logloss")
for rows, mean, low, high in zip(*band, strict=True):
    print(f"{rows:>6,.0f} rows: {mean:.4f}, {low:.4f} to {high:.4f}")
