"""Labels of any kind, and a model file from which learning goes on to the bit."""

import tempfile
from pathlib import Path

import numpy as np

import streamgd
from streamgd import linear_model, optim

rng = np.random.default_rng(3)
X = rng.normal(size=(2_000, 4))
y = np.where(X[:, 0] + X[:, 1] + rng.logistic(size=len(X)) > 0, "spam", "ham")
names = ["links", "capitals", "length", "hour"]

# Labels are found in the stream; say them if it matters which is the positive one.
model = linear_model.LogisticRegression(optim.Adam(0.01), labels=("ham", "spam"))
model.learn_rows(X[:1000], y[:1000], columns=names)
mail = {"links": 2.0, "capitals": 1.0}
print(
    f"{model.labels_}: {model.predict_one(mail)} with probability {model.predict_proba_one(mail)['spam']:.3f}"
)

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "mail.safetensors"
    streamgd.save(model, path, extra={"trained on": "the first thousand"})
    copy, extra = streamgd.load(path, with_extra=True)
    print(f"{path.name}: {path.stat().st_size} bytes, {extra}")

# Optimizer state, clocks and labels are in the file: both go on as one.
for learner in (model, copy):
    learner.learn_rows(X[1000:], y[1000:], columns=names)
print("equal to the bit:", model.weights == copy.weights and model.intercept == copy.intercept)

# A bad row is refused by name, and leaves the model as it was.
before = model.weights
try:
    model.learn_one({"links": float("nan"), "capitals": 1.0}, "spam")
except ValueError as error:
    print(f"refused: {error}; unchanged: {model.weights == before}")

# Or skip bad rows, and count them.
tolerant = linear_model.LogisticRegression(on_invalid="skip")
tolerant.learn_one({"links": None}, "spam")
print(f"skipped: {tolerant.n_invalid}")
