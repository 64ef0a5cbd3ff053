"""The hashing trick and interactions: categories without end, from dicts and from a file alike."""

import csv
import tempfile
from pathlib import Path

import numpy as np
from river import metrics

from streamgd import evaluate, linear_model, optim, stream
from streamgd.preprocessing import FeatureEncoder

# 30,000 visits by people who come once or twice. What they click on depends on site and device together.
rng = np.random.default_rng(1)
taste = {
    (site, device): rng.normal(0.0, 2.0) for site in "abcdefgh" for device in ("phone", "desk", "tablet")
}
rows = []
for _ in range(30_000):
    site, device = list(taste)[rng.integers(len(taste))]
    rows.append({"visitor": f"v{rng.integers(20_000)}", "site": site, "device": device})
clicks = [bool(rng.logistic() < taste[x["site"], x["device"]]) for x in rows]


def score(encoder):
    model = encoder | linear_model.LogisticRegression(optim.AdaGrad(0.3))
    metric = evaluate.progressive_val_score(zip(rows, clicks, strict=True), model, metrics.ROCAUC())
    print(f"{metric}  {len(model['LogisticRegression'].weights):>6,} weights")
    return model


# Each category is a feature, such as "site=a"; an interaction gives each pair one ("site=a*device=desk").
score(FeatureEncoder())
score(FeatureEncoder(interactions=["site*device"]))
# Hashed, a feature is a number below n_features: as many weights at most, whoever comes.
model = score(FeatureEncoder(interactions=["site*device"], n_features=2**12))

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "visits.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*rows[0], "click"])
        writer.writerows([*x.values(), click] for x, click in zip(rows, clicks, strict=True))

    # A file read with the same options gives the same features, and so the same model.
    source = stream.open_file(path, target="click", interactions=["site*device"], n_features=2**12)
    learner = linear_model.LogisticRegression(optim.AdaGrad(0.3))
    for batch in source:
        learner.learn_rows(batch.X, batch.y, columns=batch.columns)

theirs = model["LogisticRegression"].weights
print("largest difference:", max(abs(learner.weights[name] - theirs[name]) for name in theirs))

# To serve rows that come one by one, the source tells how to encode them.
served = FeatureEncoder.from_source(source) | learner
x = {"visitor": "never seen", "site": "b", "device": "tablet"}
print(FeatureEncoder.from_source(source).transform_one(x))
print(f"{served.predict_proba_one(x)[True]:.3f}, truly {1 / (1 + np.exp(-taste['b', 'tablet'])):.3f}")
