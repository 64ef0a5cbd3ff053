"""Probabilities of a rare class: weights spoil them, and an online calibration mends them."""

import numpy as np
from river import metrics

from streamgd import imblearn, linear_model

# One sample in a hundred is positive at first, one in thirty at the end.
rng = np.random.default_rng(0)
n = 60_000
y = rng.random(n) < np.linspace(0.01, 0.033, n)
X = rng.normal(size=(n, 6))
X[y] += [1.5, -1.0, 0.5, 0.5, 0.0, 0.0]
late = slice(n // 2, None)


def learner(class_weight=None):
    return linear_model.LogisticRegression("auto", class_weight=class_weight)


def report(name, p):
    truth, share = y[late], p[late]
    loss = -np.log(np.where(truth, share, 1.0 - share)).mean()
    sure = share > np.quantile(share, 0.98)
    print(f"{name:<12}{loss:>9.4f}{share[sure].mean():>29.1%}{truth[sure].mean():>12.1%}")


print(f"{'':<12}{'log loss':>9}{'of the likeliest 2 %: said':>29}{'were':>12}")
plain = learner()
report("plain", plain.loss.mean_func(plain.predict_learn_rows(X, y)))
weighted = learner("balanced")
report("weighted", weighted.loss.mean_func(weighted.predict_learn_rows(X, y)))
mended = imblearn.OnlineCalibration(learner("balanced"))
report("calibrated", mended.predict_proba_learn_rows(X, y)[:, 1])
print(f"the map: slope {mended.slope_:.2f}, biases {mended.bias_[False]:+.2f} and {mended.bias_[True]:+.2f}")

# Its answers are still those of the weighted learner; or the likeliest label, or the cheapest one.
samples = [(dict(enumerate(x)), truth) for x, truth in zip(X[late].tolist(), y[late].tolist(), strict=True)]
for predict in ("classifier", "calibrated", {True: 20.0}):
    model = imblearn.OnlineCalibration(learner("balanced"), predict=predict)
    model.learn_rows(X[: n // 2], y[: n // 2])
    matrix = metrics.ConfusionMatrix()
    for x, truth in samples:
        matrix.update(truth, model.predict_one(x))
        model.learn_one(x, truth)
    missed, alarms = int(matrix[True][False]), int(matrix[False][True])
    print(f"{predict!s:<13} missed {missed:>4}, false alarms {alarms:>5}, cost {20 * missed + alarms:>6,}")
