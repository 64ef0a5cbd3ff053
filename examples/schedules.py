"""Learning rates that change with time: per update, per sample, per epoch of an endless stream."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from streamgd import linear_model, optim

rng = np.random.default_rng(5)
truth = np.array([1.0, -2.0, 0.5, 3.0])
X = rng.normal(size=(20_000, 4))
y = X @ truth + rng.normal(0.0, 2.0, size=len(X))


@dataclass(frozen=True)
class Doubling(optim.base.Scheduler):
    """The doubling trick: each rate holds for twice as long as the last one, of which it is 0.71."""

    learning_rate: float
    first: int
    per: ClassVar[optim.base.Per] = "update"
    epoch_size: ClassVar[int | None] = None

    def get(self, t: int) -> float:
        return self.learning_rate * 2.0 ** (-0.5 * math.floor(math.log2(1 + t / self.first)))


rate = optim.schedulers
schedules = {
    "constant": rate.Constant(0.05),
    "inverse": rate.InverseScaling(0.05, power=0.5),
    # an epoch of a stream is what you say it is: here, every 2,000 samples the rate halves
    "steps": rate.StepDecay(0.05, drop=0.5, drop_every=1, epoch_size=2_000),
    "exponential": rate.Exponential(0.05, k=3e-4, per="sample"),
    "cosine": rate.Warmup(rate.CosineAnnealing(0.05, T_max=19_000), steps=1_000),
    "own": Doubling(0.05, first=100),  # schedules never enter a kernel: any Python will do
}
print(f"{'':<12}{'first rate':>12}{'last rate':>12}{'error of the weights':>22}")
for name, schedule in schedules.items():
    model = linear_model.LinearRegression(optim.SGD(schedule))
    first = model.learning_rate
    model.learn_rows(X, y)
    error = np.linalg.norm(np.array(list(model.weights.values())) - truth)
    print(f"{name:<12}{first:>12.5f}{model.learning_rate:>12.5f}{error:>22.4f}")
