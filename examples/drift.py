"""A stream that changes: a rate that falls is right until it does; then it must start again."""

import itertools

import numpy as np
from river import drift, metrics
from river.datasets import synth

from streamgd import evaluate, linear_model, optim
from streamgd.optim.schedulers import InverseTime, RestartOnDrift

# Three hyperplanes in turn, each for 10,000 samples, with one label in twenty wrong.
concepts = [
    synth.Hyperplane(seed=seed, n_features=8, noise_percentage=0.05).take(10_000) for seed in (1, 2, 3)
]
rows = list(itertools.chain(*concepts))
X = np.array([list(x.values()) for x, _ in rows]) - 0.5
y = np.array([label for _, label in rows], dtype=bool)

falls = InverseTime(1.0, k=0.01)
schedules = {
    "small": 0.03,
    "large": 1.0,
    "falls": falls,
    # losses go into river's detector as the model learns; when it fires, time starts at 0 again
    "restarts": RestartOnDrift(falls, drift.ADWIN(), cooldown=500),
}
print(f"{'':<10}{'rate at the end of each concept':>32}  {'and soon after':>16}")
for name, rate in schedules.items():
    model = linear_model.LogisticRegression(optim.SGD(rate), intercept_lr="optimizer")
    metric, rates = metrics.Accuracy(), []
    for i in range(0, len(X), 500):
        part = slice(i, i + 500)
        evaluate.progressive_val_score((X[part], y[part]), model, metric)
        rates.append(model.learning_rate)
    ends, after = rates[19::20], rates[20::20]
    print(f"{name:<10}" + "".join(f"{r:>10.4f}" for r in ends), end="  ")
    print("".join(f"{r:>9.4f}" for r in after) + f"   {metric}")
