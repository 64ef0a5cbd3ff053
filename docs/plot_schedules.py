"""Draw every schedule: ``python docs/plot_schedules.py`` writes the pictures of docs/schedules.md.

Needs matplotlib (``pip install ".[plot]"``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from river import drift

from streamgd.optim import losses
from streamgd.optim import schedulers as s
from streamgd.optim.base import Monitored, Scheduler

PLOTS = Path(__file__).parent / "plots"
RATE, LOSS, JUMP = "#1f5fa8", "#c8c8c8", "#555555"
N = 200  # units of time in each panel of the first picture

OF_TIME: dict[str, Scheduler] = {
    "Constant(0.1)": s.Constant(0.1),
    "InverseScaling(0.1)": s.InverseScaling(0.1),
    "InverseTime(0.1, k=0.05)": s.InverseTime(0.1, k=0.05),
    "InverseSqrt(0.1, warmup=30)": s.InverseSqrt(0.1, warmup=30),
    "Optimal(Log(), alpha=0.01)": s.Optimal(losses.Log(), alpha=0.01),
    "Exponential(0.1, k=0.02, min_lr=0.01)": s.Exponential(0.1, 0.02, per="update", min_lr=0.01),
    "StepDecay(0.1, drop=0.5, drop_every=40)": s.StepDecay(0.1, drop=0.5, drop_every=40, per="update"),
    "MultiStep(0.1, [60, 150], gamma=0.3)": s.MultiStep(0.1, [60, 150], gamma=0.3),
    "Linear(0.1, 1.0, 0.2, total_iters=150)": s.Linear(0.1, 1.0, 0.2, total_iters=150),
    "Polynomial(0.1, 150, power=2)": s.Polynomial(0.1, 150, power=2),
    "CosineAnnealing(0.1, T_max=80)": s.CosineAnnealing(0.1, T_max=80),
    "CosineAnnealing(0.1, T_max=80, hold=True)": s.CosineAnnealing(0.1, T_max=80, hold=True),
    "CosineAnnealingWarmRestarts(0.1, 25, 2, decay=0.8)": s.CosineAnnealingWarmRestarts(
        0.1, 25, 2, decay=0.8
    ),
    "Cyclic(0.02, 0.1, 20)": s.Cyclic(0.02, 0.1, 20),
    'Cyclic(0.02, 0.1, 20, 40, "triangular2")': s.Cyclic(0.02, 0.1, 20, 40, "triangular2"),
    "OneCycle(0.1, 150)": s.OneCycle(0.1, 150),
    "OneCycle(0.1, 150, three_phase=True)": s.OneCycle(0.1, 150, three_phase=True),
    "Function(0.1, lambda t: 1 - t % 50 / 60)": s.Function(0.1, lambda t: 1 - t % 50 / 60),
    "Warmup(InverseTime(0.1, k=0.05), steps=40)": s.Warmup(s.InverseTime(0.1, k=0.05), steps=40),
    "Sequential([Linear(0.1, total_iters=30), Cyclic(...)], [60])": s.Sequential(
        [s.Linear(0.1, total_iters=30), s.Cyclic(0.02, 0.1, 20)], [60]
    ),
    "Product([Cyclic(0.1, 1, 15), Exponential(0.1, k=0.01)])": s.Product(
        [s.Cyclic(0.1, 1, 15), s.Exponential(0.1, k=0.01, per="update")]
    ),
}
OF_LOSSES: dict[str, Monitored] = {
    "ReduceLROnPlateau(0.1, factor=0.5, patience=3, threshold=0.05, window=100)": s.ReduceLROnPlateau(
        0.1, factor=0.5, patience=3, threshold=0.05, window=100
    ),
    "RestartOnDrift(InverseTime(0.1, k=0.01), drift.ADWIN())": s.RestartOnDrift(
        s.InverseTime(0.1, k=0.01), drift.ADWIN()
    ),
    "RestartOnDrift(InverseTime(0.1, k=0.01), drift.ADWIN(), back=0.8)": s.RestartOnDrift(
        s.InverseTime(0.1, k=0.01), drift.ADWIN(), back=0.8
    ),
}


def panel(axes: Any, title: str, rates: Any) -> None:
    """Draw the rates over an axis that starts at 0."""
    axes.set_title(title, fontsize=6.5, family="monospace", loc="left")
    axes.plot(rates, color=RATE, linewidth=1.2)
    axes.set_ylim(0, 1.08 * max(rates))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=6, length=2)
    axes.margins(x=0.01)


def save(figure: Any, name: str) -> None:
    """Write a picture with few colours, which makes it small."""
    figure.savefig(PLOTS / name, dpi=100)
    with Image.open(PLOTS / name) as picture:
        few = picture.convert("RGB").quantize(16)
    few.save(PLOTS / name, optimize=True)


def of_time() -> None:
    """Draw the schedules that are functions of time."""
    figure, grid = plt.subplots(7, 3, figsize=(9.6, 11), layout="constrained", sharex=True)
    t = np.arange(N)
    for axes, (title, schedule) in zip(grid.flat, OF_TIME.items(), strict=True):
        panel(axes, title, schedule.get_many(t))
    save(figure, "schedules.png")


def of_losses() -> None:
    """Draw those that look at the losses, over losses that fall, and jump twice."""
    rng = np.random.default_rng(1)
    age = np.concatenate([np.arange(2000), np.arange(1500), np.arange(1500)])
    values = rng.gamma(4.0, (0.1 + 0.5 * np.exp(-age / 200)) / 4.0)
    figure, grid = plt.subplots(3, 1, figsize=(9.6, 5.4), layout="constrained", sharex=True)
    for axes, (title, schedule) in zip(grid, OF_LOSSES.items(), strict=True):
        state, rates, looks = schedule.start(), [], range(0, len(values), schedule.window)
        for i in looks:
            window = values[i : i + schedule.window]
            rates.append(schedule.rates(state, np.arange(i, i + len(window))))
            if len(window) == schedule.window:
                state = schedule.observe(state, window, i + schedule.window)
        panel(axes, title, np.concatenate(rates))
        behind = axes.twinx()
        behind.plot(np.arange(0, len(values), 20), values.reshape(-1, 20).mean(axis=1), color=LOSS)
        behind.set_ylim(0, 1.0)
        behind.set_axis_off()
        axes.set_zorder(behind.get_zorder() + 1)
        axes.patch.set_visible(False)
        for jump in (2000, 3500):
            axes.axvline(jump, color=JUMP, linewidth=0.7, linestyle=":")
    save(figure, "schedules_of_losses.png")


if __name__ == "__main__":
    mpl.use("agg")
    PLOTS.mkdir(exist_ok=True)
    of_time()
    of_losses()
