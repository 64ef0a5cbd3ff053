"""Combinations of pieces that tests share, each as our learner, river's, and the naive one.

A covering selection, because each combination is a kernel of some seconds to compile: every loss,
optimizer and penalty, every optimizer with both kinds of target, and both penalties where they may join.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import naive
import river.linear_model
import river.optim

import streamgd.optim
from streamgd import linear_model

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
        return self.loss in ("Log", "Hinge")

    def _learner(self, models: Any, optim: Any, **more: Any) -> Any:
        def rate(lr: float | tuple[float, float]) -> Any:
            return optim.schedulers.InverseScaling(*lr) if isinstance(lr, tuple) else lr

        cls = models.LogisticRegression if self.binary else models.LinearRegression
        return cls(
            optimizer=getattr(optim, self.optimizer)(rate(self.lr), **self.fields),
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
        return naive.Linear(
            getattr(naive, self.optimizer)(**self.fields),
            loss,
            rate(self.lr),
            l1=self.l1,
            l2=self.l2,
            intercept=self.intercept_init,
            intercept_lr=rate(self.intercept_lr),
            clip=self.clip_gradient,
            **more,
        )


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
