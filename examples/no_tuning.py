"""No scaler and no rate: ``optimizer="auto"`` against a scaler and gradient descent at seven rates."""

from river import datasets, evaluate, metrics, preprocessing

from streamgd import linear_model, optim


def loss(stream: str, optimizer: optim.base.Optimizer | str, *, scaler: bool) -> float:
    """Progressive loss on one of river's streams, dict by dict."""
    if stream == "Phishing":
        data, metric, cls = datasets.Phishing(), metrics.LogLoss(), linear_model.LogisticRegression
    else:
        data, metric, cls = datasets.TrumpApproval(), metrics.MAE(), linear_model.LinearRegression
    model = cls(optimizer, intercept_lr="optimizer")
    if scaler:
        model = preprocessing.StandardScaler() | model
    return evaluate.progressive_val_score(data, model, metric).get()


streams = ("Phishing", "TrumpApproval")  # labels; and percent, from columns one of which is the day, 736389
print(f"{'':<26}{'log loss':>12}{'MAE':>12}")
for rate in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0):
    losses = (loss(stream, optim.SGD(rate), scaler=True) for stream in streams)
    print(f"{f'scaler, SGD({rate:g})':<26}" + "".join(f"{value:>12.4g}" for value in losses))
losses = (loss(stream, "auto", scaler=False) for stream in streams)
print(f"{'auto':<26}" + "".join(f"{value:>12.4g}" for value in losses))

# Units have no part in it: predictions stay as they are when a column or the target is in another one.
days, years = linear_model.LinearRegression("auto"), linear_model.LinearRegression("auto")
largest = 0.0
for x, y in datasets.TrumpApproval():
    other = x | {"ordinal_date": x["ordinal_date"] / 365.25 - 2000.0}
    largest = max(largest, abs(days.predict_one(x) - years.predict_one(other) / 100.0))
    days.learn_one(x, y)
    years.learn_one(other, 100.0 * y)
print(f"largest difference of predictions, of some {y:.0f}: {largest:.0e}")
