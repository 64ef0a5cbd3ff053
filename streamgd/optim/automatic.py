"""Optimizers without a rate to tune: `Auto`, and `Bank`, which mixes six rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .base import Optimizer, Scheduler, Slots

__all__ = ["Auto", "Bank"]

# The rates of a bank's lanes, relative to its own.
RATES = (0.2, 0.6, 2.0, 6.0, 20.0, 60.0)


class _Lanes(Optimizer):
    """What both have in common: the rule in ``kernels/lanes.py``."""

    contract: ClassVar[dict[str, tuple[str, ...]]] = Optimizer.contract
    kernel: ClassVar[str] = "lanes"
    n_lanes: ClassVar[int] = 1
    penalties: ClassVar[bool] = False
    per_sample: ClassVar[bool] = True
    intercept_feature: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # The layout of kernels/lanes.py: what lanes share, and what each has.
        cls.n_slots, cls.n_scalars = 3 + cls.n_lanes, 11 + 4 * cls.n_lanes
        super().__init_subclass__(**kwargs)

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        raise NotImplementedError("the rule is in kernels/lanes.py: it has no step of one coordinate")


@dataclass(frozen=True)
class Auto(_Lanes):
    r"""No scaler in front, no rate to tune: what ``optimizer="auto"`` stands for.

    Vowpal Wabbit's normalised, adaptive, importance-aware update (Ross, Mineiro, Langford 2013), with
    what made it better on the streams of the quality benchmark:

    - Features that are in every row are centred by their running mean. The others are not: their zeros
      mean something.
    - Weights are rescaled before the prediction when a feature's scale jumps. A value counts at most as
      twice the largest one before, so that a broken one does not stop its feature.
    - For losses of a residual, steps are as long as the running standard deviation of the target, the
      intercept starts at the first target, and predictions stay in the range of targets seen.
    - Where successive gradients have the same sign more often than not, the model lags behind: the rate
      is divided by :math:`(1 - c)^3`, with c their correlation over some 1,000 rows.
    - The sum of squared gradients forgets over ``horizon`` rows, so that learning never ends.

    Predictions do not change when a feature is multiplied by a constant, or the target is, or is shifted.
    The intercept is learned like any weight (``intercept_lr=0`` fixes it, and then nothing is centred).
    With a loss that has an importance-aware ``update`` (all of ours but Focal have) steps never go beyond
    the label, whatever a sample's weight; ``clip_gradient`` has no part in it. A feature that has been in
    every row counts as its mean in the first row that lacks it, and as 0 from then on.
    It is defined sample by sample: there is no ``learn_many``, and no penalty joins in.

    Where labels are free of noise and classes are separable, larger rates are better for ever; there
    `Bank`, or a rate of your own, does better.

    Parameters
    ----------
    lr
        Factor of all steps: a number or a scheduler.
    horizon
        Rows over which squared gradients are forgotten, for each feature those it is in.

    References
    ----------
    Ross, S., Mineiro, P. and Langford, J. (2013). Normalized online learning. UAI, algorithm 2 (NAG).
    Karampatziakis, N. and Langford, J. (2011). Online importance weight aware updates. UAI, section 4.
    Mehra, R. K. (1970). On the identification of variances and adaptive Kalman filtering. IEEE
    Transactions on Automatic Control 15(2): a filter that tracks as it should has white innovations.
    """

    lr: float | Scheduler = 2.0
    horizon: float = 1e5

    def check(self) -> None:
        self.require(self.horizon > 1, "horizon", "above 1")

    def rate_of(self, lane: int) -> float:
        """Return a lane's rate, relative to ``lr``."""
        return 1.0


@dataclass(frozen=True)
class Bank(_Lanes):
    r"""Six rates at once, mixed by how well each has done: what ``optimizer="bank"`` stands for.

    The update is that of `Auto` (without its look at successive gradients), at 0.2, 0.6, 2, 6, 20 and 60
    times ``lr``; lanes share all but their weights and intercepts. For log loss the mixture is Bayes' with
    a fixed share: it follows the best lane, and when that changes, the next one. For other losses lanes
    are weighted by :math:`e^{-\ell / (8 \bar\ell)}`. ``weights`` are those of the mixture.

    Parameters
    ----------
    lr
        Factor of all rates: a number or a scheduler.
    horizon
        Rows over which squared gradients are forgotten, for each feature those it is in.
    share
        What every lane gets back of the others at each row, in (0, 1).

    References
    ----------
    Herbster, M. and Warmuth, M. K. (1998). Tracking the best expert. Machine Learning 32 (fixed share).
    """

    lr: float | Scheduler = 1.0
    horizon: float = 1e5
    share: float = 1e-3
    n_lanes: ClassVar[int] = 6

    def check(self) -> None:
        self.require(self.horizon > 1, "horizon", "above 1")
        self.require(0 < self.share < 1, "share", "in (0, 1)")

    def rate_of(self, lane: int) -> float:
        """Return a lane's rate, relative to ``lr``."""
        return RATES[lane]
