"""A compiled learner in a river pipeline: the imports change, the rest of a river program stays."""

from river import datasets, metrics, preprocessing

from streamgd import linear_model, optim

model = preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.Adam(0.01))
metric = metrics.ROCAUC()

for x, y in datasets.Phishing():  # 1,250 web pages, as dicts
    metric.update(y, model.predict_proba_one(x))
    model.learn_one(x, y)

print(metric)

# What the learner knows is there to read.
learner = model["LogisticRegression"]
print(f"{learner.n_samples} samples, intercept {learner.intercept:+.3f}")
for name, weight in sorted(learner.weights.items(), key=lambda item: -abs(item[1]))[:3]:
    print(f"{weight:+.3f}  {name}")
