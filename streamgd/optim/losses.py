"""Losses. Binary ones take ``y`` as 0 or 1; ``p`` is always the raw output."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from streamgd._jit import jitable

from ._multiclass import CrossEntropy
from ._travel import decay, logistic_rise, rise, slide, slide_and_decay
from .base import Loss

__all__ = [
    "Absolute",
    "BinaryFocalLoss",
    "Cauchy",
    "CrossEntropy",
    "EpsilonInsensitiveHinge",
    "Focal",
    "Hinge",
    "Huber",
    "Log",
    "ModifiedHuber",
    "Poisson",
    "Quantile",
    "Squared",
    "SquaredEpsilonInsensitive",
    "SquaredHinge",
]


@jitable
def sigmoid(p: float) -> float:
    """Return 1 / (1 + exp(-p)) without overflow."""
    e = math.exp(-abs(p))
    return (1.0 if p >= 0.0 else e) / (1.0 + e)


@jitable
def softplus(p: float) -> float:
    """Return log(1 + exp(p)) without overflow."""
    return max(p, 0.0) + math.log1p(math.exp(-abs(p)))


@jitable
def clamped_exp(p: float) -> float:
    """Return exp(p), of +-350 at most, so that squares of it stay finite."""
    return math.exp(min(max(p, -350.0), 350.0))


# -- of a residual ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Squared(Loss):
    r"""Squared error, :math:`\tfrac{c}{2} (p - y)^2` with ``scale`` :math:`c`.

    The default, :math:`(p - y)^2`, is that of river, VW and PyTorch. scikit-learn halves it: with
    ``scale=1`` its ``eta0`` is our learning rate.

    Parameters
    ----------
    scale
        Second derivative; multiplies the gradient's ``p - y``.

    Examples
    --------
    >>> from streamgd import optim
    >>> optim.losses.Squared().gradient(1.0, 4.0)
    6.0
    """

    scale: float = 2.0

    def check(self) -> None:
        self.require(self.scale > 0, "scale", "positive")

    def value(self, y: float, p: float) -> float:
        return 0.5 * self.scale * (p - y) * (p - y)

    def gradient(self, y: float, p: float) -> float:
        return self.scale * (p - y)

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        return decay(y - p, self.scale, eta_h, ppu)


@dataclass(frozen=True)
class Absolute(Loss):
    r"""Absolute error, :math:`|p - y|`: its best constant prediction is the median.

    At ``p = y`` the derivative is -1, as in river and scikit-learn; the importance-aware step is 0 there.

    Examples
    --------
    >>> from streamgd import optim
    >>> optim.losses.Absolute().gradient(1.0, 4.0)
    1.0
    """

    def value(self, y: float, p: float) -> float:
        return abs(p - y)

    def gradient(self, y: float, p: float) -> float:
        return 1.0 if p > y else -1.0

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        step = slide(abs(p - y), 1.0, eta_h, ppu)
        return -step if p > y else step


@dataclass(frozen=True)
class Quantile(Loss):
    r"""Pinball loss, :math:`\alpha [y - p]_+ + (1 - \alpha) [p - y]_+`.

    Its best constant prediction is the quantile ``alpha``. river's gradient is this one, but its
    value is that of the quantile ``1 - alpha``.

    Parameters
    ----------
    alpha
        Share of targets that should lie below the prediction, between 0 and 1.

    Examples
    --------
    >>> from streamgd import optim
    >>> optim.losses.Quantile(0.9).gradient(1.0, 0.0)
    -0.9

    References
    ----------
    Koenker, R., Bassett, G. (1978). Regression quantiles. Econometrica 46(1).
    """

    alpha: float = 0.5

    def check(self) -> None:
        self.require(0 < self.alpha < 1, "alpha", "between 0 and 1")

    def value(self, y: float, p: float) -> float:
        return (1.0 - self.alpha) * (p - y) if p > y else self.alpha * (y - p)

    def gradient(self, y: float, p: float) -> float:
        return 1.0 - self.alpha if p > y else -self.alpha

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        if p > y:
            return -slide(p - y, 1.0 - self.alpha, eta_h, ppu)
        return slide(y - p, self.alpha, eta_h, ppu)


@dataclass(frozen=True)
class EpsilonInsensitiveHinge(Loss):
    r"""Absolute error beyond a tube, :math:`[|p - y| - \epsilon]_+`: the loss of support vector regression.

    river's maps the target to :math:`2y - 1` first, as for a label; this one takes it as it is.

    Parameters
    ----------
    eps
        Half the width of the tube, in units of the target, in which errors are free.

    Examples
    --------
    >>> from streamgd import optim
    >>> optim.losses.EpsilonInsensitiveHinge(0.5)(1.0, 2.0)
    0.5

    References
    ----------
    Vapnik, V. N. (1995). The nature of statistical learning theory, section 6.1. Springer.
    """

    eps: float = 0.1

    def check(self) -> None:
        self.require(self.eps >= 0, "eps", "at least 0")

    def value(self, y: float, p: float) -> float:
        return max(abs(p - y) - self.eps, 0.0)

    def gradient(self, y: float, p: float) -> float:
        if abs(p - y) <= self.eps:
            return 0.0
        return 1.0 if p > y else -1.0

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        step = slide(max(abs(p - y) - self.eps, 0.0), 1.0, eta_h, ppu)
        return -step if p > y else step


@dataclass(frozen=True)
class SquaredEpsilonInsensitive(Loss):
    r"""Squared error beyond a tube, :math:`[|p - y| - \epsilon]_+^2`.

    Parameters
    ----------
    eps
        Half the width of the tube, in units of the target, in which errors are free.

    Examples
    --------
    >>> from streamgd import optim
    >>> optim.losses.SquaredEpsilonInsensitive(0.5).gradient(1.0, 3.0)
    3.0
    """

    eps: float = 0.1

    def check(self) -> None:
        self.require(self.eps >= 0, "eps", "at least 0")

    def value(self, y: float, p: float) -> float:
        excess = max(abs(p - y) - self.eps, 0.0)
        return excess * excess

    def gradient(self, y: float, p: float) -> float:
        excess = max(abs(p - y) - self.eps, 0.0)
        return 2.0 * excess if p > y else -2.0 * excess

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        step = decay(max(abs(p - y) - self.eps, 0.0), 2.0, eta_h, ppu)
        return -step if p > y else step


@dataclass(frozen=True)
class Huber(Loss):
    r"""Squared near zero, absolute beyond ``epsilon``: robust to outliers.

    Parameters
    ----------
    epsilon
        Residual, in units of the target, beyond which the gradient stops growing.

    Examples
    --------
    >>> from streamgd import optim
    >>> optim.losses.Huber(0.5).gradient(0.0, 2.0)
    0.5

    References
    ----------
    Huber, P. J. (1964). Robust estimation of a location parameter. Annals of Mathematical
    Statistics 35(1).
    """

    epsilon: float = 0.1

    def check(self) -> None:
        self.require(self.epsilon > 0, "epsilon", "positive")

    def value(self, y: float, p: float) -> float:
        r = abs(p - y)
        return 0.5 * r * r if r <= self.epsilon else self.epsilon * (r - 0.5 * self.epsilon)

    def gradient(self, y: float, p: float) -> float:
        return min(max(p - y, -self.epsilon), self.epsilon)

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        step = slide_and_decay(abs(p - y), self.epsilon, 1.0, eta_h, ppu)
        return -step if p > y else step


@dataclass(frozen=True)
class Cauchy(Loss):
    r"""Negative logarithm of Cauchy's density, :math:`\tfrac{C^2}{2} \log(1 + r^2 / C^2)`, :math:`r = p - y`.

    Large residuals count less than small ones, so it is not convex. river's gradient is this one,
    but its value is :math:`|r|`.

    Parameters
    ----------
    C
        Residual, in units of the target, at which the gradient is largest.

    Examples
    --------
    >>> from streamgd import optim
    >>> optim.losses.Cauchy(2.0).gradient(0.0, 2.0)
    1.0

    References
    ----------
    Black, M. J., Rangarajan, A. (1996). On the unification of line processes, outlier rejection,
    and robust statistics. International Journal of Computer Vision 19(1), "Lorentzian".
    """

    C: float = 80.0

    def check(self) -> None:
        self.require(self.C > 0, "C", "positive")

    def value(self, y: float, p: float) -> float:
        share = (p - y) / self.C
        return 0.5 * self.C * self.C * math.log1p(share * share)

    def gradient(self, y: float, p: float) -> float:
        share = (p - y) / self.C
        return (p - y) / (1.0 + share * share)

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        share = (p - y) / self.C
        square = share * share
        if ppu <= 0.0 or square < 1e-17:  # as good as squared
            return decay(y - p, 1.0, eta_h, ppu)
        # square + log(square) falls by 2 in a unit of time
        d = rise(math.log(square), square, -2.0 * eta_h * ppu)
        return (p - y) * math.expm1(0.5 * d) / ppu


@dataclass(frozen=True)
class Poisson(Loss):
    r"""Poisson regression of a count :math:`y \ge 0` with mean :math:`e^p`: the loss is :math:`e^p - y p`.

    In the exponential ``p`` stays within +-350; river raises OverflowError above 709.

    Examples
    --------
    >>> from streamgd import optim
    >>> optim.losses.Poisson().gradient(3.0, 0.0)
    -2.0
    """

    lowest: ClassVar[float] = 0.0
    residual: ClassVar[bool] = False
    likelihood: ClassVar[bool] = True

    def value(self, y: float, p: float) -> float:
        return clamped_exp(p) - y * p

    def gradient(self, y: float, p: float) -> float:
        return clamped_exp(p) - y

    def mean(self, p: float) -> float:
        return clamped_exp(p)

    def mean_func(self, y_pred: Any) -> Any:
        if isinstance(y_pred, np.ndarray):
            return np.exp(np.clip(np.asarray(y_pred, dtype=np.float64), -350.0, 350.0))
        return self.mean(float(y_pred))

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        total = eta_h * ppu
        if total <= 0.0:
            return 0.0
        # exp(-p) is linear in its equation: exp(old p - new p) = exp(-y total) + span exp(p)
        span = -math.expm1(-y * total) / y if y * total > 1e-17 else total
        change = span * (clamped_exp(p) - y)
        if change > -0.5 and p < 350.0:
            return -math.log1p(change) / ppu
        a, b = -y * total, p + math.log(span)  # 1 + change would cancel, or overflow
        return -(max(a, b) + math.log1p(math.exp(-abs(a - b)))) / ppu


# -- of a margin --------------------------------------------------------------------------------


class _Binary:
    """What losses of a binary label share."""

    binary: ClassVar[bool] = True
    residual: ClassVar[bool] = False

    def mean(self, p: float) -> float:
        return sigmoid(p)

    def mean_func(self, y_pred: Any) -> Any:
        """Map raw outputs, a float or an array of any shape, to probabilities of the positive label."""
        if isinstance(y_pred, np.ndarray):
            e = np.exp(-np.abs(y_pred))
            return np.where(y_pred >= 0.0, 1.0, e) / (1.0 + e)
        return self.mean(float(y_pred))


@dataclass(frozen=True)
class Log(_Binary, Loss):
    r"""Logistic loss, :math:`\log(1 + e^{-sp})` with :math:`s = 2y - 1`, in its stable form.

    river's switches to approximations at ``|p| > 18``; this one does not (relative difference 1.5e-8).

    Parameters
    ----------
    weight_pos, weight_neg
        Factors of the loss of positive and negative samples.

    Examples
    --------
    >>> from streamgd import optim
    >>> optim.losses.Log().gradient(1.0, 0.0)
    -0.5
    """

    weight_pos: float = 1.0
    weight_neg: float = 1.0
    logistic: ClassVar[bool] = True
    likelihood: ClassVar[bool] = True

    def check(self) -> None:
        self.require(self.weight_pos >= 0, "weight_pos", "at least 0")
        self.require(self.weight_neg >= 0, "weight_neg", "at least 0")

    def value(self, y: float, p: float) -> float:
        return self.weight_pos * softplus(-p) if y > 0.0 else self.weight_neg * softplus(p)

    def gradient(self, y: float, p: float) -> float:
        return -self.weight_pos * sigmoid(-p) if y > 0.0 else self.weight_neg * sigmoid(p)

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        if ppu <= 0.0:
            return 0.0
        if y > 0.0:
            return logistic_rise(p, self.weight_pos * eta_h * ppu) / ppu
        return -logistic_rise(-p, self.weight_neg * eta_h * ppu) / ppu


@dataclass(frozen=True)
class Hinge(_Binary, Loss):
    r"""Hinge loss, :math:`\max(0, \theta - sp)` with :math:`s = 2y - 1`.

    A point on the margin counts as a violation, as in river and scikit-learn: with ``threshold=0``
    (the perceptron's loss) a model of zeros would never start to learn otherwise.

    Parameters
    ----------
    threshold
        The margin: 1 for support vector machines, 0 for the perceptron.

    Examples
    --------
    >>> from streamgd import optim
    >>> optim.losses.Hinge().gradient(1.0, 0.2)
    -1.0
    """

    threshold: float = 1.0

    def value(self, y: float, p: float) -> float:
        return max(self.threshold - (2.0 * y - 1.0) * p, 0.0)

    def gradient(self, y: float, p: float) -> float:
        sign = 2.0 * y - 1.0
        return -sign if sign * p <= self.threshold else 0.0

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        sign = 2.0 * y - 1.0
        return sign * slide(max(self.threshold - sign * p, 0.0), 1.0, eta_h, ppu)


@dataclass(frozen=True)
class SquaredHinge(_Binary, Loss):
    r"""Squared hinge loss, :math:`\max(0, 1 - sp)^2` with :math:`s = 2y - 1`.

    Examples
    --------
    >>> from streamgd import optim
    >>> optim.losses.SquaredHinge().gradient(1.0, 0.0)
    -2.0
    """

    def value(self, y: float, p: float) -> float:
        short = max(1.0 - (2.0 * y - 1.0) * p, 0.0)
        return short * short

    def gradient(self, y: float, p: float) -> float:
        sign = 2.0 * y - 1.0
        return -2.0 * sign * max(1.0 - sign * p, 0.0)

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        sign = 2.0 * y - 1.0
        return sign * decay(max(1.0 - sign * p, 0.0), 2.0, eta_h, ppu)


@dataclass(frozen=True)
class ModifiedHuber(_Binary, Loss):
    r"""Squared hinge loss down to a margin of -1, linear below: robust to wrong labels, with probabilities.

    :math:`\max(0, 1 - m)^2` where :math:`m = (2y - 1) p \ge -1`, otherwise :math:`-4m`. What minimises
    it is the probability of the positive label mapped to [-1, 1], so ``mean`` maps it back.

    Examples
    --------
    >>> from streamgd import optim
    >>> optim.losses.ModifiedHuber().mean(0.5)
    0.75

    References
    ----------
    Zhang, T. (2004). Statistical behavior and consistency of classification methods based on convex
    risk minimization. Annals of Statistics 32(1).
    """

    def value(self, y: float, p: float) -> float:
        short = max(1.0 - (2.0 * y - 1.0) * p, 0.0)
        return short * short if short <= 2.0 else 4.0 * (short - 1.0)

    def gradient(self, y: float, p: float) -> float:
        sign = 2.0 * y - 1.0
        return -2.0 * sign * min(max(1.0 - sign * p, 0.0), 2.0)

    def mean(self, p: float) -> float:
        return 0.5 * (min(max(p, -1.0), 1.0) + 1.0)

    def mean_func(self, y_pred: Any) -> Any:
        if isinstance(y_pred, np.ndarray):
            return 0.5 * (np.clip(np.asarray(y_pred, dtype=np.float64), -1.0, 1.0) + 1.0)
        return self.mean(float(y_pred))

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        sign = 2.0 * y - 1.0
        return sign * slide_and_decay(max(1.0 - sign * p, 0.0), 2.0, 2.0, eta_h, ppu)


@dataclass(frozen=True)
class BinaryFocalLoss(_Binary, Loss):
    r"""The focal loss's simpler relative FL*, :math:`\log(1 + e^{-(\gamma sp + \beta)}) / \gamma`.

    The form, names and defaults are river's (which raises ValueError at :math:`\gamma sp + \beta < -30`);
    `Focal` is the loss of the paper's main text. This one is convex.

    Parameters
    ----------
    gamma
        Steepness, positive: above 1 well classified samples count less than in the logistic loss.
    beta
        Shift: raising it lowers the weight of all samples that are right.

    Examples
    --------
    >>> from streamgd import optim
    >>> optim.losses.BinaryFocalLoss(gamma=2.0, beta=0.0).gradient(1.0, 0.0)
    -0.5

    References
    ----------
    Lin, T.-Y., Goyal, P., Girshick, R., He, K., Dollár, P. (2017). Focal loss for dense object
    detection. ICCV, appendix A.
    """

    gamma: float = 2.0
    beta: float = 1.0

    def check(self) -> None:
        self.require(self.gamma > 0, "gamma", "positive")

    def value(self, y: float, p: float) -> float:
        return softplus(-(self.gamma * (2.0 * y - 1.0) * p + self.beta)) / self.gamma

    def gradient(self, y: float, p: float) -> float:
        sign = 2.0 * y - 1.0
        return -sign * sigmoid(-(self.gamma * sign * p + self.beta))

    def update(self, p: float, y: float, eta_h: float, ppu: float) -> float:
        if ppu <= 0.0:
            return 0.0
        sign = 2.0 * y - 1.0
        margin = self.gamma * sign * p + self.beta
        return sign * logistic_rise(margin, self.gamma * eta_h * ppu) / (self.gamma * ppu)


@dataclass(frozen=True)
class Focal(_Binary, Loss):
    r"""Focal loss, :math:`-a (1 - q)^\gamma \log q`, where :math:`q` is the probability of the true label.

    :math:`q` is the sigmoid of :math:`(2y - 1) p`. Samples that are right count less than in the
    logistic loss, so rare and hard ones count more. It is not convex. river has `BinaryFocalLoss` instead.

    Parameters
    ----------
    gamma
        How fast a sample's weight falls as its label becomes certain; 0 is the logistic loss.
    alpha
        Weight ``a`` of positive samples, between 0 and 1; that of negative ones is ``1 - alpha``.

    Examples
    --------
    >>> from streamgd import optim
    >>> optim.losses.Focal(gamma=0.0, alpha=0.5).gradient(1.0, 0.0)
    -0.25

    References
    ----------
    Lin, T.-Y., Goyal, P., Girshick, R., He, K., Dollár, P. (2017). Focal loss for dense object
    detection. ICCV, equation 5.
    """

    gamma: float = 2.0
    alpha: float = 0.25

    def check(self) -> None:
        self.require(self.gamma >= 0, "gamma", "at least 0")
        self.require(0 <= self.alpha <= 1, "alpha", "between 0 and 1")

    def value(self, y: float, p: float) -> float:
        margin = p if y > 0.0 else -p
        weight = self.alpha if y > 0.0 else 1.0 - self.alpha
        return weight * math.pow(sigmoid(-margin), self.gamma) * softplus(-margin)

    def gradient(self, y: float, p: float) -> float:
        margin = p if y > 0.0 else -p
        weight = self.alpha if y > 0.0 else self.alpha - 1.0
        wrong = sigmoid(-margin)
        slope = self.gamma * sigmoid(margin) * softplus(-margin) + wrong
        return -weight * math.pow(wrong, self.gamma) * slope
