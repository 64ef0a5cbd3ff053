"""A rare class, and what helps to find it: class weights, replay and SMOTE from a reservoir."""

import numpy as np
from river import metrics, preprocessing, tree

from streamgd import evaluate, imblearn, linear_model, optim

rng = np.random.default_rng(1)
n, d = 30_000, 10
y = rng.random(n) < 0.01
X = rng.normal(size=(n, d)) + 0.5 * y[:, None]


def learner(**options):
    return linear_model.LogisticRegression(optim.SGD(0.01), **options)


# Arrays: real and synthetic rows in one compiled pass. Metrics see real rows only, before they are learned.
# The defaults are for streams that drift, and for a ranking; this one stands still, and G-mean wants balance.
still = {"sampling_strategy": 1.0, "reservoir": "uniform", "capacity": 500, "seed": 1}
models = {
    "nothing": learner(),
    "class weights": learner(class_weight="balanced"),
    "replay": imblearn.ReservoirSMOTE(learner(), "replay", **still),
    "SMOTE": imblearn.ReservoirSMOTE(learner(), **still),
    "borderline SMOTE": imblearn.ReservoirSMOTE(learner(), "borderline1", **still),
}
for name, model in models.items():
    score = evaluate.progressive_val_score((X, y), model, metrics.GeometricMean() + metrics.ROCAUC())
    g_mean, auc = (metric.get() for metric in score)
    print(f"{name:18} G-mean {g_mean:.3f}   ROC AUC {auc:.3f}")

# What is stored is real, and so is what a scaler learns from. Texts are categories; features may be missing.
model = preprocessing.StandardScaler() | learner()
model = imblearn.ReservoirSMOTE(model, capacity=100, standardise=True, seed=1)
for row, label in zip(X[:5000].tolist(), y[:5000].tolist(), strict=True):
    model.learn_one(dict(enumerate(row)), label)
print(f"{len(model.stored(True))} stored, {model.classifier['StandardScaler'].counts[0]} rows scaled")

# The sampler alone, for whatever learns from a stream: every real sample, then those made on its arrival.
stream = (({"amount": float(x), "kind": "ab"[i % 2]}, i % 20 == 0) for i, x in enumerate(X[:2000, 0]))
forest = tree.HoeffdingTreeClassifier(nominal_attributes=["kind"])
learned = {False: 0, True: 0}
for sample, label in imblearn.ReservoirSMOTE.resample(stream, sampling_strategy=0.5, seed=1):
    forest.learn_one(sample, label)
    learned[label] += 1
print(f"learned {learned[True]} of the rare class for {learned[False]} of the other")
