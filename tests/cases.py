"""Combinations of pieces that tests share, each as our learner, river's, and the naive one.

Covering selections, because each combination is a kernel of some seconds to compile. `COVERING` has
the ways in which pieces meet in kernels: penalties, clips, schedules, both kinds of target. `EACH` has each
other optimizer, with a loss of its own, so that each loss is there too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import naive
import naive_optimizers
import river.linear_model
import river.optim

import streamgd.optim
from streamgd import linear_model
from streamgd.optim.base import Optimizer

Fields = Mapping[str, float]


@dataclass(frozen=True)
class Case:
    loss: str
    optimizer: str
    lr: float | tuple[float, float] = 0.05  # a pair: InverseScaling's rate and power
    l1: float = 0.0
    l2: float = 0.0
    fields: Fields = field(default_factory=dict)
    loss_fields: Fields = field(default_factory=dict)
    intercept_lr: float | tuple[float, float] = 0.01
    intercept_init: float = 0.0
    clip_gradient: float = 1e12

    def __str__(self) -> str:
        penalty = "".join(f"-{name}" for name in ("l1", "l2") if getattr(self, name))
        return f"{self.loss}-{self.optimizer}{penalty}"

    @property
    def binary(self) -> bool:
        return issubclass(getattr(naive, self.loss), naive.Binary)

    @property
    def cls(self) -> type[Optimizer]:
        return getattr(streamgd.optim, self.optimizer)  # type: ignore[no-any-return]

    def _fields(self, rate: Any) -> dict[str, Any]:
        return {"lr": rate(self.lr), **self.fields} if hasattr(self.cls, "lr") else dict(self.fields)

    def _learner(self, models: Any, optim: Any, **more: Any) -> Any:
        def rate(lr: float | tuple[float, float]) -> Any:
            return optim.schedulers.InverseScaling(*lr) if isinstance(lr, tuple) else lr

        cls = models.LogisticRegression if self.binary else models.LinearRegression
        return cls(
            optimizer=getattr(optim, self.optimizer)(**self._fields(rate)),
            loss=getattr(optim.losses, self.loss)(**self.loss_fields),
            l1=self.l1,
            l2=self.l2,
            intercept_lr=rate(self.intercept_lr),
            intercept_init=self.intercept_init,
            clip_gradient=self.clip_gradient,
            **more,
        )

    def ours(self, **more: Any) -> Any:
        return self._learner(linear_model, streamgd.optim, **more)

    def rivers(self, **more: Any) -> Any:
        return self._learner(river.linear_model, river.optim, **more)

    def naive(self, **more: Any) -> Any:
        def rate(lr: float | tuple[float, float]) -> naive.Rate:
            if isinstance(lr, tuple):
                first, power = lr
                return lambda updates, samples: first / (updates + 1) ** power
            return naive.constant(lr)

        loss = getattr(naive, self.loss)(**self.loss_fields)
        if self.optimizer == "Normalized":
            return naive.Normalized(loss, rate(self.lr), intercept=self.intercept_init)
        if self.optimizer == "PassiveAggressive":
            return naive_optimizers.PassiveAggressive(loss, **self.fields, intercept=self.intercept_init)
        more |= {"intercept": self.intercept_init, "intercept_lr": rate(self.intercept_lr)}
        more |= {"l2": self.l2, "clip": self.clip_gradient}
        lr = rate(self.lr) if hasattr(self.cls, "lr") else naive.constant(1.0)
        method = getattr(naive_optimizers, self.optimizer, None)
        if method is None or self.l1:
            method = method or getattr(naive, self.optimizer)
            return naive.Linear(method(**self.fields), loss, lr, l1=self.l1, **more)
        inside = self.cls.intercept_feature
        return naive_optimizers.Learner(method(**self.fields), loss, lr, inside=inside, **more)


COVERING = [
    Case("Squared", "SGD", (0.02, 0.3), l2=0.01),
    Case("Squared", "Momentum", 0.002, fields={"rho": 0.8}, intercept_lr=(0.1, 0.5)),
    Case("Squared", "AdaGrad", 0.1, l1=0.001, l2=0.01),
    Case("Squared", "Normalized", 0.3, intercept_init=0.4),
    Case("Log", "SGD", 0.05, intercept_init=-0.3, loss_fields={"weight_pos": 2.0}),
    Case("Log", "AdaGrad", 0.1, l2=0.01, fields={"eps": 1e-4}),
    Case("Log", "RMSProp", (0.1, 0.5), clip_gradient=0.4),
    Case("Log", "Adam", 0.02, l1=0.0005),
    Case("Log", "Normalized", (0.5, 0.1)),
    Case("Hinge", "Momentum", 0.01, l1=0.001, clip_gradient=1.5),
    Case("Hinge", "Adam", (0.05, 0.2), fields={"beta_1": 0.8, "beta_2": 0.99}, l2=0.02),
    Case("Huber", "RMSProp", 0.02, fields={"rho": 0.95}, l1=0.0005, loss_fields={"epsilon": 0.5}),
    Case("Huber", "SGD", 0.1, l1=0.002, intercept_lr=0.0),
    Case("Huber", "Normalized", 0.2, loss_fields={"epsilon": 1.0}),
]

WARM_UP: Fields = {"warmup_steps": 40, "r": 1.0, "weight_decay": 0.01}

# Those that river has come first, with losses that it has.
EACH = [
    Case("Quantile", "NesterovMomentum", 0.02, l2=0.01, loss_fields={"alpha": 0.7}),
    Case("Log", "AdaDelta", l2=0.01, fields={"eps": 1e-5}),
    Case("Absolute", "AdaMax", (0.1, 0.3)),
    Case("Cauchy", "AMSGrad", 0.02, loss_fields={"C": 3.0}),
    Case("Cauchy", "AMSGrad", 0.02, fields={"correct_bias": False}),
    Case("BinaryFocalLoss", "Nadam", 0.02, fields={"beta_1": 0.8}),
    Case("Huber", "AdaBound", 0.01, fields={"gamma": 0.02, "final_lr": 0.05}, loss_fields={"epsilon": 1.0}),
    Case("Log", "FTRLProximal", fields={"alpha": 0.3, "l1": 1.5, "l2": 0.1}),
    Case("ModifiedHuber", "AdamW", 0.02, fields={"weight_decay": 0.1}, clip_gradient=1.5),
    Case("ModifiedHuber", "AdamW", (0.05, 0.2), fields={"amsgrad": True}),
    Case("Huber", "Lion", 0.002, fields={"weight_decay": 0.2}),
    Case("SquaredEpsilonInsensitive", "ScheduleFreeSGD", 0.05, fields={"beta": 0.8, **WARM_UP}),
    Case("SquaredHinge", "ScheduleFreeAdamW", (0.1, 0.1), fields={"weight_lr_power": 1.0, **WARM_UP}),
    Case("Squared", "DoG", 1.0, fields={"reps_rel": 1e-3}, intercept_init=0.5),
    Case("Focal", "COCOB", fields={"alpha": 20.0}, intercept_init=-0.2),
    Case("Log", "Coin", fields={"alpha": 2.0}),
    Case("Squared", "Coin", intercept_init=0.3),
    Case("Log", "ScInOL1", loss_fields={"weight_pos": 0.5}),
    Case("EpsilonInsensitiveHinge", "ScInOL2", fields={"eps": 0.5}),
    Case("Hinge", "PassiveAggressive", fields={"C": 0.1, "mode": 1}),
    Case("Hinge", "PassiveAggressive", fields={"C": 0.1, "mode": 0}),
    Case("EpsilonInsensitiveHinge", "PassiveAggressive", fields={"C": 0.1, "mode": 2}),
]
