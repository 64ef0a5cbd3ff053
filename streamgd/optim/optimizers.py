"""Optimizers, update rules of one coordinate: river's, in its parametrisation; the others by name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from .automatic import Auto, Bank
from .base import Optimizer, Scheduler, Slots
from .importance_aware import Normalized, PassiveAggressive
from .modern import AdamW, Lion, ScheduleFreeAdamW, ScheduleFreeSGD
from .newton import Newton
from .parameter_free import COCOB, Coin, DoG, ScInOL1, ScInOL2

__all__ = [
    "COCOB",
    "SGD",
    "AMSGrad",
    "AdaBound",
    "AdaDelta",
    "AdaGrad",
    "AdaMax",
    "Adam",
    "AdamW",
    "Auto",
    "Bank",
    "Coin",
    "DoG",
    "FTRLProximal",
    "Lion",
    "Momentum",
    "Nadam",
    "NesterovMomentum",
    "Newton",
    "Normalized",
    "PassiveAggressive",
    "RMSProp",
    "ScInOL1",
    "ScInOL2",
    "ScheduleFreeAdamW",
    "ScheduleFreeSGD",
]


@dataclass(frozen=True)
class SGD(Optimizer):
    r"""Plain stochastic gradient descent, :math:`w \leftarrow w - \eta g`.

    Parameters
    ----------
    lr
        Learning rate: a number or a scheduler.

    References
    ----------
    Robbins, H. and Monro, S. (1951). A stochastic approximation method. Annals of Mathematical
    Statistics 22(3).
    """

    lr: float | Scheduler = 0.01

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        return w - c[0] * g, ()


@dataclass(frozen=True)
class Momentum(Optimizer):
    r"""Gradient descent with momentum, :math:`s \leftarrow \rho s + \eta g,\; w \leftarrow w - s`.

    The rate is inside the buffer (river), so a change of rate scales new gradients only; PyTorch
    keeps it outside. Absent features neither move nor forget.

    Parameters
    ----------
    lr
        Learning rate: a number or a scheduler.
    rho
        Share of the last step that is kept, in [0, 1).
    """

    lr: float | Scheduler = 0.1
    rho: float = 0.9
    n_slots: ClassVar[int] = 1

    def check(self) -> None:
        self.require(0 <= self.rho < 1, "rho", "in [0, 1)")

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        s = self.rho * slots[0] + c[0] * g
        return w - s, (s,)


@dataclass(frozen=True)
class NesterovMomentum(Optimizer):
    r"""Momentum whose gradient is taken where the momentum leads: at :math:`w - \rho s`.

    Predictions use :math:`w`. PyTorch's rewritten form takes the gradient at the stored weight, which
    is this one's look-ahead weight.

    Parameters
    ----------
    lr
        Learning rate: a number or a scheduler.
    rho
        Share of the last step that is kept, in [0, 1).

    References
    ----------
    Sutskever, I., Martens, J., Dahl, G. and Hinton, G. (2013). On the importance of initialization and
    momentum in deep learning. ICML, equations 3 and 4.
    """

    lr: float | Scheduler = 0.1
    rho: float = 0.9
    n_slots: ClassVar[int] = 1

    def check(self) -> None:
        self.require(0 <= self.rho < 1, "rho", "in [0, 1)")

    def ahead(self, w: float, slots: Slots, x: float, scalars: Slots) -> float:
        return w - self.rho * slots[0]

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        s = self.rho * slots[0] + c[0] * g
        return w - s, (s,)


@dataclass(frozen=True)
class AdaGrad(Optimizer):
    r"""AdaGrad, :math:`G \leftarrow G + g^2,\; w \leftarrow w - \eta g / \sqrt{G + \epsilon}`.

    Parameters
    ----------
    lr
        Learning rate: a number or a scheduler.
    eps
        Added under the root (river); PyTorch adds it outside.

    References
    ----------
    Duchi, J., Hazan, E. and Singer, Y. (2011). Adaptive subgradient methods for online learning
    and stochastic optimization. JMLR 12.
    """

    lr: float | Scheduler = 0.1
    eps: float = 1e-8
    n_slots: ClassVar[int] = 1

    def check(self) -> None:
        self.require(self.eps > 0, "eps", "positive")

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        total = slots[0] + g * g
        return w - c[0] * g / math.sqrt(total + self.eps), (total,)


@dataclass(frozen=True)
class AdaDelta(Optimizer):
    r"""AdaDelta, whose steps are as long as its last ones, so that it has no learning rate.

    .. math::
        G \leftarrow \rho G + (1-\rho) g^2, \quad
        d = -g \sqrt{S + \epsilon} / \sqrt{G + \epsilon}, \quad
        S \leftarrow \rho S + (1-\rho) d^2, \quad w \leftarrow w + d

    It starts from steps of :math:`\sqrt{\epsilon}`: a larger ``eps`` starts faster. A learner's ``l1`` counts
    at a rate of 1, which is far more than with a small rate.

    Parameters
    ----------
    rho
        Share of both means of squares that is kept, in [0, 1).
    eps
        Added under both roots.

    References
    ----------
    Zeiler, M. D. (2012). ADADELTA: an adaptive learning rate method. arXiv:1212.5701, algorithm 1.
    """

    rho: float = 0.95
    eps: float = 1e-8
    n_slots: ClassVar[int] = 2

    def check(self) -> None:
        self.require(0 <= self.rho < 1, "rho", "in [0, 1)")
        self.require(self.eps > 0, "eps", "positive")

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        mean = self.rho * slots[0] + (1.0 - self.rho) * g * g
        d = -g * math.sqrt((slots[1] + self.eps) / (mean + self.eps))
        return w + d, (mean, self.rho * slots[1] + (1.0 - self.rho) * d * d)


@dataclass(frozen=True)
class RMSProp(Optimizer):
    r"""RMSProp, :math:`G \leftarrow \rho G + (1-\rho) g^2,\; w \leftarrow w - \eta g / \sqrt{G + \epsilon}`.

    There is no bias correction: the first step is :math:`\eta / \sqrt{1-\rho}` (3.2 times the rate
    at the default).

    Parameters
    ----------
    lr
        Learning rate: a number or a scheduler.
    rho
        Share of the mean of squares that is kept, in [0, 1).
    eps
        Added under the root (river); PyTorch adds it outside.

    References
    ----------
    Tieleman, T. and Hinton, G. (2012). Lecture 6.5, Neural networks for machine learning.
    """

    lr: float | Scheduler = 0.1
    rho: float = 0.9
    eps: float = 1e-8
    n_slots: ClassVar[int] = 1

    def check(self) -> None:
        self.require(0 <= self.rho < 1, "rho", "in [0, 1)")
        self.require(self.eps > 0, "eps", "positive")

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        mean = self.rho * slots[0] + (1.0 - self.rho) * g * g
        return w - c[0] * g / math.sqrt(mean + self.eps), (mean,)


@dataclass(frozen=True)
class Adam(Optimizer):
    r"""Adam in its "epsilon hat" form (river): with :math:`k` updates done including this one,

    .. math:: w \leftarrow w - \eta \frac{\sqrt{1 - \beta_2^k}}{1 - \beta_1^k} \frac{m}{\sqrt{v} + \epsilon}

    ``k`` counts the model's updates, not the feature's: a feature that appears late takes a first
    step of :math:`(1-\beta_1)/\sqrt{1-\beta_2}` (3.2 at the defaults) times the rate.

    Parameters
    ----------
    lr
        Learning rate: a number or a scheduler.
    beta_1, beta_2
        Shares of the first and second moment that are kept, in [0, 1).
    eps
        Added to the root of the second moment.

    References
    ----------
    Kingma, D. P. and Ba, J. (2015). Adam: a method for stochastic optimization. ICLR, section 2.
    """  # noqa: D400

    lr: float | Scheduler = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    eps: float = 1e-8
    n_slots: ClassVar[int] = 2
    bias_corrected: ClassVar[bool] = True

    def check(self) -> None:
        self.require(0 <= self.beta_1 < 1, "beta_1", "in [0, 1)")
        self.require(0 <= self.beta_2 < 1, "beta_2", "in [0, 1)")
        self.require(self.eps > 0, "eps", "positive")

    def row(
        self, scalars: Slots, sums: Slots, p: float, y: float, g: float, h: float, lr: float, t: float
    ) -> tuple[Slots, Slots]:
        k = t + 1.0
        return scalars, (lr * math.sqrt(1.0 - self.beta_2**k) / (1.0 - self.beta_1**k),)

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        m = self.beta_1 * slots[0] + (1.0 - self.beta_1) * g
        v = self.beta_2 * slots[1] + (1.0 - self.beta_2) * g * g
        return w - c[0] * m / (math.sqrt(v) + self.eps), (m, v)


@dataclass(frozen=True)
class AdaMax(Optimizer):
    r"""Adam with the infinity norm: :math:`u \leftarrow \max(\beta_2 u, |g|)` for the second moment's root.

    .. math:: w \leftarrow w - \frac{\eta}{1 - \beta_1^k} \frac{m}{u + \epsilon}

    Parameters
    ----------
    lr
        Learning rate: a number or a scheduler.
    beta_1, beta_2
        Shares of the first moment and of the norm that are kept, in [0, 1).
    eps
        Added to the norm (river); PyTorch adds it to the gradient's size inside the maximum.

    References
    ----------
    Kingma, D. P. and Ba, J. (2015). Adam: a method for stochastic optimization. ICLR, algorithm 2.
    """

    lr: float | Scheduler = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    eps: float = 1e-8
    n_slots: ClassVar[int] = 2
    bias_corrected: ClassVar[bool] = True

    def check(self) -> None:
        self.require(0 <= self.beta_1 < 1, "beta_1", "in [0, 1)")
        self.require(0 <= self.beta_2 < 1, "beta_2", "in [0, 1)")
        self.require(self.eps > 0, "eps", "positive")

    def row(
        self, scalars: Slots, sums: Slots, p: float, y: float, g: float, h: float, lr: float, t: float
    ) -> tuple[Slots, Slots]:
        return scalars, (lr / (1.0 - self.beta_1 ** (t + 1.0)),)

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        m = self.beta_1 * slots[0] + (1.0 - self.beta_1) * g
        u = max(self.beta_2 * slots[1], abs(g))
        return w - c[0] * m / (u + self.eps), (m, u)


@dataclass(frozen=True)
class AMSGrad(Optimizer):
    r"""Adam with the largest second moment so far, so that effective rates never rise again.

    Parameters
    ----------
    lr
        Learning rate: a number or a scheduler.
    beta_1, beta_2
        Shares of the first and second moment that are kept, in [0, 1).
    eps
        Added to the root of the largest second moment.
    correct_bias
        Whether the rate is corrected as Adam's is; the paper's is not.

    References
    ----------
    Reddi, S. J., Kale, S. and Kumar, S. (2018). On the convergence of Adam and beyond. ICLR, algorithm 2.
    """

    lr: float | Scheduler = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    eps: float = 1e-8
    correct_bias: bool = True
    n_slots: ClassVar[int] = 3
    bias_corrected: ClassVar[bool] = True

    def check(self) -> None:
        self.require(0 <= self.beta_1 < 1, "beta_1", "in [0, 1)")
        self.require(0 <= self.beta_2 < 1, "beta_2", "in [0, 1)")
        self.require(self.eps > 0, "eps", "positive")

    def row(
        self, scalars: Slots, sums: Slots, p: float, y: float, g: float, h: float, lr: float, t: float
    ) -> tuple[Slots, Slots]:
        k = t + 1.0
        factor = math.sqrt(1.0 - self.beta_2**k) / (1.0 - self.beta_1**k) if self.correct_bias else 1.0
        return scalars, (lr * factor,)

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        m = self.beta_1 * slots[0] + (1.0 - self.beta_1) * g
        v = self.beta_2 * slots[1] + (1.0 - self.beta_2) * g * g
        largest = max(slots[2], v)
        return w - c[0] * m / (math.sqrt(largest) + self.eps), (m, v, largest)


@dataclass(frozen=True)
class Nadam(Optimizer):
    r"""Adam with Nesterov's momentum, as river has it: with :math:`k` updates done including this one,

    .. math:: w \leftarrow w - \frac{\eta}{1 - \beta_1^k}
        \frac{\beta_1 m + (1 - \beta_1) g}{\sqrt{v / (1 - \beta_2^k)} + \epsilon}

    Dozat corrects the first term for :math:`k + 1` updates, and PyTorch warms :math:`\beta_1` up.

    Parameters
    ----------
    lr
        Learning rate: a number or a scheduler.
    beta_1, beta_2
        Shares of the first and second moment that are kept, in [0, 1).
    eps
        Added to the root of the corrected second moment.

    References
    ----------
    Dozat, T. (2016). Incorporating Nesterov momentum into Adam. ICLR workshop.
    """  # noqa: D400

    lr: float | Scheduler = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    eps: float = 1e-8
    n_slots: ClassVar[int] = 2
    bias_corrected: ClassVar[bool] = True

    def check(self) -> None:
        self.require(0 <= self.beta_1 < 1, "beta_1", "in [0, 1)")
        self.require(0 <= self.beta_2 < 1, "beta_2", "in [0, 1)")
        self.require(self.eps > 0, "eps", "positive")

    def row(
        self, scalars: Slots, sums: Slots, p: float, y: float, g: float, h: float, lr: float, t: float
    ) -> tuple[Slots, Slots]:
        k = t + 1.0
        return scalars, (lr / (1.0 - self.beta_1**k), 1.0 / (1.0 - self.beta_2**k))

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        m = self.beta_1 * slots[0] + (1.0 - self.beta_1) * g
        v = self.beta_2 * slots[1] + (1.0 - self.beta_2) * g * g
        ahead = self.beta_1 * m + (1.0 - self.beta_1) * g
        return w - c[0] * ahead / (math.sqrt(v * c[1]) + self.eps), (m, v)


@dataclass(frozen=True)
class AdaBound(Optimizer):
    r"""Adam whose coordinates' rates are clipped to an interval that closes around one rate.

    With :math:`f = \eta_\infty \eta_t / \eta_0`, the interval at update :math:`k` is from
    :math:`f (1 - 1 / (\gamma k + 1))` to :math:`f (1 + 1 / (\gamma k))`; it multiplies the first moment.
    :math:`\eta_0` is the first rate that is not 0. river multiplies its final rate by
    :math:`\eta_t / \eta_0` again at each update, which with a falling schedule soon stops it.

    Parameters
    ----------
    lr
        Learning rate of the start: a number or a scheduler.
    beta_1, beta_2
        Shares of the first and second moment that are kept, in [0, 1).
    eps
        Added to the root of the second moment.
    gamma
        How fast the interval closes; after about ``1 / gamma`` updates it is of the size of its middle.
    final_lr
        The rate :math:`\eta_\infty` that all coordinates end with.

    References
    ----------
    Luo, L., Xiong, Y., Liu, Y. and Sun, X. (2019). Adaptive gradient methods with dynamic bound of
    learning rate. ICLR, algorithm 2.
    """

    lr: float | Scheduler = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    eps: float = 1e-8
    gamma: float = 1e-3
    final_lr: float = 0.1
    n_slots: ClassVar[int] = 2
    n_scalars: ClassVar[int] = 1  # the first rate
    bias_corrected: ClassVar[bool] = True

    def check(self) -> None:
        self.require(0 <= self.beta_1 < 1, "beta_1", "in [0, 1)")
        self.require(0 <= self.beta_2 < 1, "beta_2", "in [0, 1)")
        self.require(self.eps > 0, "eps", "positive")
        self.require(self.gamma > 0, "gamma", "positive")
        self.require(self.final_lr > 0, "final_lr", "positive")

    def row(
        self, scalars: Slots, sums: Slots, p: float, y: float, g: float, h: float, lr: float, t: float
    ) -> tuple[Slots, Slots]:
        k = t + 1.0
        first = scalars[0] if scalars[0] != 0.0 else lr
        final = self.final_lr * lr / first if first != 0.0 else 0.0
        rate = lr * math.sqrt(1.0 - self.beta_2**k) / (1.0 - self.beta_1**k)
        reach = self.gamma * k  # 1 - 1 / (reach + 1) would cancel at first
        return (first,), (rate, final * reach / (reach + 1.0), final * (1.0 + 1.0 / reach))

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        m = self.beta_1 * slots[0] + (1.0 - self.beta_1) * g
        v = self.beta_2 * slots[1] + (1.0 - self.beta_2) * g * g
        return w - min(max(c[0] / (math.sqrt(v) + self.eps), c[1]), c[2]) * m, (m, v)


@dataclass(frozen=True)
class FTRLProximal(Optimizer):
    r"""Follow the regularised leader: sparse models, because L1 acts on all of the past at once.

    A weight is a function of its sum of gradients :math:`z` and of their squares :math:`n`: 0 where
    :math:`|z| \le \lambda_1`, and otherwise

    .. math:: w = -\frac{z - \operatorname{sgn}(z) \lambda_1}{(\beta + \sqrt n) / \alpha + \lambda_2}

    ``l1`` and ``l2`` are its own, exact for absent features too, and the learner's must be 0. river
    computes a weight one appearance late, and never sets one back to 0.

    Parameters
    ----------
    alpha
        Learning rate; the rate of a coordinate is :math:`\alpha / (\beta + \sqrt n)`.
    beta
        Larger values make the first steps smaller, at least 0.
    l1, l2
        Strengths of the penalties, at least 0. A larger ``l1`` gives more zeros.

    References
    ----------
    McMahan, H. B. et al. (2013). Ad click prediction: a view from the trenches. KDD, algorithm 1.
    """

    alpha: float = 0.05
    beta: float = 1.0
    l1: float = 0.0
    l2: float = 1.0
    n_slots: ClassVar[int] = 2
    penalties: ClassVar[bool] = False

    def check(self) -> None:
        self.require(self.alpha > 0, "alpha", "positive")
        for name in ("beta", "l1", "l2"):
            self.require(getattr(self, name) >= 0, name, "at least 0")

    def step(self, w: float, slots: Slots, g: float, x: float, c: Slots) -> tuple[float, Slots]:
        n = slots[1] + g * g
        root = math.sqrt(n)
        z = slots[0] + g - (root - math.sqrt(slots[1])) / self.alpha * w
        excess = max(abs(z) - self.l1, 0.0)
        new = -math.copysign(excess, z) / ((self.beta + root) / self.alpha + self.l2)
        return new if n > 0.0 else w, (z, n)  # before its first gradient it is as it was made
