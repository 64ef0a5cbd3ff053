"""A stream without an end: virtual epochs, a drift mark, a crash, and on from the last checkpoint."""

import tempfile
from pathlib import Path

from river import drift
from river.datasets import synth

import streamgd
from streamgd import linear_model, training

folder = Path(tempfile.mkdtemp())


def stream():
    """Rows of three concepts in turn, for ever; a file or a topic would go on where it is told to."""
    while True:
        for seed in (1, 2, 3):
            yield from synth.Hyperplane(seed=seed, n_features=5).take(5_000)


class Crash(training.Callback):
    every = 23_456

    def on_rows(self, run):
        raise RuntimeError(f"power cut at row {run.samples:,}")


class Rows:
    """What can be read again is continued at a position: fit skips what has been learned."""

    def __iter__(self):
        return stream()


# An endless stream has no epochs of its own: epoch_size says what one is.
model = linear_model.LogisticRegression("auto")
try:
    streamgd.fit(
        model, Rows(), epoch_size=10_000, epochs=4, metrics=["accuracy", "kappa"],
        callbacks=[training.Checkpoint(folder / "model", every=5_000), Crash()],
    )  # fmt: skip
except RuntimeError as error:
    print(f"{error}: {error.history.epochs} epochs of {error.history.iterations_per_epoch:,} rows were done")

# Another process, later. What comes out is what an undisturbed run gives, to the bit.
again, extra = streamgd.load(folder / "model", with_extra=True)
print(f"the checkpoint has {again.n_samples:,} rows")
history = streamgd.fit(
    again, Rows(), epoch_size=10_000, epochs=4, start=extra["position"],
    callbacks=[training.DetectDrift(drift.ADWIN())],
)  # fmt: skip
print(f"{history.samples:,} more, {again.n_samples:,} in all, stopped: {history.stopped}")
print("drifts near rows", [extra["position"]["row"] + row for row, what in history.marks])

undisturbed = linear_model.LogisticRegression("auto")
streamgd.fit(undisturbed, Rows(), epoch_size=10_000, epochs=4)
print("equal to the bit:", undisturbed.weights == again.weights)
