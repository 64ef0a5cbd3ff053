"""A loss of your own: a class of ten lines, compiled into the same kernels as the built-in ones."""

from dataclasses import dataclass

import numpy as np

from streamgd import linear_model, optim


@dataclass(frozen=True)
class Quantile(optim.base.Loss):
    """Learn a quantile of the target instead of its mean."""

    alpha: float = 0.5

    def value(self, y: float, p: float) -> float:
        return self.alpha * (y - p) if y > p else (1.0 - self.alpha) * (p - y)

    def gradient(self, y: float, p: float) -> float:
        return -self.alpha if y > p else 1.0 - self.alpha


rng = np.random.default_rng(1)
x = rng.uniform(size=(50_000, 1))
minutes = 20.0 + 10.0 * x[:, 0] + rng.exponential(5.0, size=len(x))  # how long a journey takes

for alpha in (0.1, 0.5, 0.9):
    model = linear_model.LinearRegression(optim.SGD(0.05), loss=Quantile(alpha), intercept_lr=0.05)
    predicted = model.predict_learn_rows(x, minutes)
    late = np.mean(minutes[10_000:] > predicted[10_000:])
    print(
        f"alpha {alpha}: {model.predict_one({0: 0.5}):5.1f} minutes, exceeded by {late:.1%} of the journeys"
    )

# Editing the class recompiles; a class in a module of its own is also cached on disk.
# Mistakes are found when a class is made, not by the compiler later:
try:

    @dataclass(frozen=True)
    class Wrong(optim.base.Loss):
        def value(self, y: float, p: float) -> float:
            return abs(p - y)

except TypeError as error:
    print(error)
